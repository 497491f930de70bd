"""One simulator as plans are executed in it: what it shows, takes and says is checked here, and nowhere else."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from wmserve_client.environments import EnvironmentFault
from wmserve_client.environments.gymnasium_env import GymnasiumSimulator
from wmserve_client.environments.simulators import Draw, Expert, Floats, Frame, Readings, State, Success
from wmserve_client.results import World

T = TypeVar("T")
SUCCESS_KEYS = ("is_success", "success")
SLACK = 1e-5
"""Part of a bound that float32 may be off by."""


@dataclass(frozen=True)
class Outcome:
    """What a step led to."""

    reached: bool
    """Whether the environment, or `--success`, calls the goal reached."""
    ended: bool
    """Whether the environment calls its episode ended, for whatever reason."""


@dataclass(frozen=True)
class Hooks:
    """Functions of the caller's own, each in the place of what the environment does itself."""

    success: Success | None = None
    readouts: Readings | None = None
    expert: Expert | None = None


class Stage:
    """A simulator that is known by a name."""

    def __init__(
        self, simulator: Any, name: str, hooks: Hooks | None = None, frame_shape: tuple[int, int] | None = None
    ) -> None:
        """Frames are resized to `frame_shape` (height, width), as stable-worldmodel resizes them; None leaves them."""
        self.name = name
        self._simulator = simulator
        self._hooks = hooks or Hooks()
        self._shape = frame_shape
        self._goal: State | None = None

    @property
    def settable(self) -> bool:
        """Whether it can be put into a state."""
        return bool(getattr(self._simulator, "settable", hasattr(self._simulator, "reset_to")))

    @property
    def resettable(self) -> bool:
        """Whether it can begin anew without a state."""
        return hasattr(self._simulator, "reset")

    @property
    def judges(self) -> bool:
        """Whether success can be told for a goal that is drawn."""
        aims = getattr(self._simulator, "aims", hasattr(self._simulator, "set_goal"))
        return self._hooks.success is not None or bool(aims)

    @property
    def draw(self) -> Draw | None:
        """The simulator's own problems, where it has some."""
        return getattr(self._simulator, "draw", None)

    @property
    def info(self) -> dict[str, Any]:
        """What the environment says beside its observations."""
        return getattr(self._simulator, "info", {})

    def begin(self, seed: int, start: State | None = None, goal: State | None = None) -> None:
        """Begin anew by a seed, then in the state `start` where there is one, with the goal's state if it is known."""
        if self.resettable:
            self._ask("reset", lambda: self._simulator.reset(seed))
        if start is not None:
            if not self.settable:
                raise self._fault("it cannot be put into a state: give --set-state MODULE:FUNCTION, or --from resets")
            self._ask("reset_to", lambda: self._simulator.reset_to(np.asarray(start, np.float64)))
        self._goal = goal
        if goal is not None and hasattr(self._simulator, "set_goal"):
            self._ask("set_goal", lambda: self._simulator.set_goal(np.asarray(goal, np.float64)))

    def render(self) -> Frame:
        """The frame `[h, w, 3]` uint8 that the camera shows now."""
        frame = self._ask("render", self._simulator.render)
        if not isinstance(frame, np.ndarray) or frame.ndim != 3 or frame.shape[-1] != 3 or frame.dtype != np.uint8:
            what = f"{list(frame.shape)} {frame.dtype}" if isinstance(frame, np.ndarray) else type(frame).__name__
            raise self._fault(f"frames must be [h, w, 3] uint8, and it shows {what}: name --camera KEY")
        return np.ascontiguousarray(frame if self._shape in (None, frame.shape[:2]) else resized(frame, self._shape))

    def step(self, action: Floats) -> Outcome:
        """Do one action `[A]`, environment units."""
        answer = self._ask("step", lambda: self._simulator.step(action))
        ended, reached = False, answer is True or (isinstance(answer, np.bool_) and bool(answer))
        if isinstance(answer, tuple):
            _, _, terminated, truncated, info = answer
            ended = bool(terminated) or bool(truncated)
            said = next((info[key] for key in SUCCESS_KEYS if known(info.get(key))), terminated)
            reached = bool(np.all(said))
        if self._hooks.success is not None:
            judge = self._hooks.success
            reached = self._ask("--success", lambda: bool(judge(self._inner, self.info, self._goal)))
        return Outcome(reached, ended)

    def readouts(self) -> Floats | None:
        """What the world's readouts should say now `[R]`; None where nobody knows."""
        ask: Callable[[], Any] | None = getattr(self._simulator, "readouts", None)
        if self._hooks.readouts is not None:
            hook = self._hooks.readouts
            ask = lambda: hook(self._inner, self.info)  # noqa: E731
        return None if ask is None else np.asarray(self._ask("readouts", ask), np.float32).reshape(-1)

    def expert(self) -> Callable[[], Floats] | None:
        """The environment's expert, asked anew at each step; None where there is none."""
        own = getattr(self._simulator, "expert", None)
        hook = self._hooks.expert or (own if isinstance(self._simulator, GymnasiumSimulator) else None)
        if hook is not None:
            return lambda: np.asarray(self._ask("expert", lambda: hook(self._outer, self.info)), np.float32).reshape(-1)
        return None if own is None else lambda: np.asarray(self._ask("expert", own), np.float32).reshape(-1)

    def fit(self, world: World) -> None:
        """EnvironmentFault unless the environment takes whatever the world's plans may say."""
        axes, space = world.action.axes, getattr(self._simulator, "action_space", None)
        if space is None:
            return
        names = ", ".join(axis.name for axis in axes)
        if not hasattr(space, "low") or int(np.prod(space.shape)) != len(axes):
            raise self._fault(f"its actions are {space}, and those of world {world.name} are {names}")
        for axis, low, high in zip(axes, space.low.ravel(), space.high.ravel(), strict=True):
            for bound, value, outside in (("low", axis.low, axis.low - low), ("high", axis.high, high - axis.high)):
                if outside < -SLACK * max(1.0, abs(value)):
                    taken = low if bound == "low" else high
                    raise self._fault(
                        f"world {world.name} plans axis {axis.name} with {bound} {value:g}, and it takes {taken:g}: "
                        "export the world with the environment's bounds in world.json"
                    )

    def close(self) -> None:
        """End it."""
        if hasattr(self._simulator, "close"):
            with suppress(Exception):
                self._simulator.close()

    @property
    def _inner(self) -> Any:
        return getattr(self._simulator, "base", self._simulator)

    @property
    def _outer(self) -> Any:
        return getattr(self._simulator, "env", self._simulator)

    def _ask(self, what: str, question: Callable[[], T]) -> T:
        try:
            return question()
        except EnvironmentFault as error:
            raise self._fault(str(error)) from None
        except Exception as error:  # whatever other people's environments raise
            raise self._fault(f"{what} failed: {type(error).__name__}: {error}") from error

    def _fault(self, what: str) -> EnvironmentFault:
        return EnvironmentFault(f"environment {self.name}: {what}")


def known(said: Any) -> bool:
    """Whether an environment says something: dm_control's, as stable-worldmodel has them, say NaN for nothing."""
    numbers = np.asarray(said)
    return said is not None and not (numbers.dtype.kind == "f" and bool(np.isnan(numbers).any()))


def resized(frame: Frame, shape: tuple[int, int]) -> Frame:
    """A frame of another size, by the filter that stable-worldmodel records with."""
    from PIL import Image

    return np.asarray(Image.fromarray(frame).resize(shape[::-1], Image.Resampling.BILINEAR))
