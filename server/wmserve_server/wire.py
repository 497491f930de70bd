"""Between proto messages and the core's own: what both edges need, since HTTP takes the gRPC messages too.

Requests are checked by building the core's types, so the bounds stand in one place. An unset proto3 field is the
sentinel the proto names (0, empty) and becomes None.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message
from pydantic import BaseModel, ValidationError
from wmserve.arrays import ArrayError, from_tensor, to_tensor
from wmserve.v1 import world_model_pb2 as pb
from wmserve.world import World

from wmserve_server import messages as m
from wmserve_server.errors import InvalidArgument, WmserveError
from wmserve_server.versions import Versions

T = TypeVar("T", bound=BaseModel)
RADII = ("radius", "joint_radius", "readout_radius")
PLAN_NUMBERS = (
    "held_out_gap",
    "calibrated",
    "level",
    "ood",
    "ood_p_value",
    "disagreement_p_value",
    "trusted_horizon",
    "held_out_gap_p_value",
    "observation_p_value",
    "goal_p_value",
    "constraint_probability",
    "execute_steps",
    "p_value_resolution",
    "refusal_level",
)


def invalid(error: ValidationError) -> WmserveError:
    """The first thing that is wrong, by field, as this project's error."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    field = ".".join(str(part) for part in first["loc"] if isinstance(part, str | int))
    return InvalidArgument(first["msg"].removeprefix("Value error, "), field=field or None)


def build(model: type[T], values: dict[str, Any]) -> T:
    """Build a core message from what is set; InvalidArgument names the field."""
    return exactly(model, {name: value for name, value in values.items() if value is not None})


def exactly(model: type[T], values: dict[str, Any]) -> T:
    """Build a model from what is said, null included; InvalidArgument names the field."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise invalid(error) from None


def array(message: Any, name: str, field: str) -> Any:
    """Decode the tensor in field ``name`` if it is set."""
    if not message.HasField(name):
        return None
    try:
        return from_tensor(getattr(message, name))
    except ArrayError as error:
        raise InvalidArgument(str(error), field=field) from None


def observations(message: pb.Observations, field: str) -> dict[str, Any]:
    """Frames as fields of the core's ``Observations``."""
    felt = {"proprioception": array(message, "proprioception", f"{field}.proprioception")}
    if message.WhichOneof("frames") == "images":
        return {"images": tuple(message.images.files), **present(felt)}
    return present({"array": array(message, "array", field), **felt})


def present(values: dict[str, Any]) -> dict[str, Any]:
    """What is set."""
    return {name: value for name, value in values.items() if value is not None}


def context(message: pb.Context, field: str = "context") -> dict[str, Any]:
    """A context as fields of the core's ``Context``."""
    has_frames = message.HasField("observations")
    return present(
        {
            "observations": observations(message.observations, f"{field}.observations") if has_frames else None,
            "latents_id": message.latents_id if message.HasField("latents_id") else None,
            "latents": array(message, "latents", f"{field}.latents"),
            "action_history": array(message, "action_history", f"{field}.action_history"),
        }
    )


def goal(message: pb.Goal) -> dict[str, Any]:
    """A goal as fields of the core's ``Goal``."""
    has_frames, has_readouts = message.HasField("observation"), message.HasField("readouts")
    return present(
        {
            "observation": observations(message.observation, "goal.observation") if has_frames else None,
            "latents_id": message.latents_id if message.HasField("latents_id") else None,
            "latents": array(message, "latents", "goal.latents"),
            "readouts": dict(message.readouts.values) if has_readouts else None,
        }
    )


def planner(message: pb.PlannerOptions) -> dict[str, Any]:
    """Planner options; what is 0 or empty is left to the world."""
    counts = ("algorithm", "horizon", "candidate_count", "iterations", "elite_count", "hold_steps", "initial_std")
    options = {name: getattr(message, name) or None for name in counts}
    options["seed"] = message.seed if message.HasField("seed") else None
    options["warm_start"] = array(message, "warm_start", "planner.warm_start")
    return present(options)


def limits(message: pb.ActionLimits) -> dict[str, Any]:
    """Action limits; empty lists are left out."""
    return {name: list(values) for name in message.DESCRIPTOR.fields_by_name if (values := getattr(message, name))}


def constraint(message: pb.Constraint) -> dict[str, Any]:
    """A constraint; a risk of 0 is the default's."""
    if message.kind not in pb.ConstraintKind.values():
        raise InvalidArgument("no such kind of constraint", field="constraints.kind")
    kind = pb.ConstraintKind.Name(message.kind).removeprefix("CONSTRAINT_KIND_").lower()
    bounds = {name: (interval.low, interval.high) for name, interval in message.readouts.items()}
    return present({"kind": kind, "readouts": bounds, "risk": message.risk or None})


def guard(message: pb.Guard) -> dict[str, Any]:
    """What makes a plan be refused; what is 0 or unset is the default."""
    return present(
        {
            "level": message.level or None,
            "tolerance": message.tolerance or None,
            "penalty": message.penalty if message.HasField("penalty") else None,
            "refusal_level": message.refusal_level or None,
            "return_refused": message.return_refused,
        }
    )


def encode_request(message: pb.EncodeRequest) -> m.EncodeRequest:
    """Check and convert."""
    return build(
        m.EncodeRequest,
        {
            "world": message.world,
            "observations": observations(message.observations, "observations"),
            "return_latents": message.return_latents,
            "timeout_ms": message.timeout_ms or None,
            "session": message.session,
        },
    )


def rollout_request(message: pb.RolloutRequest) -> m.RolloutRequest:
    """Check and convert."""
    return build(
        m.RolloutRequest,
        {
            "world": message.world,
            "context": context(message.context),
            "actions": array(message, "actions", "actions"),
            "hidden": array(message, "hidden", "hidden"),
            "return_latents": message.return_latents,
            "timeout_ms": message.timeout_ms or None,
            "level": message.level or None,
            "tolerance": message.tolerance or None,
            "session": message.session,
        },
    )


def plan_request(message: pb.PlanRequest) -> m.PlanRequest:
    """Check and convert."""
    return build(
        m.PlanRequest,
        {
            "world": message.world,
            "context": context(message.context),
            "goal": goal(message.goal) if message.HasField("goal") else None,
            "planner": planner(message.planner),
            "limits": limits(message.limits),
            "deadline_ms": message.deadline_ms or None,
            "constraints": tuple(constraint(one) for one in message.constraints),
            "guard": guard(message.guard),
            "session": message.session,
            "execute_steps": message.execute_steps or None,
        },
    )


def encode_response(answer: m.EncodeResponse) -> pb.EncodeResponse:
    """Convert an answer."""
    return pb.EncodeResponse(
        version=answer.version,
        latents_id=answer.latents_id,
        expires_in_s=answer.expires_in_s,
        readouts=to_tensor(answer.readouts),
        latents=None if answer.latents is None else to_tensor(answer.latents),
        calibrated=answer.calibrated,
        ood=answer.ood,
        ood_p_value=answer.ood_p_value,
        p_value_resolution=answer.p_value_resolution,
    )


def radii(answer: m.RolloutResponse | m.PlanResponse) -> dict[str, Any]:
    """Those radii that there are."""
    return {name: to_tensor(radius) for name in RADII if (radius := getattr(answer, name)) is not None}


def rollout_response(answer: m.RolloutResponse) -> pb.RolloutResponse:
    """Convert an answer."""
    return pb.RolloutResponse(
        version=answer.version,
        disagreement=to_tensor(answer.disagreement),
        readouts=to_tensor(answer.readouts),
        latents=None if answer.latents is None else to_tensor(answer.latents),
        surprise=None if answer.surprise is None else to_tensor(answer.surprise),
        calibrated=answer.calibrated,
        level=answer.level,
        **radii(answer),
        ood=answer.ood,
        ood_p_value=answer.ood_p_value,
        disagreement_p_value=answer.disagreement_p_value,
        trusted_horizon=answer.trusted_horizon,
        p_value_resolution=answer.p_value_resolution,
    )


def plan_response(answer: m.PlanResponse) -> pb.PlanResponse:
    """Convert an answer."""
    return pb.PlanResponse(
        version=answer.version,
        status=f"PLAN_STATUS_{answer.status.upper()}",
        reasons=answer.reasons,
        actions=None if answer.actions is None else to_tensor(answer.actions),
        cost=answer.cost,
        cost_per_iteration=answer.cost_per_iteration,
        iterations=answer.iterations,
        stop_reason=f"STOP_REASON_{answer.stop_reason.upper()}",
        readouts=to_tensor(answer.readouts),
        disagreement=to_tensor(answer.disagreement),
        goal_distance=to_tensor(answer.goal_distance),
        seed=answer.seed,
        latents_id=answer.latents_id,
        goal_latents_id=answer.goal_latents_id,
        timing=pb.PlanTiming(**answer.timing.model_dump()),
        digests=pb.Digests(**answer.digests.model_dump()),
        decision_id=answer.decision_id,
        **{name: getattr(answer, name) for name in PLAN_NUMBERS},
        **radii(answer),
    )


def observe_request(message: pb.ObserveRequest) -> m.ObserveRequest:
    """Check and convert."""
    acted = None
    if message.HasField("acted"):
        done = message.acted
        acted = present({"context": context(done.context), "actions": array(done, "actions", "acted.actions")})
    return build(
        m.ObserveRequest,
        {
            "world": message.world,
            "decision_id": message.decision_id if message.HasField("decision_id") else None,
            "acted": acted,
            "observation": observations(message.observation, "observation"),
            "executed_steps": message.executed_steps or None,
            "session": message.session,
            "level": message.level or None,
            "timeout_ms": message.timeout_ms or None,
        },
    )


def observe_response(answer: m.ObserveResponse) -> pb.ObserveResponse:
    """Convert an answer."""
    return pb.ObserveResponse(**{**answer.model_dump(exclude_none=True), "readouts": to_tensor(answer.readouts)})


def control_request(message: pb.ControlRequest) -> m.ControlRequest:
    """Check and convert."""
    turn = message.WhichOneof("turn")
    return build(
        m.ControlRequest,
        {
            "plan": plan_request(message.plan) if turn == "plan" else None,
            "seen": context(message.seen, "seen") if turn == "seen" else None,
            "executed_steps": message.executed_steps if message.HasField("executed_steps") else None,
        },
    )


def control_response(answer: m.ControlResponse) -> pb.ControlResponse:
    """Convert an answer."""
    outcome = None if answer.outcome is None else observe_response(answer.outcome)
    return pb.ControlResponse(plan=plan_response(answer.plan), outcome=outcome)


def world(contract: World) -> pb.World:
    """A contract as a proto message: equal fields by equal names."""
    return ParseDict(contract.model_dump(exclude_none=True), pb.World())


def versions(found: Versions) -> pb.ListVersionsResponse:
    """Versions of a world as a proto message."""
    listed = []
    for number, one in sorted(found.worlds.items()):
        part, share = found.part(number)
        listed.append(
            pb.WorldVersion(
                version=number,
                part=part,
                share=share,
                created=one.created,
                calibrated=one.calibration is not None,
                calibration_created="" if one.calibration is None else one.calibration.created,
                digests=pb.Digests(**one.digests.model_dump()),
            )
        )
    return pb.ListVersionsResponse(versions=listed)


@dataclass(frozen=True)
class Verb:
    """One verb on the wire: the proto request and answer, and the way in and out of the core."""

    name: str
    proto: type[Message]
    answer: type[Message]
    request: type[m.Message]
    decode: Callable[[Any], Any]
    encode: Callable[[Any], Message]


VERBS = {
    "encode": Verb("encode", pb.EncodeRequest, pb.EncodeResponse, m.EncodeRequest, encode_request, encode_response),
    "rollout": Verb(
        "rollout", pb.RolloutRequest, pb.RolloutResponse, m.RolloutRequest, rollout_request, rollout_response
    ),
    "plan": Verb("plan", pb.PlanRequest, pb.PlanResponse, m.PlanRequest, plan_request, plan_response),
    "observe": Verb(
        "observe", pb.ObserveRequest, pb.ObserveResponse, m.ObserveRequest, observe_request, observe_response
    ),
}
