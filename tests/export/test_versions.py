"""Versions in a repository: written beside each other, switched by one file, retired and removed; without Triton."""

import json
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as triton
from wmserve.addresses import parse_address
from wmserve.versions import Route, Share, parse_model
from wmserve.world import CONTRACT_PARAMETER
from wmserve_export import routing, versions
from wmserve_export.versions import promote, rollback

from tests.worlds import make_world


def write(place: Path, version: int, name: str = "toy") -> None:
    """A version of a world, as far as commands that switch look at it."""
    world = make_world(name).model_copy(update={"version": version})
    for verb in world.verbs:
        folder = place / world.engine(verb)
        (folder / "1").mkdir(parents=True)
        config = triton.ModelConfig(name=folder.name)
        config.parameters[CONTRACT_PARAMETER].string_value = world.model_dump_json()
        (folder / "config.pbtxt").write_text(text_format.MessageToString(config))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A repository of three versions without a route."""
    for version in (1, 2, 3):
        write(tmp_path / "repository", version)
    return tmp_path / "repository"


def run(command: str, place: Path, *words: str) -> int:
    return {"promote": promote, "rollback": rollback}[command]([*words, "--repository", str(place)])


def test_promoting_and_rolling_back_say_what_is_live(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was live is the previous version, and a rollback changes the two round."""
    assert run("promote", place, "toy@1") == 0
    assert capsys.readouterr().out == "toy@1 live, toy@3 previous\n", "without a route the highest was live"
    assert run("promote", place, "toy@2") == 0
    assert routing.route_of(place, "toy").previous == 1
    assert run("rollback", place, "toy") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "toy@1 live, toy@2 previous, toy@3 waits"
    assert routing.read(place, "toy").version == 1


def test_a_share_is_given_and_taken(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A canary and a shadow stand beside what is live; a promotion ends the share of the version that it is of."""
    assert run("promote", place, "toy@2") == 0
    assert run("promote", place, "toy@3", "--canary", "0.25") == 0
    assert run("promote", place, "toy@1", "--shadow", "0.5") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "toy@1 shadow of 50%, toy@2 live, toy@3 canary of 25%"
    assert run("promote", place, "toy@3") == 0
    found = routing.route_of(place, "toy")
    assert (found.live, found.canary, found.shadow) == (3, None, Share(version=1, share=0.5))
    assert run("promote", place, "toy@1", "--shadow", "0") == 0
    assert routing.route_of(place, "toy").shadow is None


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["promote", "toy"], "NAME@NUMBER, such as two_room@2, not toy"),
        (["promote", "toy@9"], "there is no toy@9"),
        (["promote", "mars@1"], "there is no world mars"),
        (["promote", "toy@3", "--canary", "0.5"], "version 3 is live, so it cannot be the canary"),
        (["rollback", "toy"], "world toy has no previous version"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    place: Path, capsys: pytest.CaptureFixture[str], words: list[str], complaint: str
) -> None:
    """And nothing changes."""
    command, *rest = words
    assert run(command, place, *rest) == versions.UNUSABLE
    said = capsys.readouterr().err
    assert complaint in said
    assert said.count("\n") == 1
    assert routing.read_route(place, "toy") is None


def test_what_no_route_names_is_removed_by_a_later_command(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at once: a server may still be on its way from it. Nor is what has another part, or another world's."""
    write(place, 1, "toys")
    assert run("promote", place, "toy@2") == 0  # of 3, which is the previous one now; 1 is retired
    assert set(routing.route_of(place, "toy").retired) == {1}
    assert run("promote", place, "toy@2") == 0
    assert set(routing.folders_of(place, "toy")) == {1, 2, 3}
    monkeypatch.setattr(routing, "RETIRED_S", -1.0)
    assert run("promote", place, "toy@2") == 0
    assert set(routing.folders_of(place, "toy")) == {2, 3}
    assert routing.route_of(place, "toy").retired == {}
    assert set(routing.folders_of(place, "toys")) == {1}
    assert not list(place.parent.glob(".wmserve*")), "nothing is left of it"


def test_names_of_versions_are_those_of_no_other_world() -> None:
    """A world may end as models do, or as a version would if it had an underscore."""
    assert parse_model("two_room-v12_encode") == ("two_room", 12, "encode")
    assert parse_model("two_room_v2_plan") == ("two_room_v2", 1, "plan")
    assert parse_model("my_encode_encode") == ("my_encode", 1, "encode")
    assert [parse_model(name) for name in ("two_room_route", "two_room-v0_plan", "two_room_plan_horizon_5")] == [
        None
    ] * 3
    assert parse_address("two_room@3") == ("two_room", 3)
    assert parse_address("two_room") == ("two_room", None)
    assert [parse_address(text) for text in ("two room", "two_room@", "two_room@0", "two_room@x")] == [None] * 4


def test_a_route_that_contradicts_itself_is_none() -> None:
    """A version has one part."""
    with pytest.raises(ValueError, match="cannot be live and previous"):
        Route(world="toy", live=1, previous=1)
    assert json.loads(Route(world="toy", live=1).model_dump_json())["previous"] is None
