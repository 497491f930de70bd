"""Schemathesis against the served documents: whatever is sent, the answer is one that the document has.

By hand, thousands of cases: the same command with a larger --max-examples.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Server

FEW = ["--phases", "examples,fuzzing", "--max-examples", "10"]
CONFIG = Path(__file__).with_name("schemathesis.toml")


@pytest.mark.parametrize(
    ("document", "cases", "options"),
    [
        ("openapi.json", 700, ["--max-examples", "20"]),
        ("v1/openapi.json", 40, FEW),
    ],
)
def test_answers_are_as_documented(
    server: Server, tmp_path: Path, document: str, cases: int, options: list[str]
) -> None:
    """All checks: no 5xx, documented statuses and bodies only, wrong requests refused, right ones answered."""
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run"]
    always = ["--checks", "all", "--seed", "1", "--no-color", "--continue-on-failure"]
    url = f"{server.http}/{document}"
    done = subprocess.run([*command, url, *always, *options], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
    found = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert found is not None, done.stdout
    assert int(found[1]) == int(found[2]) >= cases
