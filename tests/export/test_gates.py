"""Gates that must not pass: what they refuse, they name, and nothing is written."""

from pathlib import Path

import numpy as np
import pytest
import torch
from wmserve.world import VERBS
from wmserve_export import families, gates
from wmserve_export.__main__ import main
from wmserve_export.engines import engines
from wmserve_export.examples import NO_EXAMPLES

from tests.export import linear_world
from tests.export.conftest import Exported
from tests.export.linear_world import LinearConfig


def test_parity_refuses_engines_of_other_weights(exported: Exported) -> None:
    """One weight changed by a thousandth after the export is found."""
    family = families.load(exported.checkpoint)
    files = {
        engine: exported.repository / f"linear_{engine.verb}" / "1" / engine.file for engine in engines(VERBS, (2,))
    }
    gates.parity(family, files, NO_EXAMPLES).check()
    assert isinstance(family, linear_world.LinearWorld)
    with torch.no_grad():
        family.move[0, 0, 0] += 1e-3
    with pytest.raises(gates.GateError, match=r"^parity: rollout/horizon_2.onnx:latents"):
        gates.parity(family, files, NO_EXAMPLES).check()


def test_parity_refuses_nan() -> None:
    """An engine that answers NaN is not equal to anything."""
    with pytest.raises(gates.GateError, match=r"^parity"):
        gates.Parity({"encode/engine.onnx:latents": float("nan")}).check()


def test_candidates_of_the_same_actions_are_the_same_elites() -> None:
    """Where the best is at the bounds, many candidates are clipped to it: which of them is chosen says nothing."""
    actions = torch.arange(gates.CANDIDATES, dtype=torch.float32).repeat(2, 1).T.unsqueeze(1).clone()
    actions[:60] = 1.0
    drawn = gates.Population({}, actions, np.arange(30))
    assert drawn.shared(np.arange(30, 60)) == 30
    assert drawn.shared(np.arange(45, 75)) == 15
    assert drawn.shared(np.arange(70, 100)) == 0


@pytest.mark.parametrize(("fault", "gate"), [("shifted", "parity"), ("noisy", "rank")])
def test_a_refused_world_is_not_written(
    fault: str, gate: str, exported: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The gate is named, the exit status is 1, and what was served before stays as it was.

    The noisy world passes parity: its error is small next to its costs, and large next to their differences.
    """
    config = LinearConfig.model_validate({"fault": fault})
    checkpoint = linear_world.save(tmp_path / "checkpoint", config)
    before = {file: file.read_bytes() for file in exported.repository.rglob("*") if file.is_file()}
    assert main([str(checkpoint), "--repository", str(exported.repository), "--horizons", "2", "--quiet"]) == 1
    assert f"nothing was written: {gate}: " in capsys.readouterr().err
    assert {file: file.read_bytes() for file in exported.repository.rglob("*") if file.is_file()} == before
