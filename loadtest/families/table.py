"""`make families`: every family in every format through the exporter, for every target, as a table in the docs.

Writes ``docs/families.md``; the last line is JSON: each family's worst parity figure, or why there is none.
"""

import argparse
import contextlib
import datetime
import importlib.util
import io
import json
import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from loadtest.families.cases import CASES, Case
from loadtest.families.parity import errors, export
from loadtest.serving import ROOT

DOCS = ROOT / "docs" / "families.md"
FULL_SIZE = ROOT / "loadtest" / "results" / "families.json"
"""What ``loadtest.families.full_size`` printed, by family."""
SERVED = ROOT / "loadtest" / "results" / "robot_clip.json"
"""What ``loadtest.families.robot_clip`` found."""
RTX = ("--target", "tensorrt-rtx", "--compute-capability", "8.9", "--candidate-limit", "64")
VERBS = ("encode", "rollout", "plan")
FAMILIES = tuple(dict.fromkeys(case.family for case in CASES))
HEAD = """# Families

Made by `make families` on {date}. Weights are random and sizes small, but for the last table; every checkpoint is
written as its users have it and exported by `wmserve export --family`. *Parity* is the largest difference of an
engine's output from the reference implementation's (stable-worldmodel's, transformers', or the authors'), relative to
the largest value, in float32; {limit} is allowed. `–`: the family has no such verb. What an export of
your own checkpoint is held against: [reference.md](reference.md).
"""
LIMIT = 1e-4


@dataclass
class Row:
    """What was found of a case."""

    case: Case
    parity: Mapping[str, float] = field(default_factory=dict)
    bytes: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    rtx: str = ""
    """Size and time of TensorRT-RTX's engines, or why there are none."""
    failed: str = ""

    @property
    def worst(self) -> float | str:
        """The largest of the verbs', or why there is none."""
        return self.failed or max(self.parity.values())


def measured(case: Case, folder: Path, with_rtx: bool) -> Row:
    """Export a case and compare; what fails is part of the row."""
    row = Row(case)
    try:
        exported = export(case, folder / "cpu")
        row.parity, row.seconds = errors(case, exported), exported.seconds
        row.bytes = {verb: exported.bytes(verb) for verb in exported.world.verbs}
    except Exception as error:  # a family that fails does not take the others with it
        row.failed = f"{type(error).__name__}: {error}".splitlines()[0]
        return row
    if with_rtx:
        try:
            built = export(case, folder / "rtx", *RTX)
            size = sum(file.stat().st_size for file in built.place.rglob("*.plan"))
            size = size or sum(built.bytes(verb) for verb in built.world.verbs)
            row.rtx = f"{size / 1e6:.1f} MB, {built.seconds:.0f} s"
        except Exception as error:
            row.rtx = f"not built: {error}".splitlines()[0]
    return row


def rows(with_rtx: bool, families: Collection[str]) -> Iterator[Row]:
    """All cases of these families; targets are tried on a family's first format: engines know nothing of formats."""
    tried: set[str] = set()
    there = with_rtx and importlib.util.find_spec("tensorrt_rtx_bindings") is not None
    for case in tqdm([case for case in CASES if case.family in families], "families"):
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            row = measured(case, Path(folder), with_rtx=there and case.family not in tried)
        if not there:
            row.rtx = "not tried" if not with_rtx else "not installed"
        tried.add(case.family)
        yield row


def page(found: list[Row]) -> str:
    """The page as Markdown."""
    head = HEAD.format(date=datetime.datetime.now(tz=datetime.UTC).date().isoformat(), limit="1e-4")
    return "\n".join([head, *parity_table(found), "", *target_table(found), "", *full_size_table()]) + "\n"


def parity_table(found: list[Row]) -> list[str]:
    """Family, format, parity of each verb, the test that holds it."""
    lines = ["## Formats, beside the reference", "", "| family | format | encode | rollout | plan | test |"]
    lines += ["|---|---|---|---|---|---|"]
    for row in found:
        cells = [f"{row.parity[verb]:.1e}" if verb in row.parity else "–" for verb in VERBS]
        cells = ["failed", row.failed, ""] if row.failed else cells
        test = f"`test_families.py[{row.case.name}]`"
        lines.append(f"| `{row.case.family}` | {row.case.form} | {' | '.join(cells)} | {test} |")
    return lines


def target_table(found: list[Row]) -> list[str]:
    """Family, size of each verb's engines and time to build for a CPU, and what TensorRT-RTX made of them."""
    lines = [
        "## Targets",
        "",
        "Sizes of all engines of a verb; seconds of the whole export, gates included. TensorRT-RTX builds ahead of "
        "time for compute capability 8.9 without a GPU, in float32; such engines have not run here, so they have no "
        "parity of their own. Full TensorRT takes the same code and the same ONNX files; its libraries could not be "
        "had.",
        "",
        "| family | cpu: encode | rollout | plan | all | tensorrt-rtx | tensorrt | test |",
        "|---|---|---|---|---|---|---|---|",
    ]
    seen: set[str] = set()
    for row in found:
        if row.case.family in seen or row.failed:
            continue
        seen.add(row.case.family)
        sizes = [f"{row.bytes[verb] / 1e6:.2f} MB" if verb in row.bytes else "–" for verb in VERBS]
        cells = [*sizes, f"{row.seconds:.0f} s", row.rtx, "not tried", "`test_tensorrt.py`"]
        lines.append(f"| `{row.case.family}` | {' | '.join(cells)} |")
    return lines


def full_size_table() -> list[str]:
    """The published sizes, measured apart, since they take minutes and gigabytes."""
    known: dict[str, dict[str, float]] = json.loads(FULL_SIZE.read_text()) if FULL_SIZE.is_file() else {}
    lines = [
        "## At the published size",
        "",
        "`python -m loadtest.families.full_size FAMILY`: random weights, float32, one thread; torch modules of the "
        "family beside the reference's. Times are processor seconds.",
        "",
        "| family | weights | of | error | time | memory |",
        "|---|---|---|---|---|---|",
    ]
    for family, figures in known.items():
        errors = told(figures, "_error", "{:.0e}")
        times = told(figures, "_cpu_s", "{:.3g} s") or told(figures, "_s", "{:.3g} s")
        asked = ", ".join(f"{figures[of]:.0f} {of}" for of in ("frames", "candidates", "steps") if of in figures)
        weights, memory = f"{figures['parameters'] / 1e6:.0f} M", f"{figures['peak_memory_gb']:.1f} GB"
        lines.append(f"| `{family}` | {weights} | {asked or 'a frame'} | {errors} | {times} | {memory} |")
    return [*lines, "", *served_table()]


def served_table() -> list[str]:
    """A robot's clip through a server."""
    known: dict[str, dict[str, Any]] = json.loads(SERVED.read_text()) if SERVED.is_file() else {}
    lines = [
        "## Served at the published size",
        "",
        "`python -m loadtest.families.robot_clip`: two frames of a real arm (256 pixels) through a server on a CPU of "
        "two cores, float32, random weights; exported by the command, gates with 20 candidates included.",
        "",
        "| family | repository | export | ready | encode | rollout | plan | server's memory |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for family, found in known.items():
        if family == "machine":
            continue
        encode = found["encode_s"] if isinstance(found["encode_s"], float) else min(found["encode_s"])
        plan = "–"
        if "plan_s" in found:
            plan = f"{found['plan_s']:.0f} s: {found['plan_candidates']} candidates x {found['plan_iterations']}"
        cells = (
            f"{found['repository_gb']:.1f} GB",
            f"{found['export_s']:.0f} s, {found['export_peak_gb']:.0f} GB",
            f"{found['ready_s']:.0f} s",
            f"{encode:.1f} s",
            f"{found['rollout_s']:.1f} s",
            plan,
            f"{found['server_resident_gb']:.1f} GB",
        )
        lines.append(f"| `{family}` | {' | '.join(cells)} |")
    return lines


def told(figures: Mapping[str, float], suffix: str, form: str) -> str:
    """Figures whose names end so."""
    named = {name.removesuffix(suffix): value for name, value in figures.items() if name.endswith(suffix)}
    return ", ".join(f"{name.replace('_', ' ')} {form.format(value)}" for name, value in named.items())


def summary(found: list[Row]) -> dict[str, float | str]:
    """Each family's worst parity figure over its formats, or why one failed."""
    said: dict[str, float | str] = {}
    for row in found:
        before, now = said.get(row.case.family, 0.0), row.worst
        said[row.case.family] = before if isinstance(before, str) else now if isinstance(now, str) else max(before, now)
    return said


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--without-rtx", action="store_true", help="build no TensorRT-RTX engines, which takes minutes")
    parser.add_argument("--only", nargs="+", choices=FAMILIES, help="these families alone; writes nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = list(rows(with_rtx=not options.without_rtx, families=options.only or FAMILIES))
    if options.only:
        print("\n".join(parity_table(found)))
    else:
        DOCS.write_text(page(found))
        print(f"wrote {DOCS.relative_to(ROOT)}")
    print(json.dumps(summary(found)))
