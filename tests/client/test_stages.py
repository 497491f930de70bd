"""Environments of threads that act at once."""

import threading
from dataclasses import dataclass, field
from typing import cast

import pytest
from wmserve_client.environments.opening import Opening
from wmserve_client.environments.stages import Stages


@dataclass
class Rooms:
    """Opens rooms, which know who opened and who closed them."""

    opened: list[int] = field(default_factory=list)
    closed: list[tuple[int, int]] = field(default_factory=list)

    def stage(self) -> "Room":
        """A room of this thread."""
        self.opened.append(threading.get_ident())
        return Room(self, threading.get_ident())


@dataclass
class Room:
    """Of one thread."""

    rooms: Rooms
    owner: int

    def close(self) -> None:
        """End it."""
        self.rooms.closed.append((self.owner, threading.get_ident()))


def test_each_thread_closes_what_it_opened() -> None:
    """Contexts of OpenGL are bound to the thread that drew with them."""
    rooms, met = Rooms(), threading.Barrier(3)

    def work(number: int) -> int:
        stages.own()
        met.wait(10)
        stages.own()
        return number

    with Stages(cast(Opening, rooms), 4) as stages:
        futures = [stages.submit(work, number) for number in range(3)]
        assert [future.result() for future in futures] == [0, 1, 2]
        assert not rooms.closed
    assert len(set(rooms.opened)) == len(rooms.opened) == 3
    assert sorted(rooms.closed) == sorted((one, one) for one in rooms.opened)


def test_what_was_not_begun_is_left_undone() -> None:
    """An error ends the work; nothing queued is begun after it, and all is closed."""
    rooms, done, goes_on = Rooms(), [], threading.Event()

    def work(number: int) -> None:
        stages.own()
        done.append(number)
        goes_on.wait(10)

    def fail() -> None:
        try:
            with stages:
                futures = [stages.submit(work, number) for number in range(50)]
                while not done:
                    pass
                threading.Timer(0.1, goes_on.set).start()
                raise ValueError(len(futures))
        finally:
            goes_on.set()

    stages = Stages(cast(Opening, rooms), 1)
    with pytest.raises(ValueError, match="50"):
        fail()
    assert done == [0]
    assert len(rooms.closed) == 1
