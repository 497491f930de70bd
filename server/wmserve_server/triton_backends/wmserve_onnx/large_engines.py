"""Large engines take few candidates at a time: of each they may hold tens of megabytes while they run.

V-JEPA 2-AC keeps 51 MB of keys and values of a candidate and frame; a population of 400, two steps ahead, is 41 GB.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime as ort

Array = np.ndarray[Any, Any]
AT_ONCE = 16
"""Candidates: with some hundred tokens each enough to keep all cores busy."""


class InParts:
    """A session whose candidates `[1, S, N, A]` are run some at a time; has those methods that are used here."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self._session = session
        self.get_inputs, self.get_outputs = session.get_inputs, session.get_outputs

    def run(self, names: list[str] | None, tensors: Mapping[str, Array]) -> list[Array]:
        """Outputs `[1, S, ...]` of those names, or all."""
        actions = tensors["actions"]
        parts = [
            self._session.run(names, {**tensors, "actions": actions[:, start : start + AT_ONCE]})
            for start in range(0, actions.shape[1], AT_ONCE)
        ]
        return parts[0] if len(parts) == 1 else [np.concatenate(found, axis=1) for found in zip(*parts, strict=True)]
