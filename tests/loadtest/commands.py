"""Which commands the Makefile and the documents name, and where CI runs each.

SHORT       runs in its short form by tests/loadtest/test_commands.py; its last line is JSON and is read
ELSEWHERE   runs in a test of its own: a file and what stands in it
NOT_RUN     does not run in CI, and why
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from loadtest.serving import ROOT

DOCUMENTS = ("README.md", "deploy/README.md", "clients/typescript/README.md", "docs/*.md", "loadtest/**/README.md")
CODE = re.compile(r"^```.*?^```$|^ {4}\S.*?$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
"""What of a document is code: a command is named there and nowhere else."""


@dataclass(frozen=True)
class Short:
    """A command's short form."""

    arguments: str
    """`{server}` is the address of a running server, `{folder}` an empty folder, `{repository}` a copy of engines."""
    keys: tuple[str, ...] = ()
    """Of its line of JSON; none where it prints no such line."""
    says: str = ""
    """What it says instead, or also: a regular expression."""
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Lowest and highest value of some of the figures: what they are, not how good."""
    needs: str = ""
    """A program without which it cannot run."""
    exits: tuple[int, ...] = (0,)
    """Statuses that it may end with."""


PROTOCOLS = ("lewm_protocol", "hard_protocol", "doors_lewm_protocol", "doors_hard_protocol")
PROTOCOL_FIGURES = tuple(
    f"{name}{of}" for name in PROTOCOLS for of in ("", "_low", "_plans", "_refused", "_latent_distance")
)
H2LOAD = "h2load"
SHORT = {
    "loadtest.evaluation.two_room": Short(
        "--server {server} --episodes 2 --baseline-episodes 1",
        (*PROTOCOL_FIGURES, "plan_ms_median", "episodes", "baseline_episodes"),
        says=r"latent distance +\d+\.\d % .* plans, 0 refused",
        bounds=dict.fromkeys(PROTOCOLS, (0, 100)) | {f"{name}_plans": (2, 60) for name in PROTOCOLS},
    ),
    "loadtest.bench_plan": Short("--quick --only speed", ("equal_success_speedup", "missed")),
    "loadtest.bench_serve": Short("--quick --only triton", ("throughput_64", "missed"), needs=H2LOAD),
    "loadtest.bench": Short("--short", ("together_same", "missed"), needs=H2LOAD, bounds={"together_same": (1, 1)}),
    "loadtest.bench_runtime": Short("--rounds 1", says=r"\| ONNX Runtime \| \d+\.\d\d \|.*\| torch \|"),
    "loadtest.bench_trust": Short(
        "--quick --only coverage", ("coverage_low", "coverage_joint"), bounds={"coverage_low": (0.5, 1)}
    ),
    "loadtest.families.table": Short("--only ijepa --without-rtx", ("ijepa",), bounds={"ijepa": (0, 1e-4)}),
    "loadtest.cluster_test": Short(
        "--short",
        ("ok", "checked", "failed", "calls"),
        needs="redis-server",
        bounds={"checked": (15, 30)},
        exits=(0, 1),
    ),
    "loadtest.scale": Short("--seconds 2 --out {folder}/scale.md", says="wrote .*scale.md"),
    "loadtest.execute_plans": Short("--server {server} --count 2 --out {folder}/plans"),
    "wmserve_export.reference.calibrate": Short("--repository {repository} --count 90", says="calibrated"),
    "wmserve train": Short("--short --episodes 1 --out {folder}/world", says=r"\d+\.\d % \["),
}
ELSEWHERE = {
    "loadtest.load": ("tests/loadtest/test_load.py", "loadtest.load"),
    "loadtest.gpu.lewm_plan": ("tests/loadtest/test_gpu_dry_run.py", "loadtest.gpu.lewm_plan"),
    "loadtest.gpu.vjepa2_ac_plan": ("tests/loadtest/test_gpu_dry_run.py", "vjepa2_ac_plan.main"),
    "deploy.checks": ("tests/deploy/test_chart.py", "proofs."),
    "deploy.checks.readme": ("tests/deploy/test_chart.py", "readme."),
    "deploy.checks.tools": ("Makefile", "deploy.checks.tools"),
    "pytest": (".ci/run", "make test"),
    "grpc_tools.protoc": (".ci/run", "make lint"),
    "wmserve serve": ("tests/test_readme.py", '"make", "serve"'),
    "wmserve worlds": ("README.md", "\nwmserve worlds\n"),
    "wmserve encode": ("README.md", "\nwmserve encode "),
    "wmserve plan": ("README.md", "\nwmserve plan "),
    "wmserve tools": ("README.md", "\nwmserve tools "),
    "wmserve mcp": ("tests/tools/test_mcp.py", '"mcp"'),
    "wmserve export": ("tests/test_readme.py", "--adapter"),
    "wmserve calibrate": ("tests/export/test_calibration.py", "main("),
    "wmserve convert": ("tests/export/test_published.py", "convert"),
}
"""Where a test runs it: what stands in the README as an example is run by tests/test_readme.py."""
NOT_RUN = {
    "loadtest.families.full_size": "models of up to 1.3 G weights: minutes and many GB each",
    "loadtest.families.robot_clip": "exports and serves models of that size",
    "loadtest.half_precision": "30 searches of full-size checkpoints, which the caller brings",
    "loadtest.dashboard": "a story of two minutes for a picture; tests/deploy/test_monitoring.py asks its queries",
}
TARGETS_NOT_RUN = {"clean": "removes what is installed"}


def targets() -> dict[str, list[str]]:
    """The Makefile's targets with help, and the commands of each."""
    found = {}
    for name, recipe in re.findall(r"^([a-z-]+):[^\n]*## [^\n]*\n((?:\t[^\n]*\n)*)", makefile(), re.MULTILINE):
        found[name] = commands(recipe.replace("$(BIN)/", ""))
    return found


def makefile() -> str:
    """The Makefile, with a space before each flag of Python gone."""
    return (ROOT / "Makefile").read_text().replace("-W ignore -m", "-m")


def commands(text: str) -> list[str]:
    """Modules that Python runs, files that it runs as modules, and subcommands of `wmserve`."""
    modules = re.findall(r"\bpython3? -m ([A-Za-z_][\w.]*\w)", text)
    files = [name.replace("/", ".") for name in re.findall(r"\bpython3? ([\w/]+)\.py\b", text)]
    return [*modules, *files, *(f"wmserve {verb}" for verb in re.findall(r"(?<![\w/-])wmserve ([a-z]+)\b", text))]


def named() -> dict[str, set[str]]:
    """Commands and `make` targets that documents name, with the documents."""
    found: dict[str, set[str]] = {}
    for file in sorted({file for pattern in DOCUMENTS for file in ROOT.glob(pattern)}):
        for code in CODE.findall(file.read_text()):
            for name in [*commands(code), *(f"make {target}" for target in re.findall(r"\bmake ([a-z-]+)", code))]:
                found.setdefault(name, set()).add(str(file.relative_to(ROOT)))
    return found
