"""Every command that the Makefile or a document names runs in CI, in a short form, and says what it promises to say."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.loadtest.commands import ELSEWHERE, NOT_RUN, SHORT, Short, commands, named, target, targets

KNOWN = {*SHORT, *ELSEWHERE, *NOT_RUN}
TIMEOUT_S = 900  # a busy machine takes ten times as long as a quiet one


@pytest.mark.parametrize("name", SHORT)
def test_it_runs_and_says_what_it_promises(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """The short form ends well; its JSON has its figures, each a number that can be."""
    short = SHORT[name]
    if short.needs and shutil.which(short.needs) is None:
        pytest.skip(f"{short.needs} is not installed")
    server = request.getfixturevalue("server").grpc if "{server}" in short.arguments else ""
    ended = run(name, short, {"server": server, "folder": str(tmp_path)})
    said = ended.stdout + ended.stderr
    assert ended.returncode == 0, said
    assert re.search(short.says, said, re.DOTALL), said
    if short.keys:
        figures = read(ended.stdout)
        assert {*short.keys, *short.bounds} <= figures.keys(), figures
        assert all(map(math.isfinite, numbers(figures))), figures
        for key, (low, high) in short.bounds.items():
            assert low <= figures[key] <= high, (key, figures[key])


def run(name: str, short: Short, places: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """Run a target or a module, in the project's folder."""
    arguments, variables = (text.format(**places) for text in (short.arguments, short.variables))
    if name.startswith("make "):
        words = target(name.removeprefix("make "), arguments, variables)
    else:
        words = [sys.executable, "-W", "ignore", "-m", name, *arguments.split()]
    outer = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    return subprocess.run(
        words,
        cwd=ROOT,
        env=outer | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )


def read(said: str) -> dict[str, Any]:
    """The JSON at the end: a line, or from a line that opens it on."""
    last = said.splitlines()[-1]
    found: dict[str, Any] = json.loads("{" + f"\n{said}".rpartition("\n{")[2] if last == "}" else last)
    return found


def numbers(said: Any) -> Iterator[float]:
    """All numbers in JSON."""
    if isinstance(said, dict):
        said = list(said.values())
    if isinstance(said, list):
        for one in said:
            yield from numbers(one)
    elif isinstance(said, int | float):
        yield float(said)


def test_every_make_target_runs_in_a_short_form_or_says_why_not() -> None:
    """Each target is known, or has commands that are."""
    unknown = {
        target: [name for name in found if name not in KNOWN] or "no command"
        for target, found in targets().items()
        if f"make {target}" not in {*KNOWN, "make help"} and (not found or not KNOWN.issuperset(found))
    }
    assert not unknown, "add them to tests/loadtest/commands.py"
    assert {"serve", "test", "train", "export", "eval", "bench", "trust", "families", "load"} <= targets().keys()


def test_every_command_of_the_documents_runs_in_a_short_form_or_says_why_not() -> None:
    """In README, docs and the READMEs of folders, and of `wmserve --help`."""
    unknown = {name: places for name, places in named().items() if name not in KNOWN}
    assert not unknown, "add them to tests/loadtest/commands.py"
    made = {f"make {target}" for target in targets()}
    assert {name for name in named() if name.startswith("make ")} <= made
    brought = {f"wmserve {entry.name}" for entry in entry_points(group="wmserve.commands")}
    assert brought <= KNOWN
    dead = KNOWN - named().keys() - brought - made - {"wmserve rollout"}
    assert not dead, "no document names them any more"


def test_what_runs_elsewhere_runs_there() -> None:
    """The test is there, and its file has in it how the command is run."""
    missing = []
    for name, (place, how) in ELSEWHERE.items():
        file, _, test = place.partition("::")
        text = (ROOT / file).read_text()
        if how not in text or (test and f"def {test}(" not in text):
            missing.append(name)
    assert not missing
    assert len(KNOWN) == len(SHORT) + len(ELSEWHERE) + len(NOT_RUN), "each stands in one place"
    assert all(short.says or short.keys for short in SHORT.values()), "each says something that is read"


def test_commands_are_found_in_recipes_and_in_code() -> None:
    """A module, a file, a subcommand, another's tool; not words of an answer, nor the client's own names."""
    text = "python -m loadtest.load --seconds 1; python loadtest/bench_runtime.py; wmserve export X; helm install wm"
    assert commands(text) == ["loadtest.load", "loadtest.bench_runtime", "wmserve export", "helm install"]
    assert commands("from wmserve.world import World; wmserve_client") == []
    assert targets()["train"] == ["wmserve train"]
    assert "wmserve less" not in named()


def test_json_is_read_from_the_end() -> None:
    """Of one line, or of many."""
    assert read('words\n{"a": 1}\n') == {"a": 1}
    assert read('words\n{\n "a": {\n  "b": 1\n }\n}\n') == read('{\n "a": {\n  "b": 1\n }\n}\n') == {"a": {"b": 1}}
