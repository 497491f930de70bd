"""Checkpoint -> ONNX -> engine -> model repository, with gates on the way."""
