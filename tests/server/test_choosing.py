"""Which version answers: what the route asks for, as far as it is ready."""

from wmserve.versions import Route, Share
from wmserve.world import World
from wmserve_server.versions import FALLBACK_S, Versions, amiss, choose

from tests.worlds import make_world


def worlds(*versions: int) -> dict[int, World]:
    return {version: make_world().model_copy(update={"version": version}) for version in versions}


def live(found: Versions | None) -> int | None:
    return None if found is None else found.live


def test_what_answered_goes_on_until_the_other_is_ready() -> None:
    """And then no longer; what is amiss meanwhile is said."""
    route = Route(world="toy", live=2, previous=1)
    before = choose("toy", worlds(1), None, None, 0.0)
    assert live(before) == 1
    waiting = choose("toy", worlds(1), route, before, 0.0)
    assert live(waiting) == 1
    assert amiss("toy", waiting, route) == "toy@2 is to be live and is not ready: toy@1 answers"
    ready = choose("toy", worlds(1, 2), route, waiting, 0.0)
    assert (live(ready), amiss("toy", ready, route)) == (2, None)
    assert live(choose("toy", worlds(1, 2), route.model_copy(update={"live": 1}), ready, 0.0)) == 1, "rolled back"


def test_a_server_that_starts_waits_a_while_for_what_is_live() -> None:
    """Then the previous version is better than nothing; another is not."""
    route = Route(world="toy", live=2, previous=1)
    assert choose("toy", worlds(1, 3), route, None, FALLBACK_S - 1) is None
    assert live(choose("toy", worlds(1, 3), route, None, FALLBACK_S + 1)) == 1
    assert choose("toy", worlds(3), route, None, FALLBACK_S + 1) is None


def test_without_a_route_the_highest_is_live_and_stays_so() -> None:
    """A version that appears beside it waits for a route."""
    found = choose("toy", worlds(1), None, None, 0.0)
    assert live(choose("toy", worlds(1, 2), None, found, 0.0)) == 1
    assert live(choose("toy", worlds(1, 2), None, None, 0.0)) == 2
    assert choose("toy", {}, None, found, 0.0) is None


def test_a_canary_draws_sessions_and_a_larger_share_takes_none_away() -> None:
    """About its share of them, the same ones each time; requests without a session stay on what is live."""

    def drawn(share: float) -> set[str]:
        route = Route(world="toy", live=1, canary=Share(version=2, share=share))
        found = choose("toy", worlds(1, 2), route, None, 0.0)
        assert found is not None
        assert found.of_session("").version == 1
        return {str(number) for number in range(2000) if found.of_session(str(number)).version == 2}

    few, more = drawn(0.1), drawn(0.3)
    assert few < more
    assert 140 < len(few) < 260
    assert 500 < len(more) < 700
    absent = choose("toy", worlds(1), Route(world="toy", live=1, canary=Share(version=2, share=1.0)), None, 0.0)
    assert absent is not None
    assert absent.of_session("robot").version == 1, "a canary that is not ready answers nobody"
