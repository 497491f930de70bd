"""`wmserve evaluate`: a real server beside chance, expert and the peer's own solver, on the same episodes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from wmserve import trajectories
from wmserve.trajectories import Trajectory
from wmserve_client.environments import EnvironmentFault, peer
from wmserve_client.environments.evaluate import main
from wmserve_export.reference import collect, environment

from tests.client import dots
from tests.conftest import Server

COLOURS = ["linear", "--env", f"gymnasium:{dots.__name__}:Colours-v0", "--quiet"]
MODULES = "stable_worldmodel.wm.lewm"
NORM = {"_target_": "hydra.utils.get_class", "path": "torch.nn.BatchNorm1d"}
HEAD = {"_target_": f"{MODULES}.module.MLP", "input_dim": 8, "hidden_dim": 8, "output_dim": 8, "norm_fn": NORM}
LEWM = {
    "_target_": f"{MODULES}.LeWM",
    "encoder": {
        "_target_": peer.VIT,
        "size": "tiny",
        "patch_size": 4,
        "image_size": 8,
        "use_mask_token": False,
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 8,
    },
    "predictor": {
        "_target_": f"{MODULES}.module.Predictor",
        "num_frames": 3,
        "depth": 1,
        "heads": 2,
        "dim_head": 4,
        "mlp_dim": 8,
        "input_dim": 8,
        "hidden_dim": 8,
        "output_dim": 8,
    },
    "action_encoder": {"_target_": f"{MODULES}.module.Embedder", "input_dim": 4, "smoothed_dim": 4, "emb_dim": 8},
    "projector": HEAD,
    "pred_proj": HEAD,
}


def figures(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The last line."""
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


def test_the_served_policy_is_as_good_as_the_expert(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Behind doors anywhere; chance is not; what is paired is what the rows say."""
    arguments = ["--env", "wmserve_export.reference.rooms:Rooms", "--server", server.grpc, "--episodes", "4"]
    assert main(["two_room", *arguments, "--quiet", "--seed", "3"]) == 0
    found = figures(capsys)
    assert found["expert"] == 100
    assert found["wmserve"] >= 75
    assert found["random"] <= 25
    assert found["wmserve_less_random"] == found["wmserve"] - found["random"]
    assert found["wmserve_less_random_low"] < found["wmserve_less_random"]
    assert 51 < found["expert_low"] < 52
    assert found["plans"] > 4
    assert "peer" not in found


def test_stable_worldmodels_environment_judges_goals_of_trajectories(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its own success, its own expert; starts that are goals are left out."""
    doors = np.full(3, collect.DEFAULT_DOOR)
    positions, actions = collect.walk(np.random.default_rng(2), doors, (1.0, 0.0, 0.0))
    for index, (places, done) in enumerate(zip(positions[:, :: collect.ACTION_BLOCK], actions, strict=True)):
        frames = environment.render(places, collect.DEFAULT_DOOR).numpy()
        trajectories.write(tmp_path / f"{index}.npz", Trajectory(frames, done, states=places.astype(np.float64)))
    arguments = ["--env", "stable-worldmodel:swm/TwoRoom-v1", "--server", server.grpc, "--trajectories", str(tmp_path)]
    asked = ["--episodes", "3", "--goal-offset", "25", "--policies", "expert", "random", "--quiet"]
    assert main(["two_room", *arguments, *asked]) == 0
    found = figures(capsys)
    assert found["expert"] == 100
    assert found["wmserve"] >= 66
    assert found["budget"] == 50


def test_the_peer_plays_the_same_episodes(linear: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By its own module and solver, read from the folder that it saves; a far goal is reached by nobody."""
    import torch
    from hydra.utils import instantiate

    peer.import_peer()
    sizes = {name: value for name, value in LEWM["encoder"].items() if name != "_target_"}  # type: ignore[attr-defined]
    rest = {name: value for name, value in LEWM.items() if name != "encoder"}
    torch.manual_seed(0)
    torch.save(instantiate(rest, encoder=peer.vit(**sizes)).state_dict(), tmp_path / "weights.pt")
    (tmp_path / "config.json").write_text(json.dumps(LEWM))
    arguments = [*COLOURS, "--server", linear.grpc, "--problems", f"{dots.__name__}:colours", "--episodes", "3"]
    assert main([*arguments, "--peer-checkpoint", str(tmp_path), "--budget", "4", "--candidates", "8"]) == 0
    found = figures(capsys)
    assert (found["wmserve"], found["peer"], found["wmserve_less_peer"]) == (0, 0, 0)
    (tmp_path / "config.json").write_text(json.dumps({**LEWM, "projector": {"_target_": "os.system"}}))
    with pytest.raises(EnvironmentFault, match=r"names os\.system; only stable_worldmodel\."):
        peer.load(tmp_path)


def test_the_environments_own_goal_is_taken_where_none_is_drawn(
    linear: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its info shows it, and its info says when it is reached; `--success` may say otherwise."""
    arguments = [*COLOURS, "--server", linear.grpc, "--episodes", "2", "--budget", "2", "--policies", "random"]
    assert main(arguments) == 0
    assert figures(capsys)["random"] == 0
    assert main([*arguments, "--success", f"{dots.__name__}:always"]) == 2
    assert "only 0 are not solved at the start" in capsys.readouterr().err
    assert main([*arguments, "--policies", "expert"]) == 2
    assert "has no expert: give --expert" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:.*WARN:UserWarning")  # gymnasium's, of the peer's observations
def test_the_example_evaluates_through_stable_worldmodels_world(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    """With that package's own dataset, and its own count of successes."""
    from clients.python.examples import evaluate_stable_worldmodel

    evaluate_stable_worldmodel.main(server.grpc, "2")
    assert "of 2 episodes" in (said := capsys.readouterr().out)
    assert "success: 100 %" in said
