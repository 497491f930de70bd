"""The chart's README, made from its values: what a comment that begins with `# --` says of the key below it.

python -m deploy.checks.readme      writes it
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from deploy.checks.tools import CHART

README = CHART / "README.md"
VALUES = CHART / "values.yaml"
MARK = "# -- "
HEAD = """# The chart wmserve

{description} How to install it, and what to choose: [`deploy/README.md`](../README.md).

This table is made from `values.yaml` (`make deploy/chart/README.md`); `values.schema.json` refuses what is not in it.

| value | default | |
|---|---|---|
"""


@dataclass(frozen=True)
class Row:
    """A value that is explained."""

    name: str
    default: str
    text: str

    def __str__(self) -> str:
        """As a row of a table."""
        return f"| `{self.name}` | `{self.default}` | {self.text.replace('|', chr(92) + '|')} |\n"


def rendered() -> str:
    """What the README has to be."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    return HEAD.format(description=chart["description"]) + "".join(map(str, rows(VALUES.read_text())))


def rows(text: str) -> Iterator[Row]:
    """All values that are explained, in their order; ValueError for one that is not."""
    yield from below(yaml.compose(text), text.splitlines(), ())


def below(node: yaml.MappingNode, lines: list[str], path: tuple[str, ...]) -> Iterator[Row]:
    """Those below a key."""
    for key, value in node.value:
        here = (*path, key.value)
        said = comment(lines, key.start_mark.line)
        if said:
            default = json.dumps(yaml.SafeLoader("").construct_document(value)) if value.value else empty(value)
            yield Row(".".join(here), default, said)
        elif isinstance(value, yaml.MappingNode) and value.value:
            yield from below(value, lines, here)
        else:
            raise ValueError(f"{'.'.join(here)} is not explained")


def empty(node: yaml.Node) -> str:
    """How nothing is written."""
    return {yaml.MappingNode: "{}", yaml.SequenceNode: "[]"}.get(type(node), '""')


def comment(lines: list[str], line: int) -> str:
    """What the lines above a key say, from the mark on; empty where there is no mark right above."""
    said: list[str] = []
    for above in reversed(lines[:line]):
        text = above.strip()
        if not text.startswith("# "):
            return ""
        if text.startswith(MARK):
            return " ".join([text.removeprefix(MARK), *reversed(said)])
        said.append(text.removeprefix("# "))
    return ""


if __name__ == "__main__":
    README.write_text(rendered())
