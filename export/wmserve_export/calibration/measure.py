"""Has a world's engines predict what trajectories then did."""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm
from wmserve.world import World

from wmserve_export import repository
from wmserve_export.calibration.health import thumbnail
from wmserve_export.calibration.trajectories import CalibrationError, Floats, Trajectory
from wmserve_export.contract import file_digest
from wmserve_export.engines import Engine
from wmserve_export.external_data import DATA_FILE
from wmserve_export.runtime import Runner

FIT_STRIDE = 3
"""Model steps between the rollouts that one trajectory gives to what is fitted."""
START_SEED = 0


@dataclass(frozen=True)
class Measured:
    """`M` rollouts and what then happened."""

    context: Floats
    """`[M, T, D]`."""
    features: Floats
    """`[M, F]`, of the last context frame."""
    thumbnails: NDArray[np.uint8]
    """`[M, 32, 32, 3]`, of these frames, for encoders that latents are held against; `[M, 0, 0, 3]` to learn from."""
    actions: Floats
    """`[M, N, A]`."""
    latents: Floats
    """`[M, H, D]`, predicted."""
    disagreement: Floats
    """`[M, H]`."""
    truth: Floats
    """`[M, H, D]`, encoded."""
    readout_errors: Floats
    """`[M, H, R]`: of the predicted readouts, absolute; R is 0 where the truth about them is not known."""

    @property
    def errors(self) -> NDArray[np.float64]:
        """`[M, H]`: `|| predicted - encoded ||`."""
        return np.linalg.norm(self.latents.astype(np.float64) - self.truth, axis=-1)

    @property
    def rollouts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Inputs of the error engine: `[M, T, D]`, `[M, 1, N, A]`, `[M, 1, H, D]`, `[M, 1, H]`."""
        rows = (self.actions, self.latents, self.disagreement)
        return torch.from_numpy(self.context), *(torch.from_numpy(array[:, None]) for array in rows)  # type: ignore[return-value]


def verified(place: Path, world: World, engine: Engine) -> Path:
    """An engine's file, if it and its weights are those in the contract."""
    folder = repository.version_folder(place, world.engine(engine.verb))
    for name in (engine.file, DATA_FILE):
        key = f"{engine.verb}/{name}"
        known = world.digests.engines.get(key)
        if known is not None and file_digest(folder / name) != known:
            raise CalibrationError(f"engine {key} is not the one in the contract; export the world again")
    return folder / engine.file


class Engines:
    """The encoder and the longest rollout of a world in a repository."""

    def __init__(self, place: Path, world: World) -> None:
        self.world = world
        self._encode, self._rollout = (
            Runner(verified(place, world, engine))
            for engine in (Engine("encode"), Engine("rollout", world.horizon_limit))
        )
        self._pool = ThreadPoolExecutor(2)
        self._rng = np.random.default_rng(START_SEED)

    def see(self, frames: NDArray[np.uint8]) -> Mapping[str, Floats]:
        """Outputs `[L, ...]` of the encoder for frames `[L, h, w, 3]`, one by one as a server runs them."""
        rows = self._pool.map(lambda frame: self._encode({"observations": torch.from_numpy(frame[None, None])}), frames)
        answers = list(rows)
        return {name: np.stack([answer[name][0, 0] for answer in answers]) for name in answers[0]}

    def rollouts(self, trajectory: Trajectory, stride: int | None) -> list[Measured]:
        """Rollouts of one trajectory, each with `M` = 1: one each `stride` model steps, or one from a random moment.

        Random, because a server is asked at any moment; one, because each trajectory counts once.
        """
        world, block = self.world, self.world.action.action_block
        frames, steps = world.context_length, world.horizon_limit
        count = len(trajectory.observations) - frames - steps + 1
        starts = range(0, count, stride) if stride else [int(self._rng.integers(count))]
        seen = self.see(trajectory.observations[: starts[-1] + frames + steps])
        found = []
        for start in starts:
            first = start + frames
            inputs = {"context": seen["latents"][start:first]}
            inputs["actions"] = trajectory.actions[(first - 1) * block : (first - 1 + steps) * block]
            if frames > 1:
                inputs["action_history"] = trajectory.actions[start * block : (first - 1) * block]
            answer = self._predict(inputs)
            found.append(
                Measured(
                    context=inputs["context"][None],
                    features=seen["features"][first - 1][None],
                    thumbnails=np.zeros((1, 0, 0, 3), np.uint8)
                    if stride
                    else thumbnail(trajectory.observations[first - 1])[None],
                    actions=inputs["actions"][None],
                    latents=answer["latents"][None],
                    disagreement=answer["disagreement"][None],
                    truth=seen["latents"][first : first + steps][None],
                    readout_errors=np.zeros((1, steps, 0), np.float32)
                    if trajectory.readouts is None
                    else np.abs(answer["readouts"] - trajectory.readouts[first : first + steps])[None],
                )
            )
        return found

    def _predict(self, inputs: Mapping[str, Floats]) -> Mapping[str, Floats]:
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array))[None] for name, array in inputs.items()}
        tensors["actions"] = tensors["actions"][None]
        return {name: array[0, 0] for name, array in self._rollout(tensors).items()}


def measure(
    engines: Engines, trajectories: Iterable[Trajectory], count: int, stride: int | None, label: str, show: bool
) -> Measured:
    """Roll out `count` trajectories; CalibrationError where some bring the truth about readouts and others do not."""
    rows = [
        row
        for trajectory in tqdm(trajectories, label, total=count, unit="trajectory", mininterval=2, disable=not show)
        for row in engines.rollouts(trajectory, stride)
    ]
    if len({row.readout_errors.shape for row in rows}) > 1:
        raise CalibrationError("some trajectories have readouts and others have none")
    return Measured(**{name: np.concatenate([getattr(row, name) for row in rows]) for name in Measured.__annotations__})
