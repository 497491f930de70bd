"""Reads what people write by hand: JSON with ``//`` comments and trailing commas, or YAML; and changes such JSON."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from wmserve_export.families import FamilyError

STRING = r'"(?:\\.|[^"\\\n])*"'
COMMENT = re.compile(rf"({STRING})|//[^\n]*")
TRAILING_COMMA = re.compile(rf"({STRING})|,(?=\s*[}}\]])")
LARGEST = 1 << 20
"""Bytes; such a file has a few hundred."""


def read_commented(file: Path) -> dict[str, Any]:
    """The mapping in a file, YAML where its name ends so; FamilyError where it is none, OSError without a file."""
    if file.stat().st_size > LARGEST:
        raise FamilyError(f"{file.name} has over {LARGEST} bytes; is it the right file?")
    try:
        text = file.read_text()
        content = yaml.safe_load(text) if file.suffix in (".yaml", ".yml") else json.loads(bare(text))
    except (json.JSONDecodeError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise FamilyError(f"{file.name} is neither JSON (comments may begin with //) nor YAML: {error}") from None
    if not isinstance(content, dict):
        raise FamilyError(f"{file.name} is no mapping of names to values")
    return content


def bare(text: str) -> str:
    """JSON without ``//`` comments and trailing commas, every character in its place; strings stay as they are."""
    for wanted in (COMMENT, TRAILING_COMMA):
        text = wanted.sub(lambda found: found[1] or " " * len(found[0]), text)
    return text


def put(text: str, path: Sequence[str], value: Any) -> str:
    """Commented JSON with another value in an object of its object, by names; all else stays, comments included.

    Args:
        text: That :func:`bare` turns into a JSON object.
        path: Names from outside in; all but the last are of objects that are there.
        value: What json.dumps takes; each row of a list stands on a line of its own.
    """
    at = text.index("{", len(text) - len(bare(text).lstrip()))
    known: Mapping[str, tuple[int, int]] = {}
    for depth, name in enumerate(path):
        known = members(bare(text), at)
        if depth < len(path) - 1:
            at = known[name][0]
    indent = "  " * len(path)
    if path[-1] in known:
        first, end = known[path[-1]]
        return f"{text[:first]}{lines(value, indent)}{text[end:]}"
    after = "," if known else f"\n{indent[2:]}"
    return f"{text[: at + 1]}\n{indent}{json.dumps(path[-1])}: {lines(value, indent)}{after}{text[at + 1 :]}"


def members(text: str, at: int) -> Mapping[str, tuple[int, int]]:
    """Where values of the JSON object that begins there begin and end, by name."""
    found, decoder, blank = {}, json.JSONDecoder(), re.compile(r"[\s,:]*")

    def following(end: int) -> int:
        between = blank.match(text, end)
        assert between is not None, "it matches nothing, too"
        return between.end()

    at = following(at + 1)
    while text[at] != "}":
        name, end = decoder.raw_decode(text, at)
        first = following(end)
        _, end = decoder.raw_decode(text, first)
        found[name] = first, end
        at = following(end)
    return found


def lines(value: Any, indent: str) -> str:
    """JSON of a value, one row of a list on a line."""
    if not isinstance(value, list):
        return json.dumps(value)
    rows = ",".join(f"\n{indent}  {json.dumps(row)}" for row in value)
    return f"[{rows}\n{indent}]"
