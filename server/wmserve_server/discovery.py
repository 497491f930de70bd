"""Learns from Triton which worlds there are, in which versions: contracts and routes travel in models' parameters.

A version is served only whole: the engines of all its verbs are ready and carry the same contract, and so do the models
that are engines of TensorRT. Engines check their own digests against it when they load, so a contract that does not
match its engines never gets here.
"""

import json
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from pydantic import ValidationError
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.grpc.model_config_pb2 import ModelConfig
from tritonclient.utils import InferenceServerException
from wmserve.addresses import address
from wmserve.versions import ROUTE_PARAMETER, Route, parse_model, route_model
from wmserve.world import CONTRACT_PARAMETER, ENGINES_PARAMETER, VERBS, World, model_prefix

log = logging.getLogger(__name__)

Key = tuple[str, int]
"""Name of a world, and number of its version."""


@dataclass(frozen=True)
class Served:
    """A version of a world and the largest batch that each of its engines takes, by verb."""

    world: World
    max_batch: Mapping[str, int]


@dataclass(frozen=True)
class Discovery:
    """What Triton serves now: whole versions of worlds, routes, and why others are not served."""

    served: Mapping[Key, Served]
    problems: tuple[str, ...]
    refusals: Mapping[str, str] = field(default_factory=dict)
    """By model, why engines were refused when they were last loaded."""
    routes: Mapping[str, Route] = field(default_factory=dict)
    """By world; of one that is loaded again just now, as it was."""
    unready: frozenset[Key] = frozenset()
    """Versions whose models are there and not all ready: they may be, soon."""
    unrouted: frozenset[str] = frozenset()
    """Worlds whose route is there and was not loaded yet, so that nobody knows which version is live."""
    withheld: frozenset[Key] = frozenset()
    """Versions that are not served for what their calibration has found."""


async def discover(client: InferenceServerClient, before: Discovery) -> Discovery:
    """Ask Triton for its models and put worlds together from them; raises InferenceServerException.

    Triton loads what was refused again and again, and has no reason meanwhile: that is in the refusals from `before`.
    """
    index = await client.get_model_repository_index()
    ready = {model.name for model in index.models if model.state == "READY"}
    said = {model.name: refusal(model.reason) or before.refusals.get(model.name, "") for model in index.models}
    refusals = {name: reason for name, reason in said.items() if reason and name not in ready}
    served: dict[Key, Served] = {}
    problems: list[str] = []
    unready, withheld = set[Key](), set[Key]()
    keys = world_keys(model.name for model in index.models)
    for key in sorted(keys):
        label = described(key, keys)
        try:
            served[key] = await read_world(client, key, ready)
        except NotReady as error:
            unready.add(key)
            problems.append(f"{label} has no ready engine for {error}{why(key, refusals)}")
            continue
        except (ValueError, ValidationError) as error:
            log.error("%s is not served: %s", label, error)
            problems.append(f"{label} has no valid contract")
            continue
        world = served[key].world
        if (finding := world.withheld) is not None:
            log.error("%s is not served, its calibration has found: %s", label, finding)
            problems.append(f"{label} is not served, its calibration has found: {finding}")
            withheld.add(key)
            del served[key]
        elif world.calibration is not None and world.calibration.collapsed is not None:
            problems.append(f"{label} is served although its calibration has found: {world.calibration.collapsed}")
            log.warning("%s", problems[-1])
    there = {model.name for model in index.models}
    routes, unrouted = await read_routes(client, {name for name, _ in keys}, there, ready, before.routes)
    problems += [f"world {name} has a route that is not loaded" for name in sorted(unrouted)]
    return Discovery(served, tuple(problems), refusals, routes, frozenset(unready), unrouted, frozenset(withheld))


def described(key: Key, keys: Iterable[Key]) -> str:
    """A version in words; of a world that has one, the world."""
    name, version = key
    alone = [other for other, _ in keys].count(name) == 1
    return f"world {name if alone else address(name, version)}"


def refusal(reason: str) -> str:
    """What an engine runner said when it refused an engine; empty for what Triton says, which names paths."""
    found = re.search(r"\bRefused: (.+)", reason)
    return found[1] if found else ""


def why(key: Key, refusals: Mapping[str, str]) -> str:
    """Reasons for which models of a version were refused, each once."""
    prefix = model_prefix(*key) + "_"
    reasons = dict.fromkeys(reason for model, reason in refusals.items() if model.startswith(prefix))
    return f": {'; '.join(reasons)}" if reasons else ""


def world_keys(models: Iterable[str]) -> set[Key]:
    """Versions of worlds that the models' names speak of."""
    return {parsed[:2] for model in models if (parsed := parse_model(model)) is not None}


class NotReady(Exception):
    """Engines of a version are not ready; the message lists their verbs, or the models that are engines."""


async def config_of(client: InferenceServerClient, model: str) -> ModelConfig:
    """The configuration of a model; NotReady where it went away since the index was read."""
    try:
        return (await client.get_model_config(model)).config
    except InferenceServerException as error:
        if "UNAVAILABLE" in str(error.status()) and "unknown model" not in str(error.message()):
            raise
        raise NotReady(model) from None


async def read_world(client: InferenceServerClient, key: Key, ready: set[str]) -> Served:
    """Read a version's contract from the engines of all its verbs; NotReady, or ValueError if they disagree."""
    prefix = model_prefix(*key)
    present = [verb for verb in VERBS if f"{prefix}_{verb}" in ready]
    configs = {verb: await config_of(client, f"{prefix}_{verb}") for verb in present}
    engines = {model for config in configs.values() for model in engine_models(config)}
    if missing := sorted(engines - ready):
        raise NotReady(", ".join(missing))
    of_engines = [await config_of(client, model) for model in engines]
    contracts = {config.parameters[CONTRACT_PARAMETER].string_value for config in [*configs.values(), *of_engines]}
    if not contracts:
        raise NotReady(", ".join(VERBS))
    if len(contracts) != 1:
        raise ValueError("its engines carry different contracts")
    world = read_contract(contracts.pop())
    if missing := [verb for verb in world.verbs if verb not in present]:
        raise NotReady(", ".join(missing))
    if (world.name, world.version) != key:
        raise ValueError(f"its contract is that of {world.address}")
    return Served(world, {verb: max(1, config.max_batch_size) for verb, config in configs.items()})


@lru_cache(maxsize=128)
def read_contract(said: str) -> World:
    """A contract; it is looked at each second, and read once. A calibration of other engines is left out."""
    world = World.model_validate_json(said)
    if world.calibration is None or world.calibration.holds_for(world.digests):
        return world
    log.warning("%s: its calibration is not that of its engines, it is served as not calibrated", world.address)
    return world.model_copy(update={"calibration": None})


async def read_routes(
    client: InferenceServerClient, names: Iterable[str], there: set[str], ready: set[str], before: Mapping[str, Route]
) -> tuple[dict[str, Route], frozenset[str]]:
    """Routes by world, and the worlds whose route is there and was never read."""
    routes, unrouted = dict[str, Route](), set[str]()
    for name in names:
        model = route_model(name)
        if model not in there:
            continue
        try:
            if model not in ready:
                raise NotReady(model)
            config = await config_of(client, model)
            routes[name] = Route.model_validate_json(config.parameters[ROUTE_PARAMETER].string_value)
        except (NotReady, ValueError) as error:
            log.log(logging.DEBUG if isinstance(error, NotReady) else logging.ERROR, "route of %s: %s", name, error)
            if name in before:
                routes[name] = before[name]
            else:
                unrouted.add(name)
    return routes, frozenset(unrouted)


def engine_models(config: ModelConfig) -> list[str]:
    """Triton models that run the engines of a verb's model, where it does not run them itself."""
    said = config.parameters[ENGINES_PARAMETER].string_value if ENGINES_PARAMETER in config.parameters else "{}"
    return [engine["model"] for engine in json.loads(said).values()]
