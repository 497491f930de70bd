"""Worlds that are not frames, actions and goals, through a real server: what they answer, and what they do not."""

from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from wmserve_client import Client, InvalidRequest, Observation, PlannerOptions
from wmserve_export import families
from wmserve_export.__main__ import main as export

from tests.conftest import Server, running
from tests.export import other_worlds

FRAME = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), np.uint8)
CLIP = np.random.default_rng(1).integers(0, 256, (4, 16, 16, 3), np.uint8)
FELT = [0.5, -1.0]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server of all of them."""
    folder = tmp_path_factory.mktemp("other_worlds")
    for name in other_worlds.WORLDS:
        families.FAMILIES[name] = f"{other_worlds.__name__}:load"
        checkpoint = other_worlds.save(folder / name, name)
        assert export([str(checkpoint), "--repository", str(folder / "repository"), "--quiet"]) == 0
        del families.FAMILIES[name]
    with running(folder / "log", model_repository=str(folder / "repository")) as started:
        started.wait_ready()
        yield started


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with Client(server.grpc) as connected:
        yield connected


def test_each_says_what_it_answers(client: Client) -> None:
    """The contract lists the verbs."""
    verbs = {world.name: list(world.verbs) for world in client.worlds()}
    all_three = ["encode", "rollout", "plan"]
    assert verbs == {"patches": ["encode"], "clips": ["encode", "rollout"], "robot": all_three, "blind": all_three}


def test_another_verb_is_refused_by_name(client: Client, server: Server) -> None:
    """Both wires say what the world does answer."""
    with pytest.raises(InvalidRequest, match="patches does not plan; it answers encode") as refused:
        client.plan("patches", FRAME, FRAME)
    assert (refused.value.reason, refused.value.field) == ("verb_not_served", "world")
    with pytest.raises(InvalidRequest, match="does not rollout"):
        client.rollout("patches", FRAME, [[0.0]])
    body = {"world": "clips", "decision_id": "dec_" + "x" * 22, "observation": CLIP.tolist()}
    answer = httpx.post(f"{server.http}/v1/observe", json=body)
    assert (answer.status_code, answer.json()["reason"]) == (400, "verb_not_served")


def test_patches_keep_their_shape(client: Client) -> None:
    """Latents come back in the contract's shape, and go in again."""
    seen = client.encode("patches", FRAME, return_latents=True)
    assert seen.latents is not None
    assert seen.latents.shape == (1, 2, 2, 3)
    flat = other_worlds.Patches(other_worlds.CONFIGS["patches"]).encode(torch_frames(FRAME))[0]
    np.testing.assert_allclose(seen.latents.ravel(), flat.detach().numpy().ravel(), atol=1e-5)


def torch_frames(frames: np.ndarray[Any, Any]) -> Any:
    import torch

    return torch.from_numpy(frames)[None]


def test_a_hidden_part_is_predicted_with_surprise(client: Client) -> None:
    """Surprise is where something is hidden, and nowhere else; prediction only where asked for."""
    hidden = np.zeros((2, 2, 2), np.uint8)
    hidden[1, 0] = 1
    answer = client.rollout("clips", CLIP, hidden=hidden, return_latents=True)
    assert answer.surprise is not None
    assert answer.latents is not None
    assert answer.surprise.shape == (2, 2, 2)
    assert answer.latents.shape == (1, 2, 2, 2, 3)
    assert (answer.surprise[hidden == 0] == 0).all()
    assert (answer.surprise[hidden == 1] > 0).all()
    assert client.rollout("clips", CLIP, hidden=hidden).latents is None


@pytest.mark.parametrize(
    ("asked", "field", "said"),
    [
        (lambda c: c.rollout("clips", CLIP), "hidden", "what part of the clip is hidden"),
        (lambda c: c.rollout("clips", CLIP, [[0.0]]), "actions", "knows no actions"),
        (lambda c: c.rollout("clips", CLIP, hidden=np.ones((1, 2, 2))), "hidden", r"expected \[2, 2, 2\]"),
        (lambda c: c.rollout("clips", CLIP, hidden=np.zeros((2, 2, 2))), "hidden", "hides nothing"),
        (lambda c: c.rollout("clips", CLIP, hidden=np.full((2, 2, 2), 2)), "hidden", "0 or 1"),
        (lambda c: c.rollout("clips", CLIP[:2], hidden=np.ones((2, 2, 2))), "context.observations", "clips of 4"),
        (lambda c: c.encode("clips", CLIP[:3]), "observations", "clips of 4"),
        (
            lambda c: c.rollout("clips", c.encode("clips", CLIP), hidden=np.ones((2, 2, 2))),
            "context.observations",
            "have seen what is to be hidden",
        ),
        (lambda c: c.encode("robot", FRAME), "observations.proprioception", r"reach \(m\), turn \(rad\)"),
        (lambda c: c.encode("robot", Observation(None, FELT)), "observations", "needs frames"),
        (lambda c: c.encode("robot", Observation(FRAME, [0.5])), "observations.proprioception", r"expected \[1, 2\]"),
        (lambda c: c.encode("robot", Observation(FRAME, [0.5, 9])), "observations.proprioception", r"\[-2, 2\] rad"),
        (lambda c: c.encode("robot", Observation(FRAME, [FELT] * 2)), "observations.proprioception", "expected"),
        (lambda c: c.encode("patches", Observation(FRAME, FELT)), "observations.proprioception", "takes none"),
        (lambda c: c.encode("blind", Observation(FRAME, FELT)), "observations", "looks at no frames"),
        (lambda c: c.encode("blind", Observation(None, [FELT] * 2)), "observations.proprioception", "at most 1"),
        (lambda c: c.plan("robot", Observation(FRAME, FELT)), "goal", "needs one"),
        (lambda c: c.plan("blind", Observation(None, FELT), Observation(None, FELT)), "goal", "knows what is good"),
        (lambda c: c.rollout("robot", Observation(FRAME, FELT)), "actions", "missing"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(client: Client, asked: Any, field: str, said: str) -> None:
    """Field and bound are named."""
    with pytest.raises(InvalidRequest, match=said) as refused:
        asked(client)
    assert refused.value.field == field


def test_a_robot_feels_and_plans(client: Client, server: Server) -> None:
    """Proprioception shows in readouts, over both wires; a goal does without, since its metric does."""
    seen = client.encode("robot", Observation(FRAME, FELT))
    np.testing.assert_allclose(seen.readouts, [FELT], atol=1e-6)
    body = {"world": "robot", "observations": {"array": FRAME.tolist(), "proprioception": FELT}}
    said = httpx.post(f"{server.http}/v1/encode", json=body).json()
    np.testing.assert_allclose(said["readouts"], [FELT], atol=1e-6)
    rolled = client.rollout("robot", seen, [[[1.0], [1.0]]])
    np.testing.assert_allclose(rolled.readouts[0, :, 0], [1.5, 2.5], atol=1e-6)
    plan = client.plan("robot", seen, FRAME)
    assert plan.status == "ok"
    observed = client.observe("robot", Observation(FRAME, [0.6, -1.0]), plan)
    assert observed.error >= 0
    with client.control("robot", FRAME) as loop:
        first = loop.step(Observation(FRAME, FELT))
        assert first.outcome is None
        assert loop.step(Observation(FRAME, FELT)).outcome is not None


def test_a_world_that_knows_what_is_good_plans_without_a_goal(client: Client) -> None:
    """It pushes back what is felt to be off; its critics' spread is the disagreement; costs are its own."""
    search = PlannerOptions(seed=1, candidate_count=64, iterations=5)
    plan = client.plan("blind", Observation(None, [0.9, 0.0]), planner=search)
    assert plan.actions is not None
    assert plan.actions[0, 0] < 0
    assert not plan.goal_latents_id
    np.testing.assert_allclose(plan.cost, plan.goal_distance[-1], rtol=1e-6)
    assert (plan.disagreement > 0).all()
    with client.control("blind") as loop:
        loop.step(Observation(None, [0.9, 0.0]))
        assert loop.step(Observation(None, [0.5, 0.0])).outcome is not None
