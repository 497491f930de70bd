"""Opens the environment that a command line names.

gymnasium:ID             of Gymnasium's registry; `gymnasium:module:ID` imports the module that registers it
stable-worldmodel:ID     such as `stable-worldmodel:swm/TwoRoom-v1`
MODULE:FUNCTION          what that function returns: an environment, a `World`, or a `Simulator`
"""

import importlib
import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from wmserve.torchvision import declare_operators

from wmserve_client.environments import EnvironmentFault
from wmserve_client.environments.gymnasium_env import GymnasiumSimulator
from wmserve_client.environments.stage import Hooks, Stage

GYMNASIUM, PEER = "gymnasium", "stable-worldmodel"


@dataclass(frozen=True)
class Opening:
    """What to open, and how; each stage is opened where it is used, since environments belong to one thread."""

    name: str
    camera: str | None = None
    set_state: str | None = None
    success: str | None = None
    readouts: str | None = None
    expert: str | None = None
    frame_shape: tuple[int, int] | None = None

    def stage(self) -> Stage:
        """Open it; EnvironmentFault where that cannot be done."""
        success, readouts, expert, set_state = (
            None if text is None else function(text)
            for text in (self.success, self.readouts, self.expert, self.set_state)
        )
        made = make(self.name, self.camera)
        simulator = made
        if hasattr(made, "envs") and hasattr(made.envs, "envs"):  # a `World` of stable-worldmodel: its first
            made = made.envs.envs[0]
        if hasattr(made, "unwrapped") and hasattr(made, "action_space"):
            simulator = GymnasiumSimulator(made, self.camera, set_state)
        elif not (hasattr(made, "step") and hasattr(made, "render")):
            raise EnvironmentFault(f"{self.name} returned {type(made).__name__}, which has no step and render")
        return Stage(simulator, self.name, Hooks(success, readouts, expert), self.frame_shape)


def make(name: str, camera: str | None) -> Any:
    """What a name stands for; EnvironmentFault where there is no such thing."""
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame without a screen
    kind, _, rest = name.partition(":")
    if kind == PEER:
        import_peer()
    elif kind != GYMNASIUM:
        return built(name)
    try:
        import gymnasium
    except ModuleNotFoundError:
        raise EnvironmentFault(f"{name} needs: pip install 'wmserve[gymnasium]'") from None
    if ":" in rest:
        sys.path.append(str(Path.cwd()))
    options = {} if camera else {"render_mode": "rgb_array"}
    try:
        # Plans are executed to their end, whatever an episode's usual length.
        return gymnasium.make(rest, max_episode_steps=-1, disable_env_checker=True, **options)
    except Exception as error:  # whatever constructors raise
        raise EnvironmentFault(f"environment {name} cannot be made: {type(error).__name__}: {error}") from error


def built(name: str) -> Any:
    """What a function of the caller's own returns."""
    make_it = function(name)
    try:
        return make_it()
    except Exception as error:
        raise EnvironmentFault(f"environment {name} cannot be made: {type(error).__name__}: {error}") from error


def function(text: str) -> Callable[..., Any]:
    """A function by `MODULE:FUNCTION`, from the folder of the moment, too; EnvironmentFault where there is none."""
    module, separator, attribute = text.partition(":")
    if not (separator and module and attribute):
        raise EnvironmentFault(f"{text}: expected gymnasium:ID, stable-worldmodel:ID or MODULE:FUNCTION")
    sys.path.append(str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise EnvironmentFault(f"{text} cannot be imported: {error}") from None
    if not callable(found):
        raise EnvironmentFault(f"{text} is {type(found).__name__}, not a function")
    return found


def import_peer() -> None:
    """Import stable-worldmodel, which registers its environments; EnvironmentFault where it is not installed."""
    if find_spec("stable_worldmodel") is None:
        raise EnvironmentFault("this needs: pip install stable-worldmodel (tested with 0.1.1)")
    if "stable_worldmodel" in sys.modules:
        return
    declare_operators()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "ale-py not found")  # of environments that nobody asked for
        importlib.import_module("stable_worldmodel")
