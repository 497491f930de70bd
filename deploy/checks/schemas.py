"""Whether manifests are what Kubernetes of some version, KEDA and Prometheus Operator take; unknown fields are errors.

The schemas come in packages: those of Kubernetes in `kubernetes-validate`, the others as pydantic models in
`cloudcoil-models-keda` (KEDA 2.16) and `cloudcoil-models-prometheus-operator` (0.80).
"""

import importlib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from pydantic import BaseModel, ValidationError
from referencing import Registry, Resource

from deploy.checks.tools import HOME

SCHEMAS = HOME / "kubernetes_validate" / "kubernetes-json-schema"
OLDEST = 32
"""The chart names it too, in `kubeVersion`."""
CUSTOM = {"keda.sh/v1alpha1": "keda.v1alpha1", "monitoring.coreos.com/v1": "prometheus_operator.v1"}


def versions() -> list[str]:
    """Versions of Kubernetes to hold manifests against: as many as there are schemas of, from the oldest on."""
    found = (re.fullmatch(r"v(1\.(\d+)\.\d+)-local-strict", folder.name) for folder in SCHEMAS.iterdir())
    known = sorted((int(match[2]), match[1]) for match in found if match)
    return [version for minor, version in known if minor >= OLDEST]


def problems(document: Mapping[str, Any], kubernetes: str) -> Iterator[str]:
    """What is wrong with a manifest, if something is."""
    where = f"{document['kind']} {document['metadata']['name']}"
    if document["apiVersion"] in CUSTOM:
        yield from (f"{where}: {problem}" for problem in custom_problems(document))
        return
    error = best_match(validator(document["apiVersion"], document["kind"], kubernetes).iter_errors(document))
    if error is not None:
        yield f"{where}: {error.json_path}: {error.message[:300]} (Kubernetes {kubernetes})"


@cache
def read(path: Path) -> Any:
    """A JSON file."""
    return json.loads(path.read_text())


@cache
def validator(api: str, kind: str, kubernetes: str) -> Draft202012Validator:
    """The schema of a kind, closed; KeyError for a kind that this Kubernetes does not have."""
    folder = SCHEMAS / f"v{kubernetes}-local-strict"
    group, _, version = api.rpartition("/")
    file = folder / f"{'-'.join(filter(None, [kind.lower(), group.partition('.')[0], version]))}.json"
    if not file.is_file():
        raise KeyError(f"Kubernetes {kubernetes} has no {api} {kind}")
    return Draft202012Validator(read(file), registry=definitions(folder))


@cache
def definitions(folder: Path) -> Registry[Any]:
    """What the schemas of a Kubernetes refer to."""
    contents = Resource.from_contents(read(folder / "_definitions.json"))
    found: Registry[Any] = Registry().with_resource("_definitions.json", contents)
    return found.crawl()


@cache
def model(api: str, kind: str) -> type[BaseModel]:
    """The pydantic model of a custom resource."""
    if str(HOME) not in sys.path:
        sys.path.append(str(HOME))
    found: type[BaseModel] = getattr(importlib.import_module(f"cloudcoil.models.{CUSTOM[api]}"), kind)
    return found


def custom_problems(document: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with a custom resource. Models pass over fields that they do not know, and lose them."""
    try:
        read = model(document["apiVersion"], document["kind"]).model_validate(document)
    except ValidationError as error:
        yield "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        return
    kept = read.model_dump(mode="json", by_alias=True, exclude_unset=True)
    yield from (f"unknown field {path}" for path in lost(document, kept))


def lost(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """Paths that are in one and not in the other."""
    if isinstance(before, Mapping):
        for key, value in before.items():
            inner = f"{path}.{key}".lstrip(".")
            if not isinstance(after, Mapping) or key not in after:
                yield inner
            else:
                yield from lost(value, after[key], inner)
    elif isinstance(before, list) and isinstance(after, list):
        for number, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from lost(one, other, f"{path}[{number}]")
