"""Goals and figures: what is printed, and what ``loadtest/results`` keeps."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Goal:
    """A figure and the bound that it should keep."""

    key: str
    text: str
    figure: float
    bound: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether it does."""
        return bool(self.figure >= self.bound if self.at_least else self.figure <= self.bound)

    def row(self) -> list[str]:
        """The goal as a row of the table."""
        sign = ">=" if self.at_least else "<="
        return [self.text, f"{sign} {self.bound:g}", f"{self.figure:.2f}", "met" if self.met else "MISSED"]


@dataclass
class Report:
    """Everything that was measured, as it comes in."""

    machine: Mapping[str, str]
    goals: list[Goal] = field(default_factory=list)
    tables: dict[str, tuple[Sequence[str], list[list[str]]]] = field(default_factory=dict)
    """Rows behind the goals: by title, the column names and the rows."""
    remarks: list[str] = field(default_factory=list)
    """What was left out, and why."""
    noise: str = ""
    figures: dict[str, Any] = field(default_factory=dict)
    """Numbers for programs and for the picture."""

    def add(self, *goals: Goal) -> None:
        """Add goals with their figures."""
        self.goals.extend(goals)

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Add a table; numbers are shortened."""
        self.tables[title] = (columns, [[shorten(value) for value in row] for row in rows])

    def summary(self) -> dict[str, Any]:
        """The figures of all goals by key, and what else is known."""
        return {goal.key: round(goal.figure, 4) for goal in self.goals} | {
            "missed": [goal.key for goal in self.goals if not goal.met],
            "date": self.machine["date"],
        }

    def text(self) -> str:
        """The goals for a terminal."""
        rows = [["goal", "bound", "figure", ""], *(goal.row() for goal in self.goals)]
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([*lines, "", *(f"left out: {remark}" for remark in self.remarks), f"machine: {self.noise}"])

    def markdown(self, heading: str) -> str:
        """Everything, for people."""
        goals = markdown_table(["goal", "bound", "figure", ""], [goal.row() for goal in self.goals])
        facts = [f"- {name}: {value}" for name, value in {**self.machine, "noise": self.noise}.items() if value]
        parts = [heading, "\n".join(facts), goals, *(f"Left out: {remark}." for remark in self.remarks)]
        for title, (columns, rows) in self.tables.items():
            parts += [f"## {title}", markdown_table(columns, rows)]
        return "\n\n".join(parts) + "\n"

    def write(self, folder: Path, name: str, heading: str) -> None:
        """Write ``<name>.json`` and ``<name>.md``."""
        folder.mkdir(parents=True, exist_ok=True)
        everything = {**self.summary(), "machine": dict(self.machine), "noise": self.noise, **self.figures}
        everything["goals"] = [
            {"key": goal.key, "text": goal.text, "figure": goal.figure, "bound": goal.bound, "met": goal.met}
            for goal in self.goals
        ]
        (folder / f"{name}.json").write_text(json.dumps(everything, indent=1) + "\n")
        (folder / f"{name}.md").write_text(self.markdown(heading))


def shorten(value: object) -> str:
    """A cell: three significant digits are all that a median of a few runs deserves."""
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
