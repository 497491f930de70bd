"""Reads what people write by hand: JSON with ``//`` comments and trailing commas, or YAML."""

import json
import re
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
    """JSON without ``//`` comments and trailing commas, every line in its place; strings stay as they are."""
    return TRAILING_COMMA.sub(r"\1", COMMENT.sub(r"\1", text))
