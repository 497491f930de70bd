"""Has plans executed by `wmserve execute`, the client's command: in a process of its own, since no code is shared."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from wmserve.world import World

from wmserve_export.calibration.trajectories import CalibrationError

EXECUTE = (sys.executable, "-m", "wmserve_client.cli", "execute")


def folder(world: World) -> Path:
    """Where the plans of a world go unless a caller says otherwise: another place for each checkpoint."""
    return Path("plans") / f"{world.name}-{world.digests.checkpoint.removeprefix('sha256:')[:8]}"


def execute(
    world: World, calibration: str, repository: Path, trajectories: Path, env: str, out: Path, more: Sequence[str]
) -> None:
    """Execute plans of a world that is served, by a server that is started or that `more` names.

    Args:
        world: Its contract.
        calibration: Digest of the calibration that it must be served with before it plans.
        repository: Where a server that is started reads.
        trajectories: Where starts and goals come from.
        env: The environment, as `wmserve execute` names it.
        out: Folder of the plans.
        more: Further arguments of `wmserve execute`.

    Raises:
        CalibrationError: They could not be executed; the command has said why.
    """
    own = ["--env", env, "--repository", str(repository), "--trajectories", str(trajectories), "--out", str(out)]
    status = subprocess.run([*EXECUTE, world.name, *own, "--calibration", calibration, *more], check=False).returncode
    if status:
        raise CalibrationError("plans were not executed; the calibration on trajectories alone is in place")
