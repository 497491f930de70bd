"""What every rendering of the chart has to keep to, a function for each rule; it yields what breaks it.

`breakages.py` breaks each of them once. The first ones are Pod Security `restricted`, and stricter.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from deploy.checks.release import Release, Somebody, arguments, environment, selects

Rule = Callable[[Release], Iterator[str]]
DIGEST = re.compile(r"[\w.:/-]+@sha256:[0-9a-f]{64}")
VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
"""Kinds that `restricted` allows; `image` since Kubernetes has it."""
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
MONITORING, DNS, STRANGER = (
    Somebody({}, "monitoring"),
    Somebody({"k8s-app": "kube-dns"}, "kube-system"),
    Somebody({"app": "stranger"}),
)
FAR_STRANGER = Somebody({"app": "stranger"}, "elsewhere")


def runs_as_somebody_else_than_root(release: Release) -> Iterator[str]:
    """Each pod names a user, who is not root, and no container another."""
    for pod in release.pods():
        own = pod.spec.get("securityContext", {})
        if own.get("runAsNonRoot") is not True or not own.get("runAsUser"):
            yield f"{pod.name} may run as root"
        for container in pod.containers:
            if {"runAsUser", "runAsNonRoot"} & container.get("securityContext", {}).keys():
                yield f"{pod.name}: {container['name']} chooses its own user"


def has_a_seccomp_profile(release: Release) -> Iterator[str]:
    """That of the container runtime."""
    for pod in release.pods():
        if pod.spec.get("securityContext", {}).get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield f"{pod.name} has no seccomp profile"


def has_no_privileges(release: Release) -> Iterator[str]:
    """None to begin with, and no way to come by some."""
    for pod in release.pods():
        for container in pod.containers:
            context = container.get("securityContext", {})
            if context.get("allowPrivilegeEscalation") is not False or context.get("privileged"):
                yield f"{pod.name}: {container['name']} may gain privileges"
            if context.get("capabilities") != {"drop": ["ALL"]}:
                yield f"{pod.name}: {container['name']} keeps capabilities"
            if "procMount" in context or "seLinuxOptions" in context:
                yield f"{pod.name}: {container['name']} loosens its confinement"


def shares_nothing_with_its_node(release: Release) -> Iterator[str]:
    """No namespaces, no ports, no sysctls, and volumes of harmless kinds."""
    for pod in release.pods():
        if any(pod.spec.get(name) for name in ("hostNetwork", "hostPID", "hostIPC")):
            yield f"{pod.name} shares a namespace with its node"
        if pod.spec.get("securityContext", {}).get("sysctls"):
            yield f"{pod.name} sets sysctls"
        if any(port.get("hostPort") for container in pod.containers for port in container.get("ports", [])):
            yield f"{pod.name} takes a port of its node"
        for volume in pod.spec.get("volumes", []):
            if not volume.keys() - {"name"} <= VOLUMES:
                yield f"{pod.name}: volume {volume['name']} is of a kind that is not allowed"


def writes_nothing_but_bounded_scratch(release: Release) -> Iterator[str]:
    """The root is read-only, and what is not has a size."""
    for pod in release.pods():
        for container in pod.containers:
            if container.get("securityContext", {}).get("readOnlyRootFilesystem") is not True:
                yield f"{pod.name}: {container['name']} can write to its root"
        for volume in pod.spec.get("volumes", []):
            if "emptyDir" in volume and not volume["emptyDir"].get("sizeLimit"):
                yield f"{pod.name}: volume {volume['name']} has no bound"


def holds_no_token(release: Release) -> Iterator[str]:
    """Nobody here talks to the cluster's own API."""
    for account in release.of("ServiceAccount"):
        if account.get("automountServiceAccountToken") is not False:
            yield "the service account's token is mounted"
    for pod in release.pods():
        if pod.spec.get("automountServiceAccountToken") is not False:
            yield f"{pod.name} is given a token"
        sources = [
            source
            for volume in pod.spec.get("volumes", [])
            for source in volume.get("projected", {}).get("sources", [])
        ]
        if any("serviceAccountToken" in source for source in sources):
            yield f"{pod.name} takes a token"


def images_are_pinned(release: Release) -> Iterator[str]:
    """By digest, the worlds' image too; in development by a tag, which is not `latest`."""
    for pod in release.pods():
        images = [container["image"] for container in pod.containers]
        images += [volume["image"]["reference"] for volume in pod.spec.get("volumes", []) if "image" in volume]
        for image in images:
            tagged = not release.pinned and re.search(r":[^/:]+$", image) and not image.endswith(":latest")
            if not (DIGEST.fullmatch(image) or tagged):
                yield f"{pod.name}: image {image} is not pinned"


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


def denies_by_default(release: Release) -> Iterator[str]:
    """One policy takes all pods of the release and lets nothing through; others name peers and ports."""
    policies = [one["spec"] for one in release.of("NetworkPolicy")]
    for pod in release.pods():
        if not any(
            selects(one["podSelector"], pod.labels)
            and set(one["policyTypes"]) == {"Ingress", "Egress"}
            and not one.get("ingress")
            and not one.get("egress")
            for one in policies
        ):
            yield f"{pod.name} is not denied all by default"
    for policy in policies:
        for peers, rules in (("from", policy.get("ingress", [])), ("to", policy.get("egress", []))):
            if any(not rule.get(peers) or not rule.get("ports") for rule in rules):
                yield "a network policy leaves peers or ports open"


def lets_through_what_is_needed(release: Release) -> Iterator[str]:
    """Gateways reach Triton, Prometheus the metrics, all names; nobody else reaches Triton, nobody far the gateway."""
    gateway, triton, test = (Somebody(release.component(name).labels) for name in ("gateway", "triton", "test"))
    needed = {
        "gateways to Triton": (gateway, triton, 8001),
        "Prometheus to the gateway": (MONITORING, gateway, 8080),
        "Prometheus to Triton": (MONITORING, triton, 8002),
        "the test to the gateway": (test, gateway, 8080),
        **{
            f"{name} to the names": (own, DNS, 53)
            for name, own in (("gateways", gateway), ("Triton", triton), ("the test", test))
        },
    }
    forbidden = {
        "a stranger to Triton": (STRANGER, triton, 8001),
        "a stranger to Triton's health port": (STRANGER, triton, 8000),
        "Prometheus to Triton's engines": (MONITORING, triton, 8001),
        "Prometheus to gRPC": (MONITORING, gateway, 8081),
        "a far stranger to the gateway": (FAR_STRANGER, gateway, 8081),
        "Triton to the gateway": (triton, gateway, 8080),
        "Triton to a far stranger": (triton, FAR_STRANGER, 443),
        "the gateway to a far stranger": (gateway, FAR_STRANGER, 443),
    }
    yield from (f"cannot send: {who}" for who, way in needed.items() if not release.may_send(*way))
    yield from (f"can send: {who}" for who, way in forbidden.items() if release.may_send(*way))


def balances_between_tritons(release: Release) -> Iterator[str]:
    """Gateways look up all Tritons, through a headless Service, by a name that gRPC balances over."""
    service = release.one("Service", "triton")
    if service["spec"].get("clusterIP") != "None":
        yield "Triton's Service hides its pods behind one address"
    address = environment(release.component("gateway").containers[0]).get("WMSERVE_TRITON_ADDRESS", "")
    if not re.fullmatch(rf"dns:///{service['metadata']['name']}\.[\w.-]+:8001", address):
        yield f"gateways ask {address or 'no Triton'}"


def selectors_find_their_pods(release: Release) -> Iterator[str]:
    """Each Service has one Deployment's pods, and ports that those have; each monitor a Service and its port."""
    services = release.of("Service")
    for service in services:
        pods = [
            pod
            for pod in release.pods("Deployment")
            if selects({"matchLabels": service["spec"]["selector"]}, pod.labels)
        ]
        ports = {port["name"] for pod in pods for container in pod.containers for port in container["ports"]}
        if len(pods) != 1 or not {port["targetPort"] for port in service["spec"]["ports"]} <= ports:
            yield f"Service {service['metadata']['name']} finds no pods, or not their ports"
    for monitor in release.of("ServiceMonitor"):
        found = [one for one in services if selects(monitor["spec"]["selector"], one["metadata"]["labels"])]
        ports = {port["name"] for service in found for port in service["spec"]["ports"]}
        if len(found) != 1 or not {one["port"] for one in monitor["spec"]["endpoints"]} <= ports:
            yield f"ServiceMonitor {monitor['metadata']['name']} finds no metrics"


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


RULES: tuple[Rule, ...] = (
    runs_as_somebody_else_than_root,
    has_a_seccomp_profile,
    has_no_privileges,
    shares_nothing_with_its_node,
    writes_nothing_but_bounded_scratch,
    holds_no_token,
    images_are_pinned,
    resources_are_known,
    is_probed,
    has_time_to_drain,
    outlives_a_node,
    denies_by_default,
    lets_through_what_is_needed,
    balances_between_tritons,
    selectors_find_their_pods,
    names_are_unique,
    scalers_are_alone_and_go_by_rates,
    reads_worlds_from_one_place,
)


def broken(release: Release) -> dict[str, list[str]]:
    """What breaks rules, by the name of the rule; empty where nothing does."""
    found = {rule.__name__: list(rule(release)) for rule in RULES}
    return {name: violations for name, violations in found.items() if violations}
