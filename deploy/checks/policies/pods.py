"""What Pod Security `restricted` asks of pods, and stricter."""

import re
from collections.abc import Iterator

from deploy.checks.release import Release

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
