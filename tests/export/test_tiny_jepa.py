"""tiny-jepa's published weights: the same numbers as the package itself, and a world that knows how little it knows."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_jepa import TinyJEPA
from wmserve_export.families import FamilyError, load
from wmserve_export.families.tiny_jepa import MOVES, TinyJepa

from loadtest.trusting import tiny


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.checkpoint(tmp_path_factory.mktemp("tiny") / "checkpoint")


def test_it_computes_what_the_package_computes(checkpoint: Path) -> None:
    """Latents, readouts and imagined futures."""
    ours, theirs = load(checkpoint), TinyJEPA.load(str(checkpoint / tiny.WEIGHTS))
    assert isinstance(ours, TinyJepa)
    grey = np.float32(tiny.picture(tiny.OrbyWorld(seed=3).render())[..., 0]) / 255
    frame, moves = torch.from_numpy(np.uint8(255 * grey))[None, None, ..., None].expand(-1, -1, -1, -1, 3), [4, 4, 1, 0]
    with torch.inference_mode():
        latents, _ = ours.encode(frame)
        path = ours.predict(latents, torch.tensor(MOVES)[moves][None, None])
        seen = ours.readout(latents)[0, 0].numpy()
    np.testing.assert_allclose(latents[0, 0].numpy(), theirs.encode(grey), rtol=1e-4, atol=1e-5)
    imagined = theirs.imagine(theirs.encode(grey), moves)
    np.testing.assert_allclose(path[0, 0, 0].numpy(), imagined, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(seen, [*theirs.perceive_pellet(grey), *theirs.perceive_agent(grey)], rtol=1e-4)


def test_a_move_is_the_nearest_of_five(checkpoint: Path) -> None:
    """Between them a search sees no difference."""
    ours = load(checkpoint)
    start = torch.zeros(1, 1, 32)
    with torch.inference_mode():
        right, rather_right, up = (
            ours.predict(start, torch.tensor([[[move]]])) for move in ([2.0, 0.0], [1.6, 0.7], [0.0, -2.0])
        )
    torch.testing.assert_close(right, rather_right, rtol=0, atol=0)
    assert not torch.equal(right, up)


def test_a_checkpoint_that_is_not_one_is_said(tmp_path: Path) -> None:
    """No weights; weights of something else; a pickle is not opened."""
    (tmp_path / "config.json").write_text(json.dumps({"family": "tiny_jepa"}))
    with pytest.raises(FamilyError, match=r"one \.npz file"):
        load(tmp_path)
    np.savez(tmp_path / "other.npz", weight=np.zeros(3))
    with pytest.raises(FamilyError, match=r"lacks enc\.0\.W"):
        load(tmp_path)
    np.savez(tmp_path / "other.npz", **{"enc.0.W": np.array([{}], dtype=object)})
    with pytest.raises((FamilyError, ValueError), match="pickle"):
        load(tmp_path)


def test_served_it_gives_wide_radii_and_no_plan(tmp_path: Path) -> None:
    """One step is off by more than a step is long, it says so, and every plan is refused for it."""
    found = tiny.verdict(tmp_path, 20)
    assert found.radius > found.tolerance
    assert found.refused == 1
    assert set(found.reasons) >= {"radius"}
