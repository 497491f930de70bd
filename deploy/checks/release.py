"""Rendered manifests, and what is asked of them: their pods, what selects what, who may reach whom."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Manifest = dict[str, Any]
Labels = Mapping[str, str]


@dataclass(frozen=True)
class Pod:
    """A pod as a manifest describes it."""

    name: str
    """Kind and name of the manifest."""
    labels: Labels
    spec: Mapping[str, Any]

    @property
    def containers(self) -> list[Mapping[str, Any]]:
        """All of its containers."""
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]


@dataclass(frozen=True)
class Somebody:
    """A pod that sends or is sent to."""

    labels: Labels
    namespace: str | None = None
    """None for the release's own."""


@dataclass(frozen=True)
class Release:
    """What Helm has rendered."""

    manifests: list[Manifest]
    pinned: bool = True
    """Whether its values ask for images by digest."""

    def of(self, *kinds: str) -> list[Manifest]:
        """Manifests of these kinds."""
        return [one for one in self.manifests if one["kind"] in kinds]

    def one(self, kind: str, name: str) -> Manifest:
        """The manifest of a kind whose name ends so; LookupError where there is none."""
        for manifest in self.of(kind):
            if manifest["metadata"]["name"].endswith(f"-{name}"):
                return manifest
        raise LookupError(f"there is no {kind} {name}")

    def pods(self, *kinds: str) -> list[Pod]:
        """Pods of these kinds; of all where none is named."""
        found = []
        for manifest in self.of(*(kinds or ("Deployment", "Pod"))):
            template = manifest if manifest["kind"] == "Pod" else manifest["spec"]["template"]
            name = f"{manifest['kind']} {manifest['metadata']['name']}"
            found.append(Pod(name, template["metadata"]["labels"], template["spec"]))
        return found

    def component(self, name: str) -> Pod:
        """The pod of a component."""
        return next(pod for pod in self.pods() if pod.labels["app.kubernetes.io/component"] == name)

    def may_send(self, source: Somebody, target: Somebody, port: int) -> bool:
        """Whether the network policies let TCP through, at both ends that are the release's."""
        return self._may(source, target, port, "egress", "to") and self._may(target, source, port, "ingress", "from")

    def _may(self, own: Somebody, other: Somebody, port: int, direction: str, peers: str) -> bool:
        if own.namespace is not None:
            return True  # others look after their own
        policies = [
            one["spec"]
            for one in self.of("NetworkPolicy")
            if direction.capitalize() in one["spec"]["policyTypes"] and selects(one["spec"]["podSelector"], own.labels)
        ]
        rules = [rule for policy in policies for rule in policy.get(direction, [])]
        return not policies or any(lets_through(rule, peers, other, port) for rule in rules)


def selects(selector: Mapping[str, Any], labels: Labels) -> bool:
    """Whether a label selector, which has no expressions, takes these labels."""
    wanted: Labels = selector.get("matchLabels", {})
    return wanted.items() <= labels.items()


def lets_through(rule: Mapping[str, Any], peers: str, other: Somebody, port: int) -> bool:
    """Whether a rule of a network policy lets somebody through on a port; what is left out of it is no bound."""
    if "ports" in rule and port not in {one.get("port", port) for one in rule["ports"]}:
        return False
    return peers not in rule or any(is_peer(peer, other) for peer in rule[peers])


def is_peer(peer: Mapping[str, Any], other: Somebody) -> bool:
    """Whether somebody is meant; blocks of addresses mean nobody of the cluster."""
    if "ipBlock" in peer:
        return False
    if "namespaceSelector" not in peer:
        return other.namespace is None and selects(peer["podSelector"], other.labels)
    named = {"kubernetes.io/metadata.name": other.namespace or ""}
    return selects(peer["namespaceSelector"], named) and selects(peer.get("podSelector", {}), other.labels)


def environment(container: Mapping[str, Any]) -> dict[str, str]:
    """Environment variables with their values, those from Secrets left out."""
    return {one["name"]: one["value"] for one in container.get("env", []) if "value" in one}


def arguments(container: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Options `--name=value` of a container."""
    for argument in container.get("args", []):
        name, _, value = argument.removeprefix("--").partition("=")
        yield name, value
