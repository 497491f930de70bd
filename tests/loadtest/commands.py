"""Which commands and `make` targets the Makefile and the documents name, and where CI runs each.

SHORT       runs in its short form by tests/loadtest/test_commands.py, and what it says is read
ELSEWHERE   runs in a test of its own, which reads what it says
NOT_RUN     does not run in CI, and why

A target in any of them stands for the commands of its recipe.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from loadtest.serving import ROOT

DOCUMENTS = ("README.md", "deploy/README.md", "clients/typescript/README.md", "docs/*.md", "loadtest/**/README.md")
CODE = re.compile(r"^```(\w*)$(.*?)^```$|^ {4}(\S.*?)$|`([^`\n]+)`", re.MULTILINE | re.DOTALL)
"""What of a document is code: a command is named there and nowhere else."""
PROMPTED = re.compile(r"^\$ (?:.*\\\n)*.*$", re.MULTILINE)
"""What was typed in a block of `console`; the rest was answered."""


@dataclass(frozen=True)
class Short:
    """A command's short form."""

    arguments: str = ""
    """`{server}` is the address of a running server, `{folder}` an empty folder; ARGS of a target."""
    keys: tuple[str, ...] = ()
    """Of its JSON; none where it prints none."""
    says: str = ""
    """What it says instead, or also: a regular expression."""
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Lowest and highest value of some of the figures: what they are, not how good."""
    needs: str = ""
    """A program without which it cannot run."""
    variables: str = ""
    """Of a target, beside ARGS."""


PROTOCOLS = ("lewm_protocol", "hard_protocol", "doors_lewm_protocol", "doors_hard_protocol")
PROTOCOL_FIGURES = tuple(
    f"{name}{of}" for name in PROTOCOLS for of in ("", "_low", "_plans", "_refused", "_latent_distance")
)
H2LOAD = "h2load"
SHORT = {
    "make eval": Short(
        "--server {server} --episodes 2 --baseline-episodes 1",
        (*PROTOCOL_FIGURES, "plan_ms_median", "episodes", "baseline_episodes"),
        says=r"latent distance +\d+\.\d % .* plans, 0 refused",
        bounds=dict.fromkeys(PROTOCOLS, (0, 100)) | {f"{name}_plans": (2, 60) for name in PROTOCOLS},
    ),
    "make train": Short("--short --episodes 1 --out {folder}/world", says=r"\d+\.\d % \["),
    "make export": Short(
        "--rank-problems 1 --gate-candidates 20 --horizons 5",
        says=r"300 executed plans in.*two_room: calibrated on.*exported two_room, checked",
        variables="REPOSITORY={folder}/repository PLANS={folder}/plans COUNT=300",
    ),
    "make bench": Short("--short", ("together_same", "missed"), needs=H2LOAD, bounds={"together_same": (1, 1)}),
    "make bench-plan": Short("--quick --only speed", ("equal_success_speedup", "missed")),
    "make bench-serve": Short("--quick --only triton", ("serve_throughput_ratio", "missed"), needs=H2LOAD),
    "make bench-runtime": Short("--rounds 1", says=r"\| ONNX Runtime \| \d+\.\d\d \|.*\| torch \|"),
    "make trust": Short(
        "--quick --only coverage", ("coverage_low", "coverage_joint"), bounds={"coverage_low": (0.5, 1)}
    ),
    "make families": Short("--only ijepa --without-rtx", ("ijepa",), bounds={"ijepa": (0, 1e-4)}),
    "make cluster-test": Short(
        "--short",
        ("ok", "checked", "failed", "calls"),
        needs="redis-server",
        bounds={"ok": (1, 1), "checked": (15, 30)},
    ),
    "loadtest.scale": Short("--seconds 2 --out {folder}/scale.md", says="wrote .*scale.md"),
    "loadtest.dashboard": Short("--seconds 2 --out {folder}/picture.png", says="drawn: ", needs="prometheus"),
    "loadtest.half_precision": Short(
        "export/wmserve_export/reference/two_room --problems 1",
        ("two_room",),
        says=r'"float16": \{\s+"parity": .*"another_seed"',
    ),
    "loadtest.families.full_size": Short("tdmpc2", ("parameters", "peak_memory_gb"), bounds={"candidates": (512, 512)}),
    "loadtest.trusting.collapsed": Short(
        "--short",
        ("collapse_missed", "collapse_of", "collapse_false", "collapse_false_of"),
        bounds={
            "collapse_missed": (0, 0),
            "collapse_of": (1, 1),
            "collapse_false": (0, 0),
            "collapse_false_of": (1, 1),
        },
    ),
    "loadtest.updates": Short(
        "--short --calls 200 --callers 2",
        ("switch_s", "answered_by", "slowest_s"),
        bounds={"update_failed": (0, 0), "calls": (200, 1e6)},
    ),
}
ELSEWHERE = {
    "make serve": ("tests/test_readme.py::served", '"make", "serve"'),
    "make test": (".ci/run", "make test"),
    "make lint": (".ci/run", "make lint"),
    "make proto": ("Makefile", "--no-print-directory proto"),
    "make load": ("tests/loadtest/test_load.py::test_a_short_run", '"loadtest.load"'),
    "make own-world": ("tests/loadtest/test_own_world.py::test_a_short_story", '"loadtest.own_world"'),
    "make deploy-check": (
        "tests/deploy/test_chart.py::test_the_last_line_says_what_was_checked",
        "proofs.main(",
    ),
    "loadtest.load": ("tests/loadtest/test_load.py::test_a_short_run", '"loadtest.load"'),
    "loadtest.families.broken": (
        "tests/export/test_reference_gate.py::test_every_broken_export_is_refused_and_the_whole_one_is_not",
        "broken.run(",
    ),
    "loadtest.own_world": ("tests/loadtest/test_own_world.py::test_a_short_story", '"loadtest.own_world"'),
    "loadtest.own_world.collect": ("tests/loadtest/test_own_world.py::recorded", "collect.main("),
    "loadtest.own_world.train": ("tests/loadtest/test_own_world.py::checkpoint", "train.main("),
    "loadtest.trusting.fresh": (
        "tests/loadtest/test_own_world.py::test_a_short_story",
        'figures["coverage_plans_low"]',
    ),
    "loadtest.gpu.lewm_plan": (
        "tests/loadtest/test_gpu_dry_run.py::test_a_dry_run_checks_times_and_reports",
        '"loadtest.gpu.lewm_plan"',
    ),
    "loadtest.gpu.vjepa2_ac_plan": (
        "tests/loadtest/test_gpu_dry_run.py::test_a_dry_run_of_the_robots_world_checks_times_and_reports",
        "vjepa2_ac_plan.main(",
    ),
    "wmserve worlds": ("README.md", "\nwmserve worlds\n"),
    "wmserve encode": ("README.md", "\nwmserve encode "),
    "wmserve rollout": ("tests/client/test_cli.py::test_encode_and_what_follows", '"rollout"'),
    "wmserve plan": ("README.md", "\nwmserve plan "),
    "wmserve tools": ("README.md", "\nwmserve tools "),
    "wmserve mcp": ("tests/tools/test_mcp.py", '"mcp"'),
    "wmserve serve": ("tests/test_readme.py::served", '"make", "serve"'),
    "wmserve export": ("tests/test_readme.py::test_a_model_of_ones_own_is_exported_as_it_stands", "--adapter"),
    "wmserve train": ("tests/loadtest/commands.py", '"make train"'),
    "wmserve convert": (
        "tests/export/test_published.py::test_converting_says_what_it_trusts_and_runs_nothing_before",
        "convert.main(",
    ),
    "wmserve trajectories": (
        "tests/export/test_trajectories.py::test_actions_are_moved_to_the_frames_that_they_led_to",
        "main([",
    ),
    "wmserve fit": ("tests/export/test_fit.py::test_the_contract_says_what_is_new", "main([name"),
    "wmserve calibrate": (
        "tests/export/test_calibrating_in_one.py::test_plans_are_executed_on_the_way",
        "main([*asked",
    ),
    "wmserve execute": (
        "tests/client/test_execute.py::test_plans_begin_and_aim_where_trajectories_were",
        "main(arguments)",
    ),
    "wmserve evaluate": (
        "tests/client/test_evaluate.py::test_the_served_policy_is_as_good_as_the_expert",
        'main(["two_room"',
    ),
    "wmserve promote": ("tests/server/test_versions.py::test_no_call_fails_while_versions_change", '"promote"'),
    "wmserve rollback": ("tests/server/test_versions.py::test_no_call_fails_while_versions_change", '"rollback"'),
    "wmserve compare": ("tests/server/test_versions.py::test_versions_are_compared_side_by_side", "compare.main("),
    "npm ci": ("tests/client/test_typescript.py::installed", 'npm("ci"'),
    "npm test": ("tests/client/test_typescript.py::test_client_against_a_server", 'npm("test"'),
    "npm run build": ("clients/typescript/package.json", '"pretest": "npm run --silent build:tests"'),
    "npm run generate": ("tests/client/test_typescript.py::test_types_are_those_of_the_served_document", "generate:"),
}
"""A file, with the test or fixture that runs it, and how; examples of the README are run by tests/test_readme.py."""
NOT_RUN = {
    "make clean": "removes what is installed",
    "loadtest.families.robot_clip": "22 GB of disk and half an hour; tests/server/test_robot_clip.py asks small worlds",
    "npm run example": "tests/client/test_typescript.py builds it with strict types, and asks a server for more",
    "docker build": "needs a builder of containers; tests/deploy/test_chart.py lints the files",
    "helm install": "needs a cluster; `make deploy-check` renders the chart and holds it against Kubernetes' schemas",
    "helm test": "needs a cluster",
    "kubectl create": "needs a cluster",
    "kubectl label": "needs a cluster",
}


BUILT = (".venv/bin/python", ".venv/.server", ".venv/.dev", ".triton/.installed", ".venv-peers/.installed")
"""What targets install; CI has what it needs of it."""


def target(name: str, arguments: str = "", variables: str = "") -> list[str]:
    """`make NAME` with more arguments, for `subprocess`; nothing is installed."""
    old = [f"--assume-old={file}" for file in BUILT]
    return ["make", "--no-print-directory", *old, name, f"ARGS={arguments}", *variables.split()]


def targets() -> dict[str, list[str]]:
    """The Makefile's targets with help, and the commands of each."""
    found = {}
    text = (ROOT / "Makefile").read_text()
    for name, recipe in re.findall(r"^([a-z-]+):[^\n]*## [^\n]*\n((?:\t[^\n]*\n)*)", text, re.MULTILINE):
        found[name] = commands(recipe.replace("$(BIN)/", "").replace("-W ignore -m", "-m"))
    return found


TOOLS = re.compile(r"(?<![\w/.:-])(npm run|npm|docker|helm|kubectl) ([a-z]+)\b")


def commands(text: str) -> list[str]:
    """Modules that Python runs, files that it runs as modules, subcommands of `wmserve` and of others' tools."""
    modules = re.findall(r"\bpython3? -m ([A-Za-z_][\w.]*\w)", text)
    files = [name.replace("/", ".") for name in re.findall(r"\bpython3? ([\w/]+)\.py\b", text)]
    ours = [f"wmserve {verb}" for verb in re.findall(r"(?<![\w/-])wmserve ([a-z]+)\b", text)]
    return [*modules, *files, *ours, *(" ".join(words) for words in TOOLS.findall(text))]


def named() -> dict[str, set[str]]:
    """Commands and `make` targets that documents name, with the documents."""
    found: dict[str, set[str]] = {}
    for file in sorted({file for pattern in DOCUMENTS for file in ROOT.glob(pattern)}):
        for language, block, *others in CODE.findall(file.read_text()):
            code = "\n".join(PROMPTED.findall(block)) if language == "console" else "\n".join([block, *others])
            for name in [*commands(code), *(f"make {target}" for target in re.findall(r"\bmake ([a-z-]+)", code))]:
                found.setdefault(name, set()).add(str(file.relative_to(ROOT)))
    return found
