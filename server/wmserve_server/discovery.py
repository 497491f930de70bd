"""Learns from Triton which worlds there are: their contracts travel in the models' parameters.

A world is served only whole: the engines of all its verbs are ready and carry the same contract, and so do the models
that are engines of TensorRT. Engines check their own digests against it when they load, so a contract that does not
match its engines never gets here.
"""

import json
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pydantic import ValidationError
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.grpc.model_config_pb2 import ModelConfig
from wmserve.world import CONTRACT_PARAMETER, ENGINES_PARAMETER, VERBS, World

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Served:
    """A world and the largest batch that each of its engines takes, by verb."""

    world: World
    max_batch: Mapping[str, int]


@dataclass(frozen=True)
class Discovery:
    """What Triton serves now: whole worlds by name, and why others are not served."""

    served: Mapping[str, Served]
    problems: tuple[str, ...]
    refusals: Mapping[str, str] = field(default_factory=dict)
    """By model, why engines were refused when they were last loaded."""


async def discover(client: InferenceServerClient, known: Mapping[str, str]) -> Discovery:
    """Ask Triton for its models and put worlds together from them; raises InferenceServerException.

    Triton loads what was refused again and again, and has no reason meanwhile: that is in the `known` refusals.
    """
    index = await client.get_model_repository_index()
    ready = {model.name for model in index.models if model.state == "READY"}
    said = {model.name: refusal(model.reason) or known.get(model.name, "") for model in index.models}
    refusals = {name: reason for name, reason in said.items() if reason and name not in ready}
    served: dict[str, Served] = {}
    problems: list[str] = []
    for name in sorted(world_names(model.name for model in index.models)):
        try:
            served[name] = await read_world(client, name, ready)
        except NotReady as error:
            problems.append(f"world {name} has no ready engine for {error}{why(name, refusals)}")
            continue
        except (ValueError, ValidationError) as error:
            log.error("world %s is not served: %s", name, error)
            problems.append(f"world {name} has no valid contract")
            continue
        world = served[name].world
        if (finding := world.withheld) is not None:
            log.error("world %s is not served, its calibration has found: %s", name, finding)
            problems.append(f"world {name} is not served, its calibration has found: {finding}")
            del served[name]
        elif world.calibration is not None and world.calibration.collapsed is not None:
            problems.append(f"world {name} is served although its calibration has found: {world.calibration.collapsed}")
            log.warning("%s", problems[-1])
    return Discovery(served, tuple(problems), refusals)


def refusal(reason: str) -> str:
    """What an engine runner said when it refused an engine; empty for what Triton says, which names paths."""
    found = re.search(r"\bRefused: (.+)", reason)
    return found[1] if found else ""


def why(world: str, refusals: Mapping[str, str]) -> str:
    """Reasons for which models of a world were refused, each once."""
    reasons = dict.fromkeys(reason for model, reason in refusals.items() if model.startswith(f"{world}_"))
    return f": {'; '.join(reasons)}" if reasons else ""


def world_names(models: Iterable[str]) -> set[str]:
    """World names that the models' names speak of."""
    return {model.removesuffix(f"_{verb}") for model in models for verb in VERBS if model.endswith(f"_{verb}")}


class NotReady(Exception):
    """Engines of a world are not ready; the message lists their verbs, or the models that are engines."""


async def read_world(client: InferenceServerClient, name: str, ready: set[str]) -> Served:
    """Read one world's contract from the engines of all its verbs; NotReady, or ValueError if they disagree."""
    present = [verb for verb in VERBS if f"{name}_{verb}" in ready]
    configs = {verb: (await client.get_model_config(f"{name}_{verb}")).config for verb in present}
    engines = {model for config in configs.values() for model in engine_models(config)}
    if missing := sorted(engines - ready):
        raise NotReady(", ".join(missing))
    of_engines = [(await client.get_model_config(model)).config for model in engines]
    contracts = {config.parameters[CONTRACT_PARAMETER].string_value for config in [*configs.values(), *of_engines]}
    if not contracts:
        raise NotReady(", ".join(VERBS))
    if len(contracts) != 1:
        raise ValueError("its engines carry different contracts")
    world = World.model_validate_json(contracts.pop())
    if missing := [verb for verb in world.verbs if verb not in present]:
        raise NotReady(", ".join(missing))
    if world.name != name:
        raise ValueError(f"its contract is that of {world.name}")
    if world.calibration is not None and not world.calibration.holds_for(world.digests):
        log.warning("world %s: its calibration is not that of its engines, it is served as not calibrated", name)
        world = world.model_copy(update={"calibration": None})
    return Served(world, {verb: max(1, config.max_batch_size) for verb, config in configs.items()})


def engine_models(config: ModelConfig) -> list[str]:
    """Triton models that run the engines of a verb's model, where it does not run them itself."""
    said = config.parameters[ENGINES_PARAMETER].string_value if ENGINES_PARAMETER in config.parameters else "{}"
    return [engine["model"] for engine in json.loads(said).values()]
