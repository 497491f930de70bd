"""Success in the environment, through a running server and by the peer's own evaluation code."""

import torch
from wmserve_export.reference.verify import register_torchvision_operators

# stable-worldmodel imports torchvision, whose wheel is a CUDA build and needs this beside a CPU torch.
TORCHVISION = register_torchvision_operators() if torch.version.cuda is None else None
