"""Admission: work is weighed, what is too much is shed, and a drain waits for what is inside."""

import asyncio

import pytest
from wmserve_server.admission import MODEL_STEPS, Admission, weight
from wmserve_server.errors import Overloaded, Unavailable


def test_work_is_weighed_by_its_model_steps() -> None:
    """An encode is one; a plan of 300 x 30 x 5 weighs as much as five of them."""
    assert (weight(0), weight(MODEL_STEPS), weight(300 * 30 * 5)) == (1, 2, 5)


def test_what_is_too_much_is_shed_and_says_when_to_come_back() -> None:
    """Heavy work is refused where light work still fits; places are given back."""
    admission = Admission(max_in_flight=10)
    with admission.admit(8):
        with admission.admit(2):
            pass
        with pytest.raises(Overloaded, match="weighs 3, 10 are let in") as shed, admission.admit(3):
            pass
        assert shed.value.retry_after_s == 1
    with admission.admit(10):
        pass


def test_what_is_heavier_than_everything_is_let_in_alone() -> None:
    """Otherwise a world's largest plan could never be asked."""
    admission = Admission(max_in_flight=10)
    with admission.admit(46), pytest.raises(Overloaded), admission.admit():
        pass


async def test_a_drain_waits_for_what_is_inside_and_lets_nobody_in() -> None:
    """It says whether all have left in time."""
    admission = Admission(max_in_flight=10)
    with admission.admit(3):
        assert not await admission.drain(0.01)
        with pytest.raises(Unavailable), admission.admit():
            pass
        draining = asyncio.create_task(admission.drain(5))
        await asyncio.sleep(0)
    assert await draining
