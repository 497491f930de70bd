"""A Triton model that answers nothing: its configuration says which version of a world does (`wmserve.versions`).

It needs no engine, so that a change of it is loaded in a moment.
"""

import os
import threading
import time
from typing import Any

import triton_python_backend_utils as pb_utils

PARENT_POLL_S = 0.5


class TritonPythonModel:
    """Carries parameters."""

    def initialize(self, args: dict[str, str]) -> None:  # noqa: ARG002
        """End this process when the server has gone: Triton's own check takes a zombie for a living parent."""
        threading.Thread(target=follow, args=(os.getppid(),), daemon=True).start()

    def execute(self, requests: list[Any]) -> list[Any]:
        """Nobody has reason to call it."""
        error = pb_utils.TritonError("this model carries a route and answers nothing")
        return [pb_utils.InferenceResponse(error=error) for _ in requests]


def follow(server: int) -> None:
    """End this process with its parent."""
    while os.getppid() == server:
        time.sleep(PARENT_POLL_S)
    os._exit(0)
