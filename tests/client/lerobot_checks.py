"""LeRobot's own evaluation drives a real server as its policy, in the real environment; run by test_lerobot.py."""

import os
import warnings
from typing import Any

import numpy as np
import pytest
import wmserve_client as wm
from wmserve_client.errors import PlanRefusedError

import loadtest.evaluation  # noqa: F401  # lets LeRobot import torchvision
from tests.conftest import ROOT

pytestmark = pytest.mark.filterwarnings("ignore:.*WARN:UserWarning")


@pytest.fixture(scope="module", autouse=True)
def adapter() -> Any:
    """The adapter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # LeRobot's imports are its own business
        from wmserve_client import lerobot

        from clients.python.examples import evaluate_lerobot

    assert evaluate_lerobot.WmservePolicy is lerobot.WmservePolicy
    return lerobot


@pytest.fixture
def address() -> str:
    """Where the server is that test_lerobot.py has started."""
    return os.environ["WMSERVE_GRPC"]


def policy(adapter: Any, address: str, **options: Any) -> Any:
    config = adapter.WmserveConfig(address=address, world="two_room", device="cpu", **options)
    return adapter.WmservePolicy(config)


def batch(count: int) -> dict[str, Any]:
    """Images as LeRobot's loops hand them over: the start of a problem, and its goal."""
    import torch
    from PIL import Image

    pictures = [np.asarray(Image.open(ROOT / "docs" / f"{name}.png").convert("RGB")) for name in ("start", "goal")]
    start, goal = (torch.from_numpy(one).permute(2, 0, 1).float().expand(count, -1, -1, -1) / 255 for one in pictures)
    return {"observation.image": start, "observation.images.goal": goal, "task": [""] * count}


def test_evaluation_reaches_goals(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The example: `eval_policy` counts successes in a pool of two environments."""
    from clients.python.examples import evaluate_lerobot

    evaluate_lerobot.main(address, "2")
    assert "'pc_success': 100.0" in capsys.readouterr().out


def test_actions_are_those_of_a_plan_and_come_one_by_one(adapter: Any, address: str) -> None:
    """A chunk is the part of a plan that is executed; `select_action` hands out one like it, and plans again."""
    acting, asked = policy(adapter, address), batch(2)
    chunk = acting.predict_action_chunk(asked)
    assert chunk.shape == (2, 5, 2)
    assert chunk.abs().max() <= 1
    acting.reset()
    actions = [acting.select_action(asked) for _ in range(6)]
    assert all(action.shape == (2, 2) for action in actions)
    plans = [row.last_plan for row in acting._rows]
    assert plans[0] is not plans[1]
    np.testing.assert_array_equal(actions[5][0].numpy(), plans[0].actions[0])


def test_goals_and_images_that_are_missing_or_wrong_are_named(adapter: Any, address: str) -> None:
    """No goal, normalised images; a goal that was set stands for all rows."""
    acting, asked = policy(adapter, address), batch(1)
    with pytest.raises(ValueError, match="normalising"):
        acting.select_action(asked | {"observation.image": asked["observation.image"] * 2 - 1})
    del asked["observation.images.goal"]
    with pytest.raises(ValueError, match="set_goal"):
        acting.select_action(asked)
    acting.set_goal({"agent_x": 60.0, "agent_y": 60.0})
    assert acting.select_action(asked).shape == (1, 2)


def test_a_refused_plan_is_not_executed(adapter: Any, address: str) -> None:
    """A frame like no other is refused: that raises, unless the caller has said what is safe."""
    asked = batch(1)
    asked["observation.image"] = asked["observation.image"] * 0 + 0.5
    with pytest.raises(PlanRefusedError, match="observation"):
        policy(adapter, address).select_action(asked)
    held = policy(adapter, address, safe_action=[0.0, 0.125])
    np.testing.assert_array_equal(held.select_action(asked).numpy(), [[0.0, 0.125]])
    assert held.predict_action_chunk(asked).shape == (1, 5, 2)


def test_rows_with_and_without_reset(adapter: Any, address: str) -> None:
    """Another goal begins another episode in its row alone."""
    acting, asked = policy(adapter, address), batch(2)
    acting.select_action(asked)
    before = [row.last_plan for row in acting._rows]
    other = asked["observation.images.goal"].clone()
    other[1] = asked["observation.image"][1]
    acting.select_action(asked | {"observation.images.goal": other})
    after = [row.last_plan for row in acting._rows]
    assert after[0] is before[0]
    assert after[1] is not before[1]
    assert isinstance(after[1], wm.Plan)


def test_a_batch_of_another_size_and_rows_that_were_reset(adapter: Any, address: str) -> None:
    """Rows of another pool, or of another episode, do not go on with what was planned for the last."""
    acting = policy(adapter, address, safe_action=[0.0, 0.0])

    def planned(count: int) -> list[bool]:
        before = [row.last_plan for row in acting._rows] + [None] * count
        acting.select_action(batch(count))
        return [row.last_plan is not last for row, last in zip(acting._rows, before, strict=False)]

    assert planned(2) == [True, True]
    assert planned(2) == [False, False]
    acting.reset(rows=[1])
    assert planned(2) == [False, True]
    assert planned(1) == [True]
    assert planned(2) == [True, True]
    acting.reset()
    assert planned(2) == [True, True]


def test_a_chunk_replaces_what_select_action_had_left(adapter: Any, address: str) -> None:
    """Both ways of asking may be mixed: neither goes on with an older plan of the other."""
    acting = policy(adapter, address, safe_action=[0.0, 0.0])
    acting.select_action(batch(1))
    acting.predict_action_chunk(batch(1))
    (row,) = acting._rows
    chunk = row.last_plan
    acting.select_action(batch(1))
    assert row.last_plan is not chunk


def test_a_row_that_fails_takes_no_action_from_the_others(adapter: Any, address: str) -> None:
    """A refused plan raises; after that the other row goes on where it was."""
    acting, asked = policy(adapter, address), batch(2)
    acting.select_action(asked)
    other = acting._rows[1].last_plan
    acting.reset(rows=[0])
    strange = asked["observation.image"].clone()
    strange[0] = 0.5
    with pytest.raises(PlanRefusedError, match="observation"):
        acting.select_action(asked | {"observation.image": strange})
    np.testing.assert_array_equal(acting.select_action(asked)[1].numpy(), other.actions[1])
