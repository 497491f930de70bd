"""Every command that the Makefile or a document names runs in CI, in a short form, and says what it promises to say."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, Server
from tests.loadtest.commands import ELSEWHERE, NOT_RUN, SHORT, TARGETS_NOT_RUN, commands, named, targets

KNOWN = {*SHORT, *ELSEWHERE, *NOT_RUN}
TIMEOUT_S = 300


@pytest.mark.parametrize("name", SHORT)
def test_it_runs_and_says_what_it_promises(name: str, server: Server, tmp_path: Path) -> None:
    """The short form ends well; its last line is JSON with its figures, each a number that can be."""
    short = SHORT[name]
    if short.needs and shutil.which(short.needs) is None:
        pytest.skip(f"{short.needs} is not installed")
    if "{repository}" in short.arguments:
        shutil.copytree(ROOT / "model_repository", tmp_path / "repository")
    places = {"server": server.grpc, "folder": tmp_path, "repository": tmp_path / "repository"}
    ended = run(name, short.arguments.format(**places))
    said = ended.stdout + ended.stderr
    assert ended.returncode in short.exits, said
    assert re.search(short.says, said, re.DOTALL), said
    if short.keys:
        figures = json.loads(ended.stdout.splitlines()[-1])
        assert set(short.keys) <= figures.keys(), figures
        assert all(map(math.isfinite, numbers(figures))), figures
        for key, (low, high) in short.bounds.items():
            assert low <= figures[key] <= high, (key, figures[key])


def run(name: str, arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a module, or a subcommand of `wmserve`, as the Makefile does."""
    words = ["-m", name] if name not in COMMANDS else ["-c", CALL, name.removeprefix("wmserve ")]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, "-W", "ignore", *words, *arguments.split()],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )


COMMANDS = {name for name in KNOWN if name.startswith("wmserve ")}
CALL = "import sys; from wmserve_client.cli import main; sys.argv[0] = 'wmserve'; sys.exit(main())"


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
    """Each target's commands are known, and it has some."""
    unknown = {
        target: [name for name in found if name not in KNOWN] or "no command"
        for target, found in targets().items()
        if target not in {*TARGETS_NOT_RUN, "help", "lint"} and (not found or not KNOWN.issuperset(found))
    }
    assert not unknown, "add them to tests/loadtest/commands.py"
    assert {"serve", "test", "train", "export", "eval", "bench", "trust", "families", "load"} <= targets().keys()


def test_every_command_of_the_documents_runs_in_a_short_form_or_says_why_not() -> None:
    """In README, docs and the READMEs of folders; what is in code there is a command."""
    makes = {f"make {target}" for target in targets()}
    unknown = {name: places for name, places in named().items() if name not in KNOWN | makes}
    assert not unknown, "add them to tests/loadtest/commands.py"
    assert {"make eval", "wmserve export", "loadtest.scale", "loadtest.gpu.lewm_plan"} <= named().keys()


def test_what_runs_elsewhere_runs_there() -> None:
    """The file is there and has in it what is said to be."""
    missing = {name: place for name, place in ELSEWHERE.items() if place[1] not in (ROOT / place[0]).read_text()}
    assert not missing
    assert not {*SHORT} & {*ELSEWHERE} | {*SHORT, *ELSEWHERE} & {*NOT_RUN}


def test_commands_are_found_in_recipes_and_in_code() -> None:
    """A module, a file, a subcommand; not words of a sentence, nor the client's own names."""
    text = (
        "python -m loadtest.load --seconds 1; python loadtest/bench_runtime.py; wmserve export X; 'import wmserve as w'"
    )
    assert commands(text) == ["loadtest.load", "loadtest.bench_runtime", "wmserve export", "wmserve as"]
    assert targets()["train"] == ["wmserve train"]
    assert "wmserve turns" not in named()
