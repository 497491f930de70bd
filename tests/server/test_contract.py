"""The contract has one shape: the JSON that travels with the engines and the proto message say the same."""

from types import NoneType
from typing import Any, get_args

from google.protobuf.descriptor import Descriptor
from google.protobuf.json_format import MessageToDict
from pydantic import BaseModel
from wmserve.v1 import world_model_pb2 as pb
from wmserve.world import World
from wmserve_server import wire

from tests.worlds import make_world


def fields(model: type[BaseModel]) -> set[str]:
    return set(model.model_fields)


def test_proto_and_json_have_equal_fields() -> None:
    """World and each of its parts have the same field names on both sides."""
    parts: dict[str, Any] = {
        "observation": "ObservationSpec",
        "action": "ActionSpec",
        "goal_metric": "GoalMetric",
        "planner": "PlannerDefaults",
        "digests": "Digests",
        "target": "Target",
    }
    messages = pb.DESCRIPTOR.message_types_by_name

    def names(descriptor: Descriptor) -> set[str]:
        return set(descriptor.fields_by_name)

    assert names(messages["World"]) == fields(World)
    for field, message in parts.items():
        annotation = World.model_fields[field].annotation
        part = next(one for one in (*get_args(annotation), annotation) if isinstance(one, type) and one is not NoneType)
        assert names(messages[message]) == fields(part), message


def test_world_survives_the_proto() -> None:
    """A contract turned into proto and back is the same contract."""
    world = make_world()
    message = wire.world(world)
    back = MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    back["plan_budget"] = int(back["plan_budget"])  # JSON writes 64-bit integers as strings
    assert World.model_validate(back) == world


def test_contract_survives_its_json() -> None:
    """What the exporter writes is what the gateway reads."""
    world = make_world()
    assert World.model_validate_json(world.model_dump_json()) == world
