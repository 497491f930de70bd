"""Templates of what no checkpoint says: complete, commented, and accepted once their gaps are filled."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from wmserve_export.__main__ import main
from wmserve_export.families import PUBLISHED, FamilyError
from wmserve_export.families.commented import bare, put, read_commented
from wmserve_export.families.facts import Facts, read_facts
from wmserve_export.families.images import IMAGENET_MEAN
from wmserve_export.families.template import SHAPES, template

FILLED = {"name": "filled", "description": "of a test", "unit": "m", "low": -1.0, "high": 1, "mean": 0, "std": 0.5}


def test_every_family_whose_formats_are_read_has_one() -> None:
    """No more and no fewer."""
    assert SHAPES.keys() == PUBLISHED.keys()


@pytest.mark.parametrize("family", sorted(PUBLISHED))
def test_the_reader_asks_for_its_gaps_and_takes_the_rest(family: str, tmp_path: Path) -> None:
    """The text of the template itself, with nothing changed but what is null."""
    file, text = tmp_path / "world.json", template(family)
    assert all(len(line) <= 120 for line in text.splitlines())
    file.write_text(text)
    with pytest.raises(FamilyError, match=r"world\.json: name: is empty: fill it in"):
        read_facts(file)
    file.write_text(re.sub(r'"(\w+)": null', lambda gap: f'"{gap[1]}": {json.dumps(FILLED[gap[1]])}', text))
    facts = read_facts(file)
    assert facts.name == "filled"
    assert (facts.action is not None) == (SHAPES[family].actions and family != "vjepa2-ac")
    assert facts.action is None or facts.action.action_block == SHAPES[family].action_block
    assert len(facts.proprioception) == (3 if family == "vjepa2-ac" else 0)
    assert facts.planner in (None, SHAPES[family].planner)


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    """And asks for a family."""
    assert main(["--family", "tdmpc2", "--template"]) == 0
    assert capsys.readouterr().out == template("tdmpc2") + "\n"
    with pytest.raises(SystemExit):
        main(["--template"])
    assert "--template needs --family" in capsys.readouterr().err


def test_comments_and_commas_in_strings_stay(tmp_path: Path) -> None:
    """Only what lies between values goes."""
    file = tmp_path / "world.json"
    file.write_text('{\n// one\n"a": "http://x, }", // two\n"b": [1, 2,], "c": "\\"// no",\n}\n')
    assert read_commented(file) == {"a": "http://x, }", "b": [1, 2], "c": '"// no'}
    file.write_text('{"a": 1 /')
    with pytest.raises(FamilyError, match=r"world\.json is neither JSON .* nor YAML"):
        read_commented(file)


@pytest.mark.parametrize(
    ("before", "path", "after"),
    [
        ("{}", ["a"], '{\n  "a": 1\n}'),
        ('// {\n{"b": 2}', ["a"], '// {\n{\n  "a": 1,"b": 2}'),
        ('{"b": {"a": "}"}, // "a": 3\n "a": [{"a": 2},], }', ["a"], '{"b": {"a": "}"}, // "a": 3\n "a": 1, }'),
        ('{"a": "//", "b": {\n"a": {"a": 0}, // 2\n},}', ["b", "a"], '{"a": "//", "b": {\n"a": 1, // 2\n},}'),
        ('{"b": { // none\n}}', ["b", "a"], '{"b": {\n    "a": 1\n   // none\n}}'),
    ],
)
def test_a_value_is_changed_and_all_else_stays(before: str, path: list[str], after: str) -> None:
    """Comments, strings that look like some, and order; what is not there comes first."""
    assert put(before, path, 1) == after
    assert put(after, path, 1) == after
    assert json.loads(bare(put(after, path, [{"x": 1}, 2])))


def test_yaml_is_read_too(tmp_path: Path) -> None:
    """By the file's name."""
    file = tmp_path / "world.yaml"
    file.write_text("name: mine  # a comment\ndescription: of a test\npixels: half\n")
    facts = read_facts(file)
    assert facts.pixels is not None
    assert facts.pixels.statistics == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.mark.parametrize("said", ["imagenet", {"mean": IMAGENET_MEAN, "std": [0.2, 0.2, 0.2]}])
def test_pixels_are_said_by_name_or_by_statistics(said: Any) -> None:
    """As training prepared them."""
    facts = Facts(name="a", description="b", pixels=said)
    assert facts.pixels is not None
    assert facts.pixels.mean == IMAGENET_MEAN


def test_other_pixels_are_refused(tmp_path: Path) -> None:
    """With the names that there are."""
    file = tmp_path / "world.json"
    file.write_text('{"name": "a", "description": "b", "pixels": "cifar"}')
    with pytest.raises(FamilyError, match=r"pixels: .*'cifar' is not known; known are imagenet, half, none, raw"):
        read_facts(file)
