"""All proofs of the chart; the last line is JSON: ``ok``, how much was checked, and how much of that failed.

python -m deploy.checks
"""

import json
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from deploy.checks import policies, readme, schemas, tools
from deploy.checks.breakages import BREAKAGES, Breakage
from deploy.checks.refusals import REFUSALS, Refusal
from deploy.checks.release import Release

CONTAINERS = tools.ROOT / "deploy" / "containers"
Check = tuple[str, str, Callable[[], Iterable[str]]]
"""What kind of check it is, what is checked, and what does it: it yields what is wrong, or raises Failed."""


def release(values: tools.Values) -> Release:
    """The chart as it is rendered with a values file."""
    return Release(tools.documents(tools.template(values.path)), values.pinned)


def check_schemas(values: tools.Values, age: str, kubernetes: str) -> Iterator[str]:
    """Every manifest against a version of Kubernetes."""
    for document in tools.documents(tools.template(values.path, age, kubernetes)):
        yield from schemas.problems(document, kubernetes)


def check_kubectl(values: tools.Values, age: str) -> Iterator[str]:
    """What kubectl does without a server: put all together, and read those with pods into its own types."""
    text = tools.template(values.path)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "all.yaml").write_text(text)
        (Path(folder) / "kustomization.yaml").write_text("resources: [all.yaml]\n")
        together = tools.documents(tools.call(tools.program("kubectl", age), "kustomize", folder))
    if len(together) != len(tools.documents(text)):
        yield "kustomize has lost a manifest"
    pods = Release(tools.documents(text)).of("Deployment", "Pod")
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": pods})
    command = ("set", "env", "--local", "--output", "name", "--filename", "-", "READ=1")
    yield from [] if tools.call(tools.program("kubectl", age), *command, text=listed) else ["kubectl has read nothing"]


def check_breakage(breakage: Breakage, releases: dict[str, Release]) -> Iterator[str]:
    """A broken rule is seen to be broken."""
    if breakage.rule not in policies.broken(breakage.of(releases[breakage.values])):
        yield f"{breakage.rule} holds in spite of a change to {breakage.path}"


def check_alerts() -> Iterator[str]:
    """Each alert fires for its fault, and only then; where Prometheus is not installed this is left out."""
    tests = sorted(map(str, (tools.ROOT / "tests" / "deploy").glob("alerts_*.yml")))
    done = subprocess.run(["promtool", "test", "rules", *tests], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        yield done.stdout + done.stderr


def check_lint(values: tools.Values, age: str) -> Iterator[str]:
    """Helm's linter; what it says comes as Failed."""
    tools.lint(values.path, age)
    yield from ()


def check_policy(values: tools.Values, rule: policies.Rule) -> Iterator[str]:
    """One rule."""
    yield from rule(release(values))


def check_refusal(refusal: Refusal, age: str) -> Iterator[str]:
    """Helm refuses, and says why."""
    verdict = refusal.verdict(age)
    yield from [verdict] if verdict else []


def check_container_file(file: Path) -> Iterator[str]:
    """What hadolint says."""
    yield from tools.call(tools.HADOLINT, str(file)).splitlines()


def check_readme() -> Iterator[str]:
    """It is what is made of the values today."""
    if readme.README.read_text() != readme.rendered():
        yield "make deploy/chart/README.md"


def checks() -> Iterator[Check]:
    """All of them."""
    everything = tools.all_values()
    for values in everything:
        for age in tools.AGES:
            yield "helm lint", f"{values.name}, Helm of {age}", partial(check_lint, values, age)
            yield "kubectl", f"{values.name}, kubectl of {age}", partial(check_kubectl, values, age)
            for kubernetes in schemas.versions():
                name = f"{values.name}, Helm of {age}, Kubernetes {kubernetes}"
                yield "schemas", name, partial(check_schemas, values, age, kubernetes)
        for rule in policies.RULES:
            yield "policies", f"{values.name}, {rule.__name__}", partial(check_policy, values, rule)
    releases = {values.name: release(values) for values in everything}
    for breakage in BREAKAGES:
        yield "broken policies", f"{breakage.rule} {breakage.path}", partial(check_breakage, breakage, releases)
    for refusal in REFUSALS:
        for age in tools.AGES:
            yield "refusals", f"{refusal.name}, Helm of {age}", partial(check_refusal, refusal, age)
    for file in sorted(CONTAINERS.glob("*.Containerfile")):
        yield "container files", file.name, partial(check_container_file, file)
    yield "readme", readme.README.name, check_readme
    if shutil.which("promtool"):
        yield "alerts", "alerts.yml", check_alerts


def main(asked: Iterable[Check]) -> int:
    """Run them, say what failed; 1 where something did."""
    checked: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for kind, name, check in asked:
        try:
            wrong = list(check())
        except (tools.Failed, LookupError) as error:
            wrong = [str(error)]
        checked[kind] += 1
        failed[kind] += bool(wrong)
        for line in wrong:
            print(f"{kind}: {name}: {line}", file=sys.stderr)
    failures = {kind: count for kind, count in failed.items() if count}
    print(json.dumps({"ok": not failures, "checked": dict(checked), "failed": failures}))
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main(checks()))
