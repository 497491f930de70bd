"""Success in the environment, through a running server and by the peer's own evaluation code."""

import torch

# torchvision's wheel is a CUDA build: beside a CPU torch it fails on import until the schemas of two of its operators
# exist. Nothing here calls them, and stable-worldmodel imports torchvision.
if torch.version.cuda is None:
    _TORCHVISION = torch.library.Library("torchvision", "DEF")
    _TORCHVISION.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _TORCHVISION.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
