"""Which versions of a world a repository holds, and which of them answers.

    write a version beside the others -> switch the route, one rename -> retire what no route names -> remove it later

Nothing that a server may have loaded is changed in place. A version that the route no longer names is *retired*: it
stays until a later command finds that it was retired more than RETIRED_S ago, by when every server has read the route
and sends it nothing.
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as triton
from wmserve.addresses import address
from wmserve.versions import ROUTE_BACKEND, ROUTE_PARAMETER, Route, parse_model, route_model
from wmserve.world import CONTRACT_PARAMETER, World

CONFIG_FILE = "config.pbtxt"
VERSION = "1"
"""Of Triton: each of its models has one."""
PLACEHOLDER = ".keep"
"""Of a version folder that has no other file: Triton wants the folder."""
RETIRED_S = 60.0
"""Servers look every few seconds; this is many of their looks."""


@contextlib.contextmanager
def locked(repository: Path) -> Iterator[None]:
    """Hold a repository against other commands that write to it; readers see whole files anyway."""
    repository.mkdir(parents=True, exist_ok=True)
    folder = os.open(repository, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def parse(config: Path) -> triton.ModelConfig:
    """Read a ``config.pbtxt``."""
    return text_format.Parse(config.read_text(), triton.ModelConfig(), allow_unknown_field=True)


def replace_file(file: Path, content: bytes) -> None:
    """Write a file so that nobody ever sees half of it."""
    new = file.with_name(f".{file.name}.new")
    new.write_bytes(content)
    new.replace(file)


def folders_of(repository: Path, name: str) -> dict[int, list[str]]:
    """Triton models in a repository that carry the contract of a world, by its version."""
    found: dict[int, list[str]] = {}
    for file in sorted(repository.glob(f"*/{CONFIG_FILE}")):
        config = parse(file)
        contract = config.parameters[CONTRACT_PARAMETER].string_value
        said = json.loads(contract) if contract else {}
        if said.get("name") == name:
            found.setdefault(said.get("version", 1), []).append(file.parent.name)
    return found


def read_versions(repository: Path, name: str) -> dict[int, World]:
    """Contracts of a world's versions in a repository, by number, ascending; FileNotFoundError says what there is."""
    worlds: dict[str, dict[int, Path]] = {}
    for file in repository.glob(f"*/{CONFIG_FILE}"):
        model = parse_model(file.parent.name)
        if model is not None and model[2] == "encode":
            worlds.setdefault(model[0], {})[model[1]] = file
    if name not in worlds:
        there = ", ".join(sorted(worlds)) or "none"
        raise FileNotFoundError(f"there is no world {name} in {repository}; there: {there}")
    files = sorted(worlds[name].items())
    return {
        number: World.model_validate_json(parse(file).parameters[CONTRACT_PARAMETER].string_value)
        for number, file in files
    }


def read_route(repository: Path, name: str) -> Route | None:
    """The route of a world; None where it has none."""
    config = repository / route_model(name) / CONFIG_FILE
    if not config.is_file():
        return None
    return Route.model_validate_json(parse(config).parameters[ROUTE_PARAMETER].string_value)


def route_of(repository: Path, name: str) -> Route:
    """The route of a world that is there, or what servers do without one: the highest version is live."""
    return read_route(repository, name) or Route(world=name, live=max(read_versions(repository, name)))


def read(repository: Path, name: str, version: int | None = None) -> World:
    """The contract of a world's live version, or of one by number; FileNotFoundError says what there is."""
    worlds = read_versions(repository, name)
    wanted = route_of(repository, name).live if version is None else version
    if wanted not in worlds:
        there = ", ".join(address(name, number) for number in worlds)
        raise FileNotFoundError(f"there is no {address(name, wanted)} in {repository}; there: {there}")
    return worlds[wanted]


def write_route(repository: Path, route: Route) -> None:
    """Put a route in the place of the one that there is: one rename, so that whoever reads has the one or the other."""
    name = route_model(route.world)
    config = triton.ModelConfig(name=name, backend=ROUTE_BACKEND)
    config.output.add(name="route", data_type=triton.DataType.TYPE_STRING, dims=[1])
    config.instance_group.add(count=1, kind=triton.ModelInstanceGroup.KIND_CPU)
    config.parameters[ROUTE_PARAMETER].string_value = route.model_dump_json()
    (repository / name / VERSION).mkdir(parents=True, exist_ok=True)
    (repository / name / VERSION / PLACEHOLDER).touch()
    replace_file(repository / name / CONFIG_FILE, text_format.MessageToString(config).encode())


def switched(route: Route, version: int) -> Route:
    """The route with another version live, and what was live before as the previous one."""
    if version == route.live:
        return route
    rest = {
        name: None if share is not None and share.version == version else share
        for name, share in (("shadow", route.shadow), ("canary", route.canary))
    }
    return Route.model_validate({**dict(route), **rest, "live": version, "previous": route.live})


def retire(repository: Path, route: Route, gone: Path, newest: int | None = None) -> Route:
    """The route with what it no longer names marked as retired; what was retired for long is moved into `gone`.

    The `newest` version may still be waiting for its promotion.
    """
    now, folders = time.time(), folders_of(repository, route.world)
    idle = folders.keys() - route.used - {newest}
    old = {number for number in idle if now - route.retired.get(number, now) > RETIRED_S}
    for number in old:
        for model in folders[number]:
            (repository / model).rename(gone / model)
    retired = {number: route.retired.get(number, now) for number in sorted(idle - old)}
    return route.model_copy(update={"retired": retired})
