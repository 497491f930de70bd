"""How pods start, fail, grow in number, and go."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from deploy.checks.release import Release, arguments, environment, selects

PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


def resources_are_known(release: Release) -> Iterator[str]:
    """What a scheduler needs to know, and a bound on memory."""
    for pod in release.pods():
        for container in pod.containers:
            resources = container.get("resources", {})
            if not {"cpu", "memory"} <= resources.get("requests", {}).keys() or "memory" not in resources.get(
                "limits", {}
            ):
                yield f"{pod.name}: {container['name']} does not say what it needs"


def is_probed(release: Release) -> Iterator[str]:
    """All three probes, on ports that there are; being alive does not hang on others, being ready does."""
    for pod in release.pods("Deployment"):
        for container in pod.containers:
            ports = {port["name"] for port in container.get("ports", [])}
            for probe in PROBES:
                asked = container.get(probe, {})
                if not asked or asked.get("httpGet", {}).get("port", next(iter(ports))) not in ports:
                    yield f"{pod.name}: {container['name']} has no {probe} that can work"
            alive, ready = (container.get(probe, {}).get("httpGet") for probe in ("livenessProbe", "readinessProbe"))
            if alive is not None and alive == ready:
                yield f"{pod.name}: {container['name']} is killed for what others lack"


def has_time_to_drain(release: Release) -> Iterator[str]:
    """Pods are not killed before they have said that they go, waited, and finished; and others can notice meanwhile."""
    gateway, triton = release.component("gateway"), release.component("triton")
    settings = environment(gateway.containers[0])
    delay = int(settings.get("WMSERVE_DRAIN_DELAY_S", "0"))
    probe = gateway.containers[0].get("readinessProbe", {})
    if delay + int(settings["WMSERVE_DRAIN_TIMEOUT_S"]) >= gateway.spec.get("terminationGracePeriodSeconds", 30):
        yield "the gateway is killed before it has drained"
    if delay <= probe.get("periodSeconds", 10) * probe.get("failureThreshold", 3) / 2:
        yield "the gateway lets nobody in before its readiness is known"
    options = dict(arguments(triton.containers[0]))
    delay = triton.containers[0].get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    if delay + int(options["exit-timeout-secs"]) >= triton.spec.get("terminationGracePeriodSeconds", 30):
        yield "Triton is killed before it has drained"
    if delay * 1000 < 2 * int(options.get("grpc-max-connection-age", "2147483647")):
        yield "gateways hold connections to a Triton that is going"


def outlives_a_node(release: Release) -> Iterator[str]:
    """A disruption budget that allows evictions, one at a time, and pods on several nodes and zones."""
    for pod in release.pods("Deployment"):
        budgets = [
            one["spec"] for one in release.of("PodDisruptionBudget") if selects(one["spec"]["selector"], pod.labels)
        ]
        if [budget.get("maxUnavailable") for budget in budgets] != [1]:
            yield f"{pod.name} has no disruption budget, or one that nobody can drain a node with"
        spread = pod.spec.get("topologySpreadConstraints", [])
        keys = {one["topologyKey"] for one in spread if selects(one["labelSelector"], pod.labels)}
        if keys != {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}:
            yield f"{pod.name} may run all on one node"


def names_are_unique(release: Release) -> Iterator[str]:
    """Nothing is rendered twice, and all carries the labels by which it is found."""
    counts = Counter((one["kind"], one["metadata"]["name"]) for one in release.manifests)
    yield from (f"{kind} {name} is there {count} times" for (kind, name), count in counts.items() if count > 1)
    wanted = {f"app.kubernetes.io/{name}" for name in ("name", "instance", "component", "version", "managed-by")}
    for manifest in release.manifests:
        if not wanted <= manifest["metadata"].get("labels", {}).keys():
            yield f"{manifest['kind']} {manifest['metadata']['name']} lacks labels"


def scalers_are_alone_and_go_by_rates(release: Release) -> Iterator[str]:
    """A scaled Deployment has no number of its own, scalers find it, and no counter is looked at without its rate."""
    deployments = {one["metadata"]["name"]: one["spec"] for one in release.of("Deployment")}
    scalers = release.of("HorizontalPodAutoscaler", "ScaledObject")
    targets = [scaler["spec"]["scaleTargetRef"]["name"] for scaler in scalers]
    if targets and sorted(targets) != sorted(deployments):
        yield f"scalers are for {', '.join(targets)}"
    for name, spec in deployments.items():
        if (name in targets) == ("replicas" in spec):
            yield f"Deployment {name} has two masters, or none"
    for trigger in (one for scaler in scalers for one in scaler["spec"].get("triggers", [])):
        if trigger["type"] == "prometheus" and trigger["metadata"].get("ignoreNullValues") != "false":
            yield "a scaler takes a gateway that nobody scrapes for an idle one"
    for text in queries(scalers):
        if re.search(r"_total\b", text) and not re.search(r"rate\(\w+_total\{[^}]*\}\[\w+\]\)", text):
            yield f"a scaler goes by a counter: {text}"
        if not re.search(r"\bwmserve_\w+", text):
            yield f"a scaler goes by something else than the gateway's metrics: {text}"


def queries(scalers: list[dict[str, Any]]) -> Iterator[str]:
    """Names of metrics, and PromQL, that scalers go by."""
    for scaler in scalers:
        for metric in scaler["spec"].get("metrics", []):
            if metric["type"] in ("Pods", "Object"):
                yield metric[metric["type"].lower()]["metric"]["name"]
        for trigger in scaler["spec"].get("triggers", []):
            if trigger["type"] == "prometheus":
                yield trigger["metadata"]["query"]


def reads_worlds_from_one_place(release: Release) -> Iterator[str]:
    """From a volume that is mounted read-only, or from object storage with credentials from a Secret."""
    triton = release.component("triton")
    options, container = dict(arguments(triton.containers[0])), triton.containers[0]
    volumes = [volume for volume in triton.spec["volumes"] if volume["name"] == "models"]
    mounts = [mount for mount in container["volumeMounts"] if mount["name"] == "models"]
    if options["model-repository"].startswith("s3://"):
        secret = {one["name"] for one in container["env"] if "secretKeyRef" in one.get("valueFrom", {})}
        if volumes or mounts or secret != {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}:
            yield "object storage without credentials, or beside a volume"
    elif len(volumes) != 1 or [(mount["mountPath"], mount.get("readOnly")) for mount in mounts] != [
        (options["model-repository"], True)
    ]:
        yield "Triton has no worlds, or can write to them"
