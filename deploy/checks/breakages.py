"""Ways to break each policy, one at a time, so that each is seen to fail: a rule that cannot is none."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any

from deploy.checks.release import Manifest, Release

POD = "Deployment/{}/spec/template/spec"
CONTAINER = POD + "/containers/0"
GATEWAY, TRITON = (CONTAINER.format(name) for name in ("gateway", "triton"))
GONE = object()


@dataclass(frozen=True)
class Breakage:
    """A change to rendered manifests that breaks a rule."""

    rule: str
    path: str
    """Kind, end of the name, and where in the manifest."""
    value: Any
    """What is put there, made from what was there if it is callable; GONE removes it."""
    values: str = "cpu-claim"
    """The values file that it is tried with."""

    def of(self, release: Release) -> Release:
        """The broken release; LookupError where there is nothing to break."""
        manifests = copy.deepcopy(release.manifests)
        kind, name, *way, last = self.path.split("/")
        place = reduce(step, way, Release(manifests).one(kind, name))
        key: Any = int(last) if isinstance(place, list) else last.replace("|", "/")
        if self.value is GONE:
            del place[key]
        else:
            place[key] = self.value(place[key]) if isinstance(self.value, Callable) else self.value  # type: ignore[arg-type]
        return Release(manifests, release.pinned)


def step(place: Any, key: str) -> Any:
    """One step into a manifest."""
    return place[int(key)] if isinstance(place, list) else place[key.replace("|", "/")]


def replaced(old: str, new: str) -> Callable[[list[Any]], list[Any]]:
    """Arguments with something else in one of them."""
    return lambda items: [item.replace(old, new) for item in items]


def variable(name: str, value: str) -> Callable[[list[Manifest]], list[Manifest]]:
    """Environment variables with another value for one."""
    return lambda items: [{"name": name, "value": value} if item["name"] == name else item for item in items]


def more(item: Any) -> Callable[[list[Any]], list[Any]]:
    """A list with one item more."""
    return lambda items: [*items, item]


CONTEXT = "/securityContext"
KEDA, HPA = "gpu-image-keda", "cpu-storage-hpa"
METADATA = "ScaledObject/triton/spec/triggers/0/metadata"
TRIGGER = METADATA + "/query"

BREAKAGES = (
    Breakage("runs_as_somebody_else_than_root", POD.format("gateway") + CONTEXT + "/runAsNonRoot", GONE),
    Breakage("runs_as_somebody_else_than_root", POD.format("triton") + CONTEXT + "/runAsUser", 0),
    Breakage("runs_as_somebody_else_than_root", GATEWAY + CONTEXT + "/runAsUser", 0),
    Breakage("has_a_seccomp_profile", POD.format("triton") + CONTEXT + "/seccompProfile/type", "Unconfined"),
    Breakage("has_no_privileges", "Pod/test/spec/containers/0/securityContext/allowPrivilegeEscalation", GONE),
    Breakage("has_no_privileges", TRITON + CONTEXT + "/privileged", True),
    Breakage("has_no_privileges", GATEWAY + CONTEXT + "/capabilities/add", ["NET_ADMIN"]),
    Breakage("has_no_privileges", GATEWAY + CONTEXT + "/procMount", "Unmasked"),
    Breakage("shares_nothing_with_its_node", POD.format("triton") + "/hostIPC", True),
    Breakage(
        "shares_nothing_with_its_node", POD.format("triton") + CONTEXT + "/sysctls", [{"name": "a", "value": "1"}]
    ),
    Breakage("shares_nothing_with_its_node", TRITON + "/ports/0/hostPort", 8000),
    Breakage(
        "shares_nothing_with_its_node",
        POD.format("triton") + "/volumes/0",
        {"name": "scratch", "hostPath": {"path": "/"}},
    ),
    Breakage("writes_nothing_but_bounded_scratch", GATEWAY + CONTEXT + "/readOnlyRootFilesystem", False),
    Breakage("writes_nothing_but_bounded_scratch", POD.format("triton") + "/volumes/0/emptyDir", {}),
    Breakage("holds_no_token", POD.format("gateway") + "/automountServiceAccountToken", GONE),
    Breakage(
        "holds_no_token",
        POD.format("triton") + "/volumes",
        more({"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}),
    ),
    Breakage("images_are_pinned", GATEWAY + "/image", "registry.example.com/wmserve-gateway:1.0"),
    Breakage("images_are_pinned", TRITON + "/image", "localhost:5000/wmserve-triton:latest", "development"),
    Breakage(
        "images_are_pinned", POD.format("triton") + "/volumes/2/image/reference", "registry.example.com/worlds:1", KEDA
    ),
    Breakage("resources_are_known", TRITON + "/resources/limits", GONE),
    Breakage("resources_are_known", "Pod/test/spec/containers/0/resources/requests/cpu", GONE),
    *(
        Breakage("is_probed", f"{TRITON}/{probe}", GONE)
        for probe in ("startupProbe", "livenessProbe", "readinessProbe")
    ),
    Breakage("is_probed", GATEWAY + "/readinessProbe/httpGet/port", "web"),
    Breakage("is_probed", GATEWAY + "/livenessProbe/httpGet/path", "/readyz"),
    Breakage("has_time_to_drain", POD.format("gateway") + "/terminationGracePeriodSeconds", GONE),
    Breakage("has_time_to_drain", POD.format("triton") + "/terminationGracePeriodSeconds", 60),
    Breakage("has_time_to_drain", GATEWAY + "/env", variable("WMSERVE_DRAIN_DELAY_S", "1")),
    Breakage("has_time_to_drain", TRITON + "/lifecycle", GONE),
    Breakage("has_time_to_drain", TRITON + "/args", replaced("connection-age=15000", "connection-age=60000")),
    Breakage("outlives_a_node", "PodDisruptionBudget/triton/spec/maxUnavailable", 0),
    Breakage(
        "outlives_a_node", "PodDisruptionBudget/gateway/spec/selector/matchLabels/app.kubernetes.io|component", "x"
    ),
    Breakage("outlives_a_node", POD.format("gateway") + "/topologySpreadConstraints/1", GONE),
    Breakage("denies_by_default", "NetworkPolicy/deny/spec/policyTypes", ["Ingress"]),
    Breakage(
        "denies_by_default", "NetworkPolicy/deny/spec/podSelector/matchLabels/app.kubernetes.io|component", "gateway"
    ),
    Breakage("denies_by_default", "NetworkPolicy/triton/spec/ingress/0/from", GONE),
    Breakage("denies_by_default", "NetworkPolicy/names/spec/egress/0/ports", []),
    Breakage("lets_through_what_is_needed", "NetworkPolicy/gateway/spec/egress", []),
    Breakage("lets_through_what_is_needed", "NetworkPolicy/names/spec/egress", []),
    Breakage("lets_through_what_is_needed", "NetworkPolicy/triton/spec/ingress/1/ports/0/port", 9090),
    Breakage("lets_through_what_is_needed", "NetworkPolicy/triton/spec/ingress/0/from", more({"podSelector": {}})),
    Breakage(
        "lets_through_what_is_needed", "NetworkPolicy/gateway/spec/ingress/0/from", more({"namespaceSelector": {}})
    ),
    Breakage("balances_between_tritons", "Service/triton/spec/clusterIP", GONE),
    Breakage("balances_between_tritons", GATEWAY + "/env", variable("WMSERVE_TRITON_ADDRESS", "wm-triton:8001")),
    Breakage("selectors_find_their_pods", "Service/gateway/spec/selector/app.kubernetes.io|component", "gate"),
    Breakage("selectors_find_their_pods", "Service/triton/spec/ports/0/targetPort", "engines"),
    Breakage("selectors_find_their_pods", "ServiceMonitor/triton/spec/endpoints/0/port", "http", KEDA),
    Breakage("names_are_unique", "NetworkPolicy/deny/metadata/name", "wm-names"),
    Breakage("names_are_unique", "Service/gateway/metadata/labels", GONE),
    Breakage("scalers_are_alone_and_go_by_rates", "Deployment/triton/spec/replicas", 2, HPA),
    Breakage("scalers_are_alone_and_go_by_rates", "Deployment/triton/spec/replicas", GONE),
    Breakage("scalers_are_alone_and_go_by_rates", "ScaledObject/triton/spec/scaleTargetRef/name", "triton", KEDA),
    Breakage("scalers_are_alone_and_go_by_rates", TRIGGER, "sum(wmserve_queue_seconds_total)", KEDA),
    Breakage("scalers_are_alone_and_go_by_rates", TRIGGER, "sum(rate(nv_inference_count[2m]))", KEDA),
    Breakage("scalers_are_alone_and_go_by_rates", METADATA + "/ignoreNullValues", GONE, KEDA),
    Breakage("reads_worlds_from_one_place", TRITON + "/volumeMounts/2/readOnly", GONE),
    Breakage("reads_worlds_from_one_place", POD.format("triton") + "/volumes/2", GONE, KEDA),
    Breakage("reads_worlds_from_one_place", TRITON + "/env/5", GONE, HPA),
)
