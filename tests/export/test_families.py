"""Every family in every format: what is read of it answers what the reference does.

A family's first format goes the whole way, by the command to engines; of the others the modules that engines are made
of are held against the reference, which takes a moment. `make families` takes all formats the whole way.
"""

from pathlib import Path

import pytest

from loadtest.families.cases import CASES, Case
from loadtest.families.parity import errors, export, module_errors

LIMIT = 1e-4
FIRST = [next(case for case in CASES if case.family == family) for family in dict.fromkeys(c.family for c in CASES)]
OTHERS = [case for case in CASES if case not in FIRST]


@pytest.mark.parametrize("case", FIRST, ids=lambda case: case.name)
def test_engines_answer_what_the_reference_does(case: Case, tmp_path: Path) -> None:
    """Each verb that the world has, within 1e-4 of the reference's largest value."""
    exported = export(case, tmp_path)
    found = errors(case, exported)
    assert found.keys() == set(exported.world.verbs)
    assert max(found.values()) < LIMIT, found


@pytest.mark.parametrize("case", OTHERS, ids=lambda case: case.name)
def test_other_formats_answer_what_the_reference_does(case: Case, tmp_path: Path) -> None:
    """The same of the modules."""
    found = module_errors(case, tmp_path)
    assert found
    assert max(found.values()) < LIMIT, found
