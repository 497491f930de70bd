"""``wmserve compare``: what two versions of a world answer, side by side.

    wmserve compare two_room@1 two_room@2

Reads the metrics of a server, in which a version that is a shadow or a canary (``wmserve promote --shadow``,
``--canary``) and the live one are counted since their shares were last changed. Latents of two encoders are not
comparable, and so neither are costs and radii where the checkpoints differ; agreement, refusals and surprise are.
"""

import argparse
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass

from wmserve.addresses import parse_address
from wmserve.exits import failed

NOBODY, WRONG = 1, 2
SAMPLE = re.compile(r"(wmserve_(?:version|shadow)_\w+?)\{([^}]*)\} (\S+)")
LABEL = re.compile(r'(\w+)="([^"]*)"')
DASH = "-"


@dataclass(frozen=True)
class Sample:
    """One number of the metrics."""

    name: str
    labels: dict[str, str]
    value: float


def main(argv: list[str] | None = None) -> int:
    """Print the table; 0 when there is one, 1 when no server answers or nothing was compared, 2 for wrong arguments."""
    options = parser().parse_args(argv)
    found = [named for text in options.versions if (named := parse_address(text)) is not None]
    versions = [str(version) for _, version in found if version is not None]
    if len(versions) != len(options.versions) or found[0][0] != found[1][0]:
        return fail("name two versions of one world, such as two_room@1 two_room@2", WRONG)
    world = found[0][0]
    try:
        with urllib.request.urlopen(f"{options.http.rstrip('/')}/metrics", timeout=10) as answer:
            samples = read(answer.read().decode(), world)
    except (urllib.error.URLError, OSError, ValueError) as error:
        return fail(f"no metrics at {options.http}: {error}", NOBODY)
    rows = table(samples, versions)
    if all(cell == DASH for _, *cells in rows for cell in cells):
        hint = f"give one of them a share: wmserve promote {world}@{versions[1]} --shadow 0.5"
        return fail(f"nothing was compared yet; {hint}", NOBODY)
    print(rendered([("", *options.versions), *rows]))
    return 0


def read(text: str, world: str) -> list[Sample]:
    """Numbers about versions of a world."""
    found = [
        Sample(match[1], dict(LABEL.findall(match[2])), float(match[3]))
        for line in text.splitlines()
        if (match := SAMPLE.fullmatch(line)) is not None
    ]
    return [sample for sample in found if sample.labels.get("world") == world]


def table(samples: Iterable[Sample], versions: Iterable[str]) -> list[tuple[str, ...]]:
    """Rows of words: what was measured, and each version's."""
    known = list(samples)
    columns = [column([sample for sample in known if sample.labels.get("version") == one]) for one in versions]
    return [(name, *(one[name] for one in columns)) for name in columns[0]]


def column(samples: list[Sample]) -> dict[str, str]:
    """One version's numbers, in words; a dash where there is none."""

    def total(name: str, **labels: str) -> float | None:
        chosen = [one for one in samples if one.name == name and labels.items() <= one.labels.items()]
        return sum(one.value for one in chosen) if chosen else None

    def mean(name: str, text: str = "{:.3g}") -> str:
        count, summed = total(f"{name}_count"), total(f"{name}_sum")
        return text.format(summed / count) if count and summed is not None else DASH

    def number(value: float | None) -> str:
        return DASH if value is None else f"{value:.0f}"

    plans, refused = total("wmserve_version_plans_total"), total("wmserve_version_plans_total", status="refused") or 0.0
    return {
        "plans": number(plans),
        "refused": f"{refused / plans:.1%}" if plans else DASH,
        "cost, mean": mean("wmserve_version_cost"),
        "radius at the last step, mean": mean("wmserve_version_radius"),
        "surprise p-value, mean": mean("wmserve_version_surprise_p_value"),
        "observations": number(total("wmserve_version_surprise_p_value_count")),
        "first action, distance from the answered one": mean("wmserve_shadow_action_difference", "{:.1%} of the range"),
        "shadowed requests": number(total("wmserve_shadow_requests_total", outcome="answered")),
        "dropped, because it was busy": number(total("wmserve_shadow_requests_total", outcome="dropped")),
        "failed": number(total("wmserve_shadow_requests_total", outcome="failed")),
    }


def rendered(rows: list[tuple[str, ...]]) -> str:
    """Columns of equal width."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def fail(message: str, status: int) -> int:
    """Say in one line what is wrong."""
    return failed(f"cannot compare: {message}", status)


def parser() -> argparse.ArgumentParser:
    """Arguments of the command."""
    parser = argparse.ArgumentParser(
        prog="wmserve compare",
        description="Print what two versions of a world answered, side by side, from a server's metrics.",
        epilog=f"Exit status: 0 printed, {NOBODY} no server answers or nothing was compared, {WRONG} wrong arguments.",
    )
    parser.add_argument("versions", nargs=2, metavar="NAME@VERSION", help="such as two_room@1 two_room@2")
    parser.add_argument(
        "--http", default="http://localhost:8080", help="the server's HTTP address (default: %(default)s)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
