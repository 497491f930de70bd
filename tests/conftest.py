"""A real server for the tests, with a real Triton behind it."""

from collections.abc import Iterator

import pytest

from loadtest.serving import ROOT, RedisServer, Server, free_port, redis_command, running, running_redis

__all__ = ["ROOT", "RedisServer", "Server", "free_port", "running"]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server of the reference world for all tests that leave it as it was."""
    with running(tmp_path_factory.mktemp("server") / "log", triton_threads="1") as started:
        started.wait_ready()
        yield started


@pytest.fixture
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis of the test's own."""
    if redis_command() is None:
        pytest.skip("neither redis-server nor valkey-server is installed")
    with running_redis(tmp_path_factory.mktemp("redis") / "log") as started:
        yield started
