"""Values that the chart has to refuse, since what they ask for would be refused, or regretted, later."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from deploy.checks.tools import CHART, Failed, template

BASE = CHART / "ci" / "cpu-claim-values.yaml"
CLAIM = {"claimName": "worlds"}


@dataclass(frozen=True)
class Refusal:
    """A change to values that are fine."""

    name: str
    change: Mapping[str, Any]
    named: str
    """The value that is complained of; dots between its parts."""

    def verdict(self, age: str) -> str | None:
        """What is wrong with how Helm takes it; None where it refuses and says why."""
        values = merged(yaml.safe_load(BASE.read_text()), self.change)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "values.yaml"
            path.write_text(yaml.safe_dump(values))
            try:
                template(path, age)
            except Failed as error:
                said = str(error).replace("/", ".")
                return None if "schema" in said and self.named in said else f"refused, without a word of {self.named}"
        return "accepted"


def merged(values: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Values with a change; None takes away."""
    result = dict(values)
    for key, value in change.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return {key: value for key, value in result.items() if value is not None}


def image(digest: str | None = None, tag: str | None = None) -> dict[str, Any]:
    """The gateway's image, otherwise pinned."""
    return {"gateway": {"image": {"digest": digest, "tag": tag}}}


REFUSALS = (
    Refusal("an image by tag", image(tag="1.0"), "gateway.image.digest"),
    Refusal("a digest that is none", image(digest="sha256:abc"), "gateway.image.digest"),
    Refusal("latest, in development too", {"developmentImages": True} | image(tag="latest"), "gateway.image.tag"),
    Refusal("Triton without an image", {"triton": {"image": {"repository": ""}}}, "triton.image.repository"),
    Refusal("no worlds", {"modelRepository": {"persistentVolumeClaim": None}}, "modelRepository"),
    Refusal(
        "worlds from two places",
        {"modelRepository": {"objectStorage": {"uri": "s3://worlds", "secretName": "reader"}}},
        "modelRepository",
    ),
    Refusal(
        "worlds in an image by tag",
        {"modelRepository": {"persistentVolumeClaim": None, "image": {"repository": "a/worlds", "digest": "1.0"}}},
        "modelRepository.image.digest",
    ),
    Refusal(
        "object storage that the network does not let through",
        {"modelRepository": {"persistentVolumeClaim": None, "objectStorage": {"uri": "s3://a", "secretName": "b"}}},
        "networkPolicy.objectStorage",
    ),
    Refusal(
        "object storage without credentials",
        {"modelRepository": {"persistentVolumeClaim": None, "objectStorage": {"uri": "s3://a"}}},
        "modelRepository.objectStorage",
    ),
    Refusal("a word that is no value", {"gateway": {"replica": 3}}, "gateway"),
    Refusal("a setting that is none", {"gateway": {"settings": {"log_levle": "DEBUG"}}}, "gateway.settings"),
    Refusal("a setting that the chart makes", {"gateway": {"settings": {"http_port": 80}}}, "gateway.settings"),
    Refusal("no pods", {"gateway": {"replicas": 0}}, "gateway.replicas"),
    Refusal("no drain", {"gateway": {"drain": {"delaySeconds": 0}}}, "gateway.drain.delaySeconds"),
    Refusal("memory without a bound", {"triton": {"resources": {"limits": None}}}, "triton.resources"),
    Refusal("another autoscaler", {"autoscaling": {"kind": "vpa"}}, "autoscaling.kind"),
    Refusal("a port to the whole world", {"networkPolicy": {"clients": [{}]}}, "networkPolicy.clients"),
    Refusal("a node port", {"gateway": {"service": {"type": "NodePort"}}}, "gateway.service.type"),
)
