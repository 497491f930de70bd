"""TD-MPC2: stable-worldmodel's own model, and its authors' checkpoints, which plan without a goal."""

import argparse
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from wmserve_export import convert
from wmserve_export.__main__ import main
from wmserve_export.families import FamilyError, Rewarded

from loadtest.families import tdmpc2
from loadtest.families.tdmpc2 import adopted, compared, facts, settings
from tests.export.test_export import read_config, read_world

STATES = {"state": 8, "goal_state": 4}
OBSERVED = {"frames": {"pixels": 8}, "states": STATES, "both": {"pixels": 8, "state": 12}}
COMPARED = ("encode_error", "rollout_error", "cost_error", "spread_error")


@pytest.mark.parametrize("observed", OBSERVED)
def test_a_world_is_stable_worldmodels(observed: str, tmp_path: Path) -> None:
    """Latents, rollouts, and costs and spread of critics after every step, not only after the last."""
    encoding = OBSERVED[observed]
    model = tdmpc2.reference(settings(encoding))
    world = adopted(tdmpc2.save(model, tmp_path), facts(encoding))
    figures = compared(model, world)
    assert max(figures[name] for name in COMPARED) < 1e-5
    assert isinstance(world, Rewarded)
    assert bool(world.config.image_size) == ("pixels" in encoding)
    planner = world.config.planner
    assert (planner.algorithm, planner.horizon, planner.candidate_count, planner.elite_count) == ("mppi", 5, 256, 64)


def test_frames_of_other_sizes_are_resized(tmp_path: Path) -> None:
    """By antialiased bilinear interpolation, to the size of the settings."""
    model = tdmpc2.reference(settings({"pixels": 8}))
    world = adopted(tdmpc2.save(model, tmp_path), facts({"pixels": 8}))
    frames = torch.randint(0, 256, (2, 1, 50, 60, 3), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
    pixels = nn.functional.interpolate(frames[:, 0].movedim(-1, 1).float(), (40, 40), mode="bilinear", antialias=True)
    with torch.inference_mode():
        wanted = model.encode({"pixels": tdmpc2.normalised(pixels.movedim(1, -1))})
        latents, features = world.encode(frames)
    torch.testing.assert_close(latents[:, 0], wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(latents, torch.softmax(features.unflatten(-1, (-1, 4)), dim=-1).flatten(-2))


def test_a_converted_module_is_the_same_world(tmp_path: Path) -> None:
    """What its trainer saves; sizes and constants come from the settings that the module carries."""
    model = tdmpc2.reference(settings(STATES))
    torch.save(model, tmp_path / "model_object.ckpt")
    out = tmp_path / "out"
    assert convert.inside(argparse.Namespace(checkpoint=tmp_path / "model_object.ckpt", out=out)) == 0
    world = adopted(out, facts(STATES))
    assert [part.name for part in world.config.encoders] == list(STATES), "safetensors sorts, the modules' order counts"
    assert (world.config.low_bin, world.config.high_bin, world.config.discount) == (-10, 2, 0.97)
    figures = compared(model, world)
    assert max(figures[name] for name in COMPARED) < 1e-5


@pytest.mark.parametrize("numbered", [False, True])
def test_the_authors_own_format_is_read(numbered: bool, tmp_path: Path) -> None:
    """A world of one task that observes states: the published bins and no penalty, the discount is asked for."""
    configuration = settings({"state": 16}, tdmpc2.SMALL | {"simnorm_dim": 8})
    configuration["wm"] |= {"vmin": -10, "vmax": 10, "uncertainty_penalty": 0.0}
    model = tdmpc2.reference(configuration)
    states = tdmpc2.own_format(model.state_dict(), numbered)
    notes = {} if numbered else {"_Qs.params.__batch_size": torch.Size([3]), "_Qs.params.__device": torch.device("cpu")}
    torch.save({"model": states | notes}, tmp_path / "step.pt")
    known = facts({"state": 16})
    with pytest.raises(FamilyError, match=r"discount is missing: config\.json should have it as discount"):
        adopted(tmp_path, known)
    (tmp_path / "config.json").write_text(json.dumps({"discount": 0.97}))
    world = adopted(tmp_path, known)
    figures = compared(model, world)
    assert max(figures[name] for name in COMPARED) < 1e-5
    assert (world.config.planner.horizon, world.config.planner.candidate_count) == (3, 512)
    torch.save({"model": states | {"_task_emb.weight": torch.zeros(80, 96)}}, tmp_path / "step.pt")
    with pytest.raises(FamilyError, match="several tasks, which is not read"):
        adopted(tmp_path, known)


def test_what_is_missing_is_asked_for_by_name(tmp_path: Path) -> None:
    """Constants, axes of the facts, the side of frames, the order of encoders; nothing that does not fit is taken."""
    model = tdmpc2.reference(settings(STATES))
    folder = tdmpc2.save(model, tmp_path)
    with pytest.raises(FamilyError, match=r"7 axes of proprioception \(state 5, goal_state 2\), the facts have 5"):
        adopted(folder, facts({"state": 5}))
    action = tdmpc2.ACTION.model_copy(update={"action_block": 5})
    with pytest.raises(FamilyError, match=r"2 numbers for each environment step, .* action_block 5"):
        adopted(folder, facts(STATES).model_copy(update={"action": action}))
    configuration = json.loads((folder / "config.json").read_text())
    configuration["wm"].pop("vmin")
    (folder / "config.json").write_text(json.dumps(configuration))
    with pytest.raises(FamilyError, match=r"vmin is missing: config\.json should have it as wm\.vmin"):
        adopted(folder, facts(STATES))
    (folder / "config.json").unlink()
    with pytest.raises(FamilyError, match=r"simnorm_dim is missing: .* wm\.simnorm_dim"):
        adopted(folder, facts(STATES))
    save_file({name: tensor.clone() for name, tensor in model.state_dict().items()}, folder / "weights.safetensors")
    (folder / "weights.pt").unlink()
    with pytest.raises(FamilyError, match=r"order of goal_state, state is missing: .* wm\.encoding"):
        adopted(folder, facts(STATES))


def test_one_command_exports_a_world_that_sees_nothing(tmp_path: Path) -> None:
    """Through the gates: no frames go in, no goal, and what critics differ by comes out as disagreement."""
    folder = tdmpc2.save(tdmpc2.reference(settings(STATES)), tmp_path / "published")
    (tmp_path / "world.json").write_text(facts(STATES).model_dump_json())
    arguments = ["--family", "tdmpc2", "--world", str(tmp_path / "world.json"), "--horizons", "1", "--quiet"]
    repository = tmp_path / "repository"
    assert main([str(folder), *arguments, "--repository", str(repository), "--rank-problems", "1"]) == 0
    world = read_world(repository, "tdmpc2")
    assert (world.observation.frames, len(world.observation.proprioception)) == (False, 7)
    assert (world.metric.name, world.metric.unit, world.metric.needs_goal) == ("negative_return", "reward", False)
    inputs = {
        verb: [tensor.name for tensor in read_config(repository, f"tdmpc2_{verb}").input]
        for verb in ("encode", "rollout", "plan")
    }
    assert inputs == {"encode": ["proprioception"], "rollout": ["context", "actions"], "plan": ["context", "search"]}
