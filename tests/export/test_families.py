"""Every family in every format: exported by the command, and its engines answer what the reference does."""

from pathlib import Path

import pytest

from loadtest.families.cases import CASES, Case
from loadtest.families.parity import errors, export

LIMIT = 1e-4


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_engines_answer_what_the_reference_does(case: Case, tmp_path: Path) -> None:
    """Each verb that the world has, within 1e-4 of the reference's largest value."""
    exported = export(case, tmp_path)
    found = errors(case, exported)
    assert found.keys() == set(exported.world.verbs)
    assert max(found.values()) < LIMIT, found
