"""Who may send to whom, and how they find each other."""

import re
from collections.abc import Iterator

from deploy.checks.release import Release, Somebody, environment, selects

MONITORING, DNS, STRANGER = (
    Somebody({}, "monitoring"),
    Somebody({"k8s-app": "kube-dns"}, "kube-system"),
    Somebody({"app": "stranger"}),
)
FAR_STRANGER = Somebody({"app": "stranger"}, "elsewhere")


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
