"""All proofs of the chart; the last line is JSON: ``ok``, how much was checked, and how much of that failed.

python -m deploy.checks
"""

import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from deploy.checks import policies, readme, schemas, tools
from deploy.checks.breakages import BREAKAGES
from deploy.checks.refusals import REFUSALS
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


def check_breakage(number: int, releases: dict[str, Release]) -> Iterator[str]:
    """A broken rule is seen to be broken."""
    breakage = BREAKAGES[number]
    if breakage.rule not in policies.broken(breakage.of(releases[breakage.values])):
        yield f"{breakage.rule} holds in spite of a change to {breakage.path}"


def check_alerts() -> Iterator[str]:
    """Each alert fires for its fault, and only then; where Prometheus is not installed this is left out."""
    tests = sorted(map(str, (tools.ROOT / "tests" / "deploy").glob("alerts_*.yml")))
    done = subprocess.run(["promtool", "test", "rules", *tests], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        yield done.stdout + done.stderr


def checks() -> Iterator[Check]:
    """All of them."""
    everything = tools.all_values()
    for values in everything:
        for age in tools.AGES:
            yield "helm lint", f"{values.name}, Helm of {age}", lambda v=values, a=age: tools.lint(v.path, a) or ()
            yield "kubectl", f"{values.name}, kubectl of {age}", lambda v=values, a=age: check_kubectl(v, a)
            for kubernetes in schemas.versions():
                name = f"{values.name}, Helm of {age}, Kubernetes {kubernetes}"
                yield "schemas", name, lambda v=values, a=age, k=kubernetes: check_schemas(v, a, k)
        for rule in policies.RULES:
            yield "policies", f"{values.name}, {rule.__name__}", lambda v=values, r=rule: r(release(v))
    releases = {values.name: release(values) for values in everything}
    for number, breakage in enumerate(BREAKAGES):
        yield "broken policies", f"{breakage.rule} {breakage.path}", lambda n=number: check_breakage(n, releases)
    for refusal in REFUSALS:
        for age in tools.AGES:
            yield "refusals", f"{refusal.name}, Helm of {age}", lambda r=refusal, a=age: filter(None, [r.verdict(a)])
    for file in sorted(CONTAINERS.glob("*.Containerfile")):
        yield "container files", file.name, lambda f=file: tools.call(tools.HADOLINT, str(f)).splitlines()
    yield (
        "readme",
        "README.md",
        lambda: [] if readme.README.read_text() == readme.rendered() else ["it is not made anew"],
    )
    if tools.found("promtool"):
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
