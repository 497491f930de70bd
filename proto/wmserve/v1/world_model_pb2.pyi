from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DataType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DATA_TYPE_UNSPECIFIED: _ClassVar[DataType]
    DATA_TYPE_UINT8: _ClassVar[DataType]
    DATA_TYPE_INT32: _ClassVar[DataType]
    DATA_TYPE_INT64: _ClassVar[DataType]
    DATA_TYPE_FLOAT16: _ClassVar[DataType]
    DATA_TYPE_FLOAT32: _ClassVar[DataType]
    DATA_TYPE_FLOAT64: _ClassVar[DataType]

class ConstraintKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CONSTRAINT_KIND_UNSPECIFIED: _ClassVar[ConstraintKind]
    CONSTRAINT_KIND_KEEP_OUT: _ClassVar[ConstraintKind]
    CONSTRAINT_KIND_KEEP_IN: _ClassVar[ConstraintKind]

class PlanStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PLAN_STATUS_UNSPECIFIED: _ClassVar[PlanStatus]
    PLAN_STATUS_OK: _ClassVar[PlanStatus]
    PLAN_STATUS_REFUSED: _ClassVar[PlanStatus]

class StopReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STOP_REASON_UNSPECIFIED: _ClassVar[StopReason]
    STOP_REASON_ITERATIONS: _ClassVar[StopReason]
    STOP_REASON_DEADLINE: _ClassVar[StopReason]
    STOP_REASON_CONVERGED: _ClassVar[StopReason]
DATA_TYPE_UNSPECIFIED: DataType
DATA_TYPE_UINT8: DataType
DATA_TYPE_INT32: DataType
DATA_TYPE_INT64: DataType
DATA_TYPE_FLOAT16: DataType
DATA_TYPE_FLOAT32: DataType
DATA_TYPE_FLOAT64: DataType
CONSTRAINT_KIND_UNSPECIFIED: ConstraintKind
CONSTRAINT_KIND_KEEP_OUT: ConstraintKind
CONSTRAINT_KIND_KEEP_IN: ConstraintKind
PLAN_STATUS_UNSPECIFIED: PlanStatus
PLAN_STATUS_OK: PlanStatus
PLAN_STATUS_REFUSED: PlanStatus
STOP_REASON_UNSPECIFIED: StopReason
STOP_REASON_ITERATIONS: StopReason
STOP_REASON_DEADLINE: StopReason
STOP_REASON_CONVERGED: StopReason

class Tensor(_message.Message):
    __slots__ = ("dtype", "shape", "data")
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    dtype: DataType
    shape: _containers.RepeatedScalarFieldContainer[int]
    data: bytes
    def __init__(self, dtype: _Optional[_Union[DataType, str]] = ..., shape: _Optional[_Iterable[int]] = ..., data: _Optional[bytes] = ...) -> None: ...

class Observations(_message.Message):
    __slots__ = ("array", "images", "proprioception")
    ARRAY_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    PROPRIOCEPTION_FIELD_NUMBER: _ClassVar[int]
    array: Tensor
    images: Images
    proprioception: Tensor
    def __init__(self, array: _Optional[_Union[Tensor, _Mapping]] = ..., images: _Optional[_Union[Images, _Mapping]] = ..., proprioception: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...

class Images(_message.Message):
    __slots__ = ("files",)
    FILES_FIELD_NUMBER: _ClassVar[int]
    files: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, files: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Context(_message.Message):
    __slots__ = ("observations", "latents_id", "latents", "action_history")
    OBSERVATIONS_FIELD_NUMBER: _ClassVar[int]
    LATENTS_ID_FIELD_NUMBER: _ClassVar[int]
    LATENTS_FIELD_NUMBER: _ClassVar[int]
    ACTION_HISTORY_FIELD_NUMBER: _ClassVar[int]
    observations: Observations
    latents_id: str
    latents: Tensor
    action_history: Tensor
    def __init__(self, observations: _Optional[_Union[Observations, _Mapping]] = ..., latents_id: _Optional[str] = ..., latents: _Optional[_Union[Tensor, _Mapping]] = ..., action_history: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...

class ListWorldsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListWorldsResponse(_message.Message):
    __slots__ = ("worlds",)
    WORLDS_FIELD_NUMBER: _ClassVar[int]
    worlds: _containers.RepeatedCompositeFieldContainer[World]
    def __init__(self, worlds: _Optional[_Iterable[_Union[World, _Mapping]]] = ...) -> None: ...

class GetWorldRequest(_message.Message):
    __slots__ = ("world",)
    WORLD_FIELD_NUMBER: _ClassVar[int]
    world: str
    def __init__(self, world: _Optional[str] = ...) -> None: ...

class ListVersionsResponse(_message.Message):
    __slots__ = ("versions",)
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    versions: _containers.RepeatedCompositeFieldContainer[WorldVersion]
    def __init__(self, versions: _Optional[_Iterable[_Union[WorldVersion, _Mapping]]] = ...) -> None: ...

class WorldVersion(_message.Message):
    __slots__ = ("version", "part", "share", "created", "calibrated", "calibration_created", "digests")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    CALIBRATED_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_CREATED_FIELD_NUMBER: _ClassVar[int]
    DIGESTS_FIELD_NUMBER: _ClassVar[int]
    version: int
    part: str
    share: float
    created: str
    calibrated: bool
    calibration_created: str
    digests: Digests
    def __init__(self, version: _Optional[int] = ..., part: _Optional[str] = ..., share: _Optional[float] = ..., created: _Optional[str] = ..., calibrated: bool = ..., calibration_created: _Optional[str] = ..., digests: _Optional[_Union[Digests, _Mapping]] = ...) -> None: ...

class EncodeRequest(_message.Message):
    __slots__ = ("world", "observations", "return_latents", "timeout_ms", "session")
    WORLD_FIELD_NUMBER: _ClassVar[int]
    OBSERVATIONS_FIELD_NUMBER: _ClassVar[int]
    RETURN_LATENTS_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    world: str
    observations: Observations
    return_latents: bool
    timeout_ms: int
    session: str
    def __init__(self, world: _Optional[str] = ..., observations: _Optional[_Union[Observations, _Mapping]] = ..., return_latents: bool = ..., timeout_ms: _Optional[int] = ..., session: _Optional[str] = ...) -> None: ...

class EncodeResponse(_message.Message):
    __slots__ = ("latents_id", "expires_in_s", "readouts", "latents", "calibrated", "ood", "ood_p_value", "p_value_resolution", "version")
    LATENTS_ID_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_IN_S_FIELD_NUMBER: _ClassVar[int]
    READOUTS_FIELD_NUMBER: _ClassVar[int]
    LATENTS_FIELD_NUMBER: _ClassVar[int]
    CALIBRATED_FIELD_NUMBER: _ClassVar[int]
    OOD_FIELD_NUMBER: _ClassVar[int]
    OOD_P_VALUE_FIELD_NUMBER: _ClassVar[int]
    P_VALUE_RESOLUTION_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    latents_id: str
    expires_in_s: float
    readouts: Tensor
    latents: Tensor
    calibrated: bool
    ood: _containers.RepeatedScalarFieldContainer[float]
    ood_p_value: _containers.RepeatedScalarFieldContainer[float]
    p_value_resolution: float
    version: int
    def __init__(self, latents_id: _Optional[str] = ..., expires_in_s: _Optional[float] = ..., readouts: _Optional[_Union[Tensor, _Mapping]] = ..., latents: _Optional[_Union[Tensor, _Mapping]] = ..., calibrated: bool = ..., ood: _Optional[_Iterable[float]] = ..., ood_p_value: _Optional[_Iterable[float]] = ..., p_value_resolution: _Optional[float] = ..., version: _Optional[int] = ...) -> None: ...

class RolloutRequest(_message.Message):
    __slots__ = ("world", "context", "actions", "return_latents", "timeout_ms", "level", "tolerance", "hidden", "session")
    WORLD_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    RETURN_LATENTS_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    HIDDEN_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    world: str
    context: Context
    actions: Tensor
    return_latents: bool
    timeout_ms: int
    level: float
    tolerance: float
    hidden: Tensor
    session: str
    def __init__(self, world: _Optional[str] = ..., context: _Optional[_Union[Context, _Mapping]] = ..., actions: _Optional[_Union[Tensor, _Mapping]] = ..., return_latents: bool = ..., timeout_ms: _Optional[int] = ..., level: _Optional[float] = ..., tolerance: _Optional[float] = ..., hidden: _Optional[_Union[Tensor, _Mapping]] = ..., session: _Optional[str] = ...) -> None: ...

class RolloutResponse(_message.Message):
    __slots__ = ("disagreement", "readouts", "latents", "calibrated", "level", "radius", "joint_radius", "readout_radius", "ood", "ood_p_value", "trusted_horizon", "disagreement_p_value", "surprise", "p_value_resolution", "version")
    DISAGREEMENT_FIELD_NUMBER: _ClassVar[int]
    READOUTS_FIELD_NUMBER: _ClassVar[int]
    LATENTS_FIELD_NUMBER: _ClassVar[int]
    CALIBRATED_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    RADIUS_FIELD_NUMBER: _ClassVar[int]
    JOINT_RADIUS_FIELD_NUMBER: _ClassVar[int]
    READOUT_RADIUS_FIELD_NUMBER: _ClassVar[int]
    OOD_FIELD_NUMBER: _ClassVar[int]
    OOD_P_VALUE_FIELD_NUMBER: _ClassVar[int]
    TRUSTED_HORIZON_FIELD_NUMBER: _ClassVar[int]
    DISAGREEMENT_P_VALUE_FIELD_NUMBER: _ClassVar[int]
    SURPRISE_FIELD_NUMBER: _ClassVar[int]
    P_VALUE_RESOLUTION_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    disagreement: Tensor
    readouts: Tensor
    latents: Tensor
    calibrated: bool
    level: float
    radius: Tensor
    joint_radius: Tensor
    readout_radius: Tensor
    ood: _containers.RepeatedScalarFieldContainer[float]
    ood_p_value: _containers.RepeatedScalarFieldContainer[float]
    trusted_horizon: _containers.RepeatedScalarFieldContainer[int]
    disagreement_p_value: _containers.RepeatedScalarFieldContainer[float]
    surprise: Tensor
    p_value_resolution: float
    version: int
    def __init__(self, disagreement: _Optional[_Union[Tensor, _Mapping]] = ..., readouts: _Optional[_Union[Tensor, _Mapping]] = ..., latents: _Optional[_Union[Tensor, _Mapping]] = ..., calibrated: bool = ..., level: _Optional[float] = ..., radius: _Optional[_Union[Tensor, _Mapping]] = ..., joint_radius: _Optional[_Union[Tensor, _Mapping]] = ..., readout_radius: _Optional[_Union[Tensor, _Mapping]] = ..., ood: _Optional[_Iterable[float]] = ..., ood_p_value: _Optional[_Iterable[float]] = ..., trusted_horizon: _Optional[_Iterable[int]] = ..., disagreement_p_value: _Optional[_Iterable[float]] = ..., surprise: _Optional[_Union[Tensor, _Mapping]] = ..., p_value_resolution: _Optional[float] = ..., version: _Optional[int] = ...) -> None: ...

class Goal(_message.Message):
    __slots__ = ("observation", "latents_id", "latents", "readouts")
    OBSERVATION_FIELD_NUMBER: _ClassVar[int]
    LATENTS_ID_FIELD_NUMBER: _ClassVar[int]
    LATENTS_FIELD_NUMBER: _ClassVar[int]
    READOUTS_FIELD_NUMBER: _ClassVar[int]
    observation: Observations
    latents_id: str
    latents: Tensor
    readouts: ReadoutTargets
    def __init__(self, observation: _Optional[_Union[Observations, _Mapping]] = ..., latents_id: _Optional[str] = ..., latents: _Optional[_Union[Tensor, _Mapping]] = ..., readouts: _Optional[_Union[ReadoutTargets, _Mapping]] = ...) -> None: ...

class ReadoutTargets(_message.Message):
    __slots__ = ("values",)
    class ValuesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.ScalarMap[str, float]
    def __init__(self, values: _Optional[_Mapping[str, float]] = ...) -> None: ...

class PlannerOptions(_message.Message):
    __slots__ = ("algorithm", "horizon", "candidate_count", "iterations", "elite_count", "hold_steps", "initial_std", "seed", "warm_start")
    ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    HORIZON_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_COUNT_FIELD_NUMBER: _ClassVar[int]
    ITERATIONS_FIELD_NUMBER: _ClassVar[int]
    ELITE_COUNT_FIELD_NUMBER: _ClassVar[int]
    HOLD_STEPS_FIELD_NUMBER: _ClassVar[int]
    INITIAL_STD_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    WARM_START_FIELD_NUMBER: _ClassVar[int]
    algorithm: str
    horizon: int
    candidate_count: int
    iterations: int
    elite_count: int
    hold_steps: int
    initial_std: float
    seed: int
    warm_start: Tensor
    def __init__(self, algorithm: _Optional[str] = ..., horizon: _Optional[int] = ..., candidate_count: _Optional[int] = ..., iterations: _Optional[int] = ..., elite_count: _Optional[int] = ..., hold_steps: _Optional[int] = ..., initial_std: _Optional[float] = ..., seed: _Optional[int] = ..., warm_start: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...

class ActionLimits(_message.Message):
    __slots__ = ("low", "high", "max_rate", "previous_action")
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    MAX_RATE_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_ACTION_FIELD_NUMBER: _ClassVar[int]
    low: _containers.RepeatedScalarFieldContainer[float]
    high: _containers.RepeatedScalarFieldContainer[float]
    max_rate: _containers.RepeatedScalarFieldContainer[float]
    previous_action: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, low: _Optional[_Iterable[float]] = ..., high: _Optional[_Iterable[float]] = ..., max_rate: _Optional[_Iterable[float]] = ..., previous_action: _Optional[_Iterable[float]] = ...) -> None: ...

class Constraint(_message.Message):
    __slots__ = ("kind", "readouts", "risk")
    class ReadoutsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Interval
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Interval, _Mapping]] = ...) -> None: ...
    KIND_FIELD_NUMBER: _ClassVar[int]
    READOUTS_FIELD_NUMBER: _ClassVar[int]
    RISK_FIELD_NUMBER: _ClassVar[int]
    kind: ConstraintKind
    readouts: _containers.MessageMap[str, Interval]
    risk: float
    def __init__(self, kind: _Optional[_Union[ConstraintKind, str]] = ..., readouts: _Optional[_Mapping[str, Interval]] = ..., risk: _Optional[float] = ...) -> None: ...

class Interval(_message.Message):
    __slots__ = ("low", "high")
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    low: float
    high: float
    def __init__(self, low: _Optional[float] = ..., high: _Optional[float] = ...) -> None: ...

class Guard(_message.Message):
    __slots__ = ("level", "tolerance", "penalty", "refusal_level", "return_refused")
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    PENALTY_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_LEVEL_FIELD_NUMBER: _ClassVar[int]
    RETURN_REFUSED_FIELD_NUMBER: _ClassVar[int]
    level: float
    tolerance: float
    penalty: float
    refusal_level: float
    return_refused: bool
    def __init__(self, level: _Optional[float] = ..., tolerance: _Optional[float] = ..., penalty: _Optional[float] = ..., refusal_level: _Optional[float] = ..., return_refused: bool = ...) -> None: ...

class PlanRequest(_message.Message):
    __slots__ = ("world", "context", "goal", "planner", "limits", "deadline_ms", "guard", "session", "constraints", "execute_steps")
    WORLD_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    GOAL_FIELD_NUMBER: _ClassVar[int]
    PLANNER_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    GUARD_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    CONSTRAINTS_FIELD_NUMBER: _ClassVar[int]
    EXECUTE_STEPS_FIELD_NUMBER: _ClassVar[int]
    world: str
    context: Context
    goal: Goal
    planner: PlannerOptions
    limits: ActionLimits
    deadline_ms: int
    guard: Guard
    session: str
    constraints: _containers.RepeatedCompositeFieldContainer[Constraint]
    execute_steps: int
    def __init__(self, world: _Optional[str] = ..., context: _Optional[_Union[Context, _Mapping]] = ..., goal: _Optional[_Union[Goal, _Mapping]] = ..., planner: _Optional[_Union[PlannerOptions, _Mapping]] = ..., limits: _Optional[_Union[ActionLimits, _Mapping]] = ..., deadline_ms: _Optional[int] = ..., guard: _Optional[_Union[Guard, _Mapping]] = ..., session: _Optional[str] = ..., constraints: _Optional[_Iterable[_Union[Constraint, _Mapping]]] = ..., execute_steps: _Optional[int] = ...) -> None: ...

class PlanTiming(_message.Message):
    __slots__ = ("encode_ms", "cost_ms", "search_ms", "total_ms")
    ENCODE_MS_FIELD_NUMBER: _ClassVar[int]
    COST_MS_FIELD_NUMBER: _ClassVar[int]
    SEARCH_MS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_MS_FIELD_NUMBER: _ClassVar[int]
    encode_ms: float
    cost_ms: float
    search_ms: float
    total_ms: float
    def __init__(self, encode_ms: _Optional[float] = ..., cost_ms: _Optional[float] = ..., search_ms: _Optional[float] = ..., total_ms: _Optional[float] = ...) -> None: ...

class PlanResponse(_message.Message):
    __slots__ = ("actions", "cost", "cost_per_iteration", "iterations", "stop_reason", "readouts", "disagreement", "goal_distance", "seed", "latents_id", "goal_latents_id", "timing", "digests", "decision_id", "status", "reasons", "held_out_gap", "calibrated", "level", "radius", "joint_radius", "readout_radius", "ood", "ood_p_value", "trusted_horizon", "held_out_gap_p_value", "observation_p_value", "goal_p_value", "constraint_probability", "disagreement_p_value", "execute_steps", "p_value_resolution", "refusal_level", "version")
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    COST_PER_ITERATION_FIELD_NUMBER: _ClassVar[int]
    ITERATIONS_FIELD_NUMBER: _ClassVar[int]
    STOP_REASON_FIELD_NUMBER: _ClassVar[int]
    READOUTS_FIELD_NUMBER: _ClassVar[int]
    DISAGREEMENT_FIELD_NUMBER: _ClassVar[int]
    GOAL_DISTANCE_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    LATENTS_ID_FIELD_NUMBER: _ClassVar[int]
    GOAL_LATENTS_ID_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    DIGESTS_FIELD_NUMBER: _ClassVar[int]
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    HELD_OUT_GAP_FIELD_NUMBER: _ClassVar[int]
    CALIBRATED_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    RADIUS_FIELD_NUMBER: _ClassVar[int]
    JOINT_RADIUS_FIELD_NUMBER: _ClassVar[int]
    READOUT_RADIUS_FIELD_NUMBER: _ClassVar[int]
    OOD_FIELD_NUMBER: _ClassVar[int]
    OOD_P_VALUE_FIELD_NUMBER: _ClassVar[int]
    TRUSTED_HORIZON_FIELD_NUMBER: _ClassVar[int]
    HELD_OUT_GAP_P_VALUE_FIELD_NUMBER: _ClassVar[int]
    OBSERVATION_P_VALUE_FIELD_NUMBER: _ClassVar[int]
    GOAL_P_VALUE_FIELD_NUMBER: _ClassVar[int]
    CONSTRAINT_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    DISAGREEMENT_P_VALUE_FIELD_NUMBER: _ClassVar[int]
    EXECUTE_STEPS_FIELD_NUMBER: _ClassVar[int]
    P_VALUE_RESOLUTION_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_LEVEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    actions: Tensor
    cost: float
    cost_per_iteration: _containers.RepeatedScalarFieldContainer[float]
    iterations: int
    stop_reason: StopReason
    readouts: Tensor
    disagreement: Tensor
    goal_distance: Tensor
    seed: int
    latents_id: str
    goal_latents_id: str
    timing: PlanTiming
    digests: Digests
    decision_id: str
    status: PlanStatus
    reasons: _containers.RepeatedScalarFieldContainer[str]
    held_out_gap: float
    calibrated: bool
    level: float
    radius: Tensor
    joint_radius: Tensor
    readout_radius: Tensor
    ood: float
    ood_p_value: float
    trusted_horizon: int
    held_out_gap_p_value: float
    observation_p_value: float
    goal_p_value: float
    constraint_probability: _containers.RepeatedScalarFieldContainer[float]
    disagreement_p_value: float
    execute_steps: int
    p_value_resolution: float
    refusal_level: float
    version: int
    def __init__(self, actions: _Optional[_Union[Tensor, _Mapping]] = ..., cost: _Optional[float] = ..., cost_per_iteration: _Optional[_Iterable[float]] = ..., iterations: _Optional[int] = ..., stop_reason: _Optional[_Union[StopReason, str]] = ..., readouts: _Optional[_Union[Tensor, _Mapping]] = ..., disagreement: _Optional[_Union[Tensor, _Mapping]] = ..., goal_distance: _Optional[_Union[Tensor, _Mapping]] = ..., seed: _Optional[int] = ..., latents_id: _Optional[str] = ..., goal_latents_id: _Optional[str] = ..., timing: _Optional[_Union[PlanTiming, _Mapping]] = ..., digests: _Optional[_Union[Digests, _Mapping]] = ..., decision_id: _Optional[str] = ..., status: _Optional[_Union[PlanStatus, str]] = ..., reasons: _Optional[_Iterable[str]] = ..., held_out_gap: _Optional[float] = ..., calibrated: bool = ..., level: _Optional[float] = ..., radius: _Optional[_Union[Tensor, _Mapping]] = ..., joint_radius: _Optional[_Union[Tensor, _Mapping]] = ..., readout_radius: _Optional[_Union[Tensor, _Mapping]] = ..., ood: _Optional[float] = ..., ood_p_value: _Optional[float] = ..., trusted_horizon: _Optional[int] = ..., held_out_gap_p_value: _Optional[float] = ..., observation_p_value: _Optional[float] = ..., goal_p_value: _Optional[float] = ..., constraint_probability: _Optional[_Iterable[float]] = ..., disagreement_p_value: _Optional[float] = ..., execute_steps: _Optional[int] = ..., p_value_resolution: _Optional[float] = ..., refusal_level: _Optional[float] = ..., version: _Optional[int] = ...) -> None: ...

class Acted(_message.Message):
    __slots__ = ("context", "actions")
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    context: Context
    actions: Tensor
    def __init__(self, context: _Optional[_Union[Context, _Mapping]] = ..., actions: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...

class ObserveRequest(_message.Message):
    __slots__ = ("world", "decision_id", "acted", "observation", "executed_steps", "session", "level", "timeout_ms")
    WORLD_FIELD_NUMBER: _ClassVar[int]
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    ACTED_FIELD_NUMBER: _ClassVar[int]
    OBSERVATION_FIELD_NUMBER: _ClassVar[int]
    EXECUTED_STEPS_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    world: str
    decision_id: str
    acted: Acted
    observation: Observations
    executed_steps: int
    session: str
    level: float
    timeout_ms: int
    def __init__(self, world: _Optional[str] = ..., decision_id: _Optional[str] = ..., acted: _Optional[_Union[Acted, _Mapping]] = ..., observation: _Optional[_Union[Observations, _Mapping]] = ..., executed_steps: _Optional[int] = ..., session: _Optional[str] = ..., level: _Optional[float] = ..., timeout_ms: _Optional[int] = ...) -> None: ...

class ObserveResponse(_message.Message):
    __slots__ = ("latents_id", "expires_in_s", "readouts", "error", "calibrated", "ood", "ood_p_value", "expected_error", "surprise", "surprise_p_value", "radius", "covered", "observed", "coverage", "evidence", "changed", "p_value_resolution", "version")
    LATENTS_ID_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_IN_S_FIELD_NUMBER: _ClassVar[int]
    READOUTS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    CALIBRATED_FIELD_NUMBER: _ClassVar[int]
    OOD_FIELD_NUMBER: _ClassVar[int]
    OOD_P_VALUE_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_ERROR_FIELD_NUMBER: _ClassVar[int]
    SURPRISE_FIELD_NUMBER: _ClassVar[int]
    SURPRISE_P_VALUE_FIELD_NUMBER: _ClassVar[int]
    RADIUS_FIELD_NUMBER: _ClassVar[int]
    COVERED_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_FIELD_NUMBER: _ClassVar[int]
    COVERAGE_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    P_VALUE_RESOLUTION_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    latents_id: str
    expires_in_s: float
    readouts: Tensor
    error: float
    calibrated: bool
    ood: float
    ood_p_value: float
    expected_error: float
    surprise: float
    surprise_p_value: float
    radius: float
    covered: bool
    observed: int
    coverage: float
    evidence: float
    changed: bool
    p_value_resolution: float
    version: int
    def __init__(self, latents_id: _Optional[str] = ..., expires_in_s: _Optional[float] = ..., readouts: _Optional[_Union[Tensor, _Mapping]] = ..., error: _Optional[float] = ..., calibrated: bool = ..., ood: _Optional[float] = ..., ood_p_value: _Optional[float] = ..., expected_error: _Optional[float] = ..., surprise: _Optional[float] = ..., surprise_p_value: _Optional[float] = ..., radius: _Optional[float] = ..., covered: bool = ..., observed: _Optional[int] = ..., coverage: _Optional[float] = ..., evidence: _Optional[float] = ..., changed: bool = ..., p_value_resolution: _Optional[float] = ..., version: _Optional[int] = ...) -> None: ...

class ControlRequest(_message.Message):
    __slots__ = ("plan", "seen", "executed_steps")
    PLAN_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    EXECUTED_STEPS_FIELD_NUMBER: _ClassVar[int]
    plan: PlanRequest
    seen: Context
    executed_steps: int
    def __init__(self, plan: _Optional[_Union[PlanRequest, _Mapping]] = ..., seen: _Optional[_Union[Context, _Mapping]] = ..., executed_steps: _Optional[int] = ...) -> None: ...

class ControlResponse(_message.Message):
    __slots__ = ("plan", "outcome")
    PLAN_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    plan: PlanResponse
    outcome: ObserveResponse
    def __init__(self, plan: _Optional[_Union[PlanResponse, _Mapping]] = ..., outcome: _Optional[_Union[ObserveResponse, _Mapping]] = ...) -> None: ...

class World(_message.Message):
    __slots__ = ("contract_version", "name", "family", "description", "observation", "action", "context_length", "latent_shape", "ensemble_size", "horizon_limit", "engine_horizons", "candidate_limit", "plan_budget", "readouts", "goal_metric", "planner", "digests", "plan_precision", "calibration", "search_members", "verbs", "target", "reference_checked", "reference", "served_anyway", "version", "created")
    CONTRACT_VERSION_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    OBSERVATION_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_LENGTH_FIELD_NUMBER: _ClassVar[int]
    LATENT_SHAPE_FIELD_NUMBER: _ClassVar[int]
    ENSEMBLE_SIZE_FIELD_NUMBER: _ClassVar[int]
    HORIZON_LIMIT_FIELD_NUMBER: _ClassVar[int]
    ENGINE_HORIZONS_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_LIMIT_FIELD_NUMBER: _ClassVar[int]
    PLAN_BUDGET_FIELD_NUMBER: _ClassVar[int]
    READOUTS_FIELD_NUMBER: _ClassVar[int]
    GOAL_METRIC_FIELD_NUMBER: _ClassVar[int]
    PLANNER_FIELD_NUMBER: _ClassVar[int]
    DIGESTS_FIELD_NUMBER: _ClassVar[int]
    PLAN_PRECISION_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_FIELD_NUMBER: _ClassVar[int]
    SEARCH_MEMBERS_FIELD_NUMBER: _ClassVar[int]
    VERBS_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_CHECKED_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    SERVED_ANYWAY_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    contract_version: int
    name: str
    family: str
    description: str
    observation: ObservationSpec
    action: ActionSpec
    context_length: int
    latent_shape: _containers.RepeatedScalarFieldContainer[int]
    ensemble_size: int
    horizon_limit: int
    engine_horizons: _containers.RepeatedScalarFieldContainer[int]
    candidate_limit: int
    plan_budget: int
    readouts: _containers.RepeatedCompositeFieldContainer[Readout]
    goal_metric: GoalMetric
    planner: PlannerDefaults
    digests: Digests
    plan_precision: str
    calibration: Calibration
    search_members: int
    verbs: _containers.RepeatedScalarFieldContainer[str]
    target: Target
    reference_checked: bool
    reference: str
    served_anyway: ServedAnyway
    version: int
    created: str
    def __init__(self, contract_version: _Optional[int] = ..., name: _Optional[str] = ..., family: _Optional[str] = ..., description: _Optional[str] = ..., observation: _Optional[_Union[ObservationSpec, _Mapping]] = ..., action: _Optional[_Union[ActionSpec, _Mapping]] = ..., context_length: _Optional[int] = ..., latent_shape: _Optional[_Iterable[int]] = ..., ensemble_size: _Optional[int] = ..., horizon_limit: _Optional[int] = ..., engine_horizons: _Optional[_Iterable[int]] = ..., candidate_limit: _Optional[int] = ..., plan_budget: _Optional[int] = ..., readouts: _Optional[_Iterable[_Union[Readout, _Mapping]]] = ..., goal_metric: _Optional[_Union[GoalMetric, _Mapping]] = ..., planner: _Optional[_Union[PlannerDefaults, _Mapping]] = ..., digests: _Optional[_Union[Digests, _Mapping]] = ..., plan_precision: _Optional[str] = ..., calibration: _Optional[_Union[Calibration, _Mapping]] = ..., search_members: _Optional[int] = ..., verbs: _Optional[_Iterable[str]] = ..., target: _Optional[_Union[Target, _Mapping]] = ..., reference_checked: bool = ..., reference: _Optional[str] = ..., served_anyway: _Optional[_Union[ServedAnyway, _Mapping]] = ..., version: _Optional[int] = ..., created: _Optional[str] = ...) -> None: ...

class ServedAnyway(_message.Message):
    __slots__ = ("finding", "since")
    FINDING_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    finding: str
    since: str
    def __init__(self, finding: _Optional[str] = ..., since: _Optional[str] = ...) -> None: ...

class Target(_message.Message):
    __slots__ = ("name", "dtype", "builder", "compute_capabilities")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    BUILDER_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    name: str
    dtype: str
    builder: str
    compute_capabilities: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., dtype: _Optional[str] = ..., builder: _Optional[str] = ..., compute_capabilities: _Optional[_Iterable[str]] = ...) -> None: ...

class Calibration(_message.Message):
    __slots__ = ("digest", "engines", "files", "created", "trajectories", "tolerance", "levels", "disagreement_scale", "quantiles", "effective_rank", "smallest_std", "planned", "collapsed", "distance_scale", "health")
    class EnginesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class FilesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    ENGINES_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    TRAJECTORIES_FIELD_NUMBER: _ClassVar[int]
    TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    LEVELS_FIELD_NUMBER: _ClassVar[int]
    DISAGREEMENT_SCALE_FIELD_NUMBER: _ClassVar[int]
    QUANTILES_FIELD_NUMBER: _ClassVar[int]
    EFFECTIVE_RANK_FIELD_NUMBER: _ClassVar[int]
    SMALLEST_STD_FIELD_NUMBER: _ClassVar[int]
    PLANNED_FIELD_NUMBER: _ClassVar[int]
    COLLAPSED_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_SCALE_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    digest: str
    engines: _containers.ScalarMap[str, str]
    files: _containers.ScalarMap[str, str]
    created: str
    trajectories: int
    tolerance: float
    levels: _containers.RepeatedCompositeFieldContainer[CalibrationLevel]
    disagreement_scale: _containers.RepeatedScalarFieldContainer[float]
    quantiles: CalibrationQuantiles
    effective_rank: float
    smallest_std: float
    planned: CalibrationPlanned
    collapsed: str
    distance_scale: _containers.RepeatedScalarFieldContainer[float]
    health: CalibrationHealth
    def __init__(self, digest: _Optional[str] = ..., engines: _Optional[_Mapping[str, str]] = ..., files: _Optional[_Mapping[str, str]] = ..., created: _Optional[str] = ..., trajectories: _Optional[int] = ..., tolerance: _Optional[float] = ..., levels: _Optional[_Iterable[_Union[CalibrationLevel, _Mapping]]] = ..., disagreement_scale: _Optional[_Iterable[float]] = ..., quantiles: _Optional[_Union[CalibrationQuantiles, _Mapping]] = ..., effective_rank: _Optional[float] = ..., smallest_std: _Optional[float] = ..., planned: _Optional[_Union[CalibrationPlanned, _Mapping]] = ..., collapsed: _Optional[str] = ..., distance_scale: _Optional[_Iterable[float]] = ..., health: _Optional[_Union[CalibrationHealth, _Mapping]] = ...) -> None: ...

class CalibrationHealth(_message.Message):
    __slots__ = ("deviation", "rank", "dimension", "reference_dimension", "nearest", "reference_nearest", "copying", "told_apart")
    DEVIATION_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_DIMENSION_FIELD_NUMBER: _ClassVar[int]
    NEAREST_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_NEAREST_FIELD_NUMBER: _ClassVar[int]
    COPYING_FIELD_NUMBER: _ClassVar[int]
    TOLD_APART_FIELD_NUMBER: _ClassVar[int]
    deviation: float
    rank: float
    dimension: float
    reference_dimension: float
    nearest: float
    reference_nearest: float
    copying: float
    told_apart: float
    def __init__(self, deviation: _Optional[float] = ..., rank: _Optional[float] = ..., dimension: _Optional[float] = ..., reference_dimension: _Optional[float] = ..., nearest: _Optional[float] = ..., reference_nearest: _Optional[float] = ..., copying: _Optional[float] = ..., told_apart: _Optional[float] = ...) -> None: ...

class CalibrationPlanned(_message.Message):
    __slots__ = ("plans", "levels", "ood", "disagreement", "held_out_gap", "distance", "executed")
    PLANS_FIELD_NUMBER: _ClassVar[int]
    LEVELS_FIELD_NUMBER: _ClassVar[int]
    OOD_FIELD_NUMBER: _ClassVar[int]
    DISAGREEMENT_FIELD_NUMBER: _ClassVar[int]
    HELD_OUT_GAP_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_FIELD_NUMBER: _ClassVar[int]
    EXECUTED_FIELD_NUMBER: _ClassVar[int]
    plans: int
    levels: _containers.RepeatedCompositeFieldContainer[CalibrationLevel]
    ood: _containers.RepeatedScalarFieldContainer[float]
    disagreement: _containers.RepeatedScalarFieldContainer[float]
    held_out_gap: _containers.RepeatedScalarFieldContainer[float]
    distance: _containers.RepeatedScalarFieldContainer[float]
    executed: CalibrationExecuted
    def __init__(self, plans: _Optional[int] = ..., levels: _Optional[_Iterable[_Union[CalibrationLevel, _Mapping]]] = ..., ood: _Optional[_Iterable[float]] = ..., disagreement: _Optional[_Iterable[float]] = ..., held_out_gap: _Optional[_Iterable[float]] = ..., distance: _Optional[_Iterable[float]] = ..., executed: _Optional[_Union[CalibrationExecuted, _Mapping]] = ...) -> None: ...

class CalibrationExecuted(_message.Message):
    __slots__ = ("came_true", "disagreement", "distance", "radius", "beyond_logs", "margin")
    CAME_TRUE_FIELD_NUMBER: _ClassVar[int]
    DISAGREEMENT_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_FIELD_NUMBER: _ClassVar[int]
    RADIUS_FIELD_NUMBER: _ClassVar[int]
    BEYOND_LOGS_FIELD_NUMBER: _ClassVar[int]
    MARGIN_FIELD_NUMBER: _ClassVar[int]
    came_true: _containers.RepeatedScalarFieldContainer[float]
    disagreement: _containers.RepeatedScalarFieldContainer[float]
    distance: _containers.RepeatedScalarFieldContainer[float]
    radius: _containers.RepeatedScalarFieldContainer[float]
    beyond_logs: _containers.RepeatedScalarFieldContainer[str]
    margin: float
    def __init__(self, came_true: _Optional[_Iterable[float]] = ..., disagreement: _Optional[_Iterable[float]] = ..., distance: _Optional[_Iterable[float]] = ..., radius: _Optional[_Iterable[float]] = ..., beyond_logs: _Optional[_Iterable[str]] = ..., margin: _Optional[float] = ...) -> None: ...

class CalibrationLevel(_message.Message):
    __slots__ = ("level", "radius", "joint_radius", "readout_radius")
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    RADIUS_FIELD_NUMBER: _ClassVar[int]
    JOINT_RADIUS_FIELD_NUMBER: _ClassVar[int]
    READOUT_RADIUS_FIELD_NUMBER: _ClassVar[int]
    level: float
    radius: _containers.RepeatedScalarFieldContainer[float]
    joint_radius: _containers.RepeatedScalarFieldContainer[float]
    readout_radius: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, level: _Optional[float] = ..., radius: _Optional[_Iterable[float]] = ..., joint_radius: _Optional[_Iterable[float]] = ..., readout_radius: _Optional[_Iterable[float]] = ...) -> None: ...

class CalibrationQuantiles(_message.Message):
    __slots__ = ("ood", "disagreement", "surprise", "distance")
    OOD_FIELD_NUMBER: _ClassVar[int]
    DISAGREEMENT_FIELD_NUMBER: _ClassVar[int]
    SURPRISE_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_FIELD_NUMBER: _ClassVar[int]
    ood: _containers.RepeatedScalarFieldContainer[float]
    disagreement: _containers.RepeatedScalarFieldContainer[float]
    surprise: _containers.RepeatedScalarFieldContainer[float]
    distance: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, ood: _Optional[_Iterable[float]] = ..., disagreement: _Optional[_Iterable[float]] = ..., surprise: _Optional[_Iterable[float]] = ..., distance: _Optional[_Iterable[float]] = ...) -> None: ...

class ObservationSpec(_message.Message):
    __slots__ = ("max_height", "max_width", "native_height", "native_width", "tubelet_size", "proprioception")
    MAX_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    MAX_WIDTH_FIELD_NUMBER: _ClassVar[int]
    NATIVE_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    NATIVE_WIDTH_FIELD_NUMBER: _ClassVar[int]
    TUBELET_SIZE_FIELD_NUMBER: _ClassVar[int]
    PROPRIOCEPTION_FIELD_NUMBER: _ClassVar[int]
    max_height: int
    max_width: int
    native_height: int
    native_width: int
    tubelet_size: int
    proprioception: _containers.RepeatedCompositeFieldContainer[Axis]
    def __init__(self, max_height: _Optional[int] = ..., max_width: _Optional[int] = ..., native_height: _Optional[int] = ..., native_width: _Optional[int] = ..., tubelet_size: _Optional[int] = ..., proprioception: _Optional[_Iterable[_Union[Axis, _Mapping]]] = ...) -> None: ...

class ActionSpec(_message.Message):
    __slots__ = ("axes", "action_block")
    AXES_FIELD_NUMBER: _ClassVar[int]
    ACTION_BLOCK_FIELD_NUMBER: _ClassVar[int]
    axes: _containers.RepeatedCompositeFieldContainer[Axis]
    action_block: int
    def __init__(self, axes: _Optional[_Iterable[_Union[Axis, _Mapping]]] = ..., action_block: _Optional[int] = ...) -> None: ...

class Axis(_message.Message):
    __slots__ = ("name", "unit", "low", "high", "mean", "std")
    NAME_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    MEAN_FIELD_NUMBER: _ClassVar[int]
    STD_FIELD_NUMBER: _ClassVar[int]
    name: str
    unit: str
    low: float
    high: float
    mean: float
    std: float
    def __init__(self, name: _Optional[str] = ..., unit: _Optional[str] = ..., low: _Optional[float] = ..., high: _Optional[float] = ..., mean: _Optional[float] = ..., std: _Optional[float] = ...) -> None: ...

class Readout(_message.Message):
    __slots__ = ("name", "unit", "low", "high", "error")
    NAME_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    name: str
    unit: str
    low: float
    high: float
    error: float
    def __init__(self, name: _Optional[str] = ..., unit: _Optional[str] = ..., low: _Optional[float] = ..., high: _Optional[float] = ..., error: _Optional[float] = ...) -> None: ...

class GoalMetric(_message.Message):
    __slots__ = ("name", "unit", "final_weight", "path_weight", "needs_goal", "needs_proprioception")
    NAME_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    FINAL_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    PATH_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    NEEDS_GOAL_FIELD_NUMBER: _ClassVar[int]
    NEEDS_PROPRIOCEPTION_FIELD_NUMBER: _ClassVar[int]
    name: str
    unit: str
    final_weight: float
    path_weight: float
    needs_goal: bool
    needs_proprioception: bool
    def __init__(self, name: _Optional[str] = ..., unit: _Optional[str] = ..., final_weight: _Optional[float] = ..., path_weight: _Optional[float] = ..., needs_goal: bool = ..., needs_proprioception: bool = ...) -> None: ...

class PlannerDefaults(_message.Message):
    __slots__ = ("algorithm", "horizon", "candidate_count", "iterations", "elite_count", "hold_steps", "initial_std", "receding_horizon", "penalty", "momentum")
    ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    HORIZON_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_COUNT_FIELD_NUMBER: _ClassVar[int]
    ITERATIONS_FIELD_NUMBER: _ClassVar[int]
    ELITE_COUNT_FIELD_NUMBER: _ClassVar[int]
    HOLD_STEPS_FIELD_NUMBER: _ClassVar[int]
    INITIAL_STD_FIELD_NUMBER: _ClassVar[int]
    RECEDING_HORIZON_FIELD_NUMBER: _ClassVar[int]
    PENALTY_FIELD_NUMBER: _ClassVar[int]
    MOMENTUM_FIELD_NUMBER: _ClassVar[int]
    algorithm: str
    horizon: int
    candidate_count: int
    iterations: int
    elite_count: int
    hold_steps: int
    initial_std: float
    receding_horizon: int
    penalty: float
    momentum: float
    def __init__(self, algorithm: _Optional[str] = ..., horizon: _Optional[int] = ..., candidate_count: _Optional[int] = ..., iterations: _Optional[int] = ..., elite_count: _Optional[int] = ..., hold_steps: _Optional[int] = ..., initial_std: _Optional[float] = ..., receding_horizon: _Optional[int] = ..., penalty: _Optional[float] = ..., momentum: _Optional[float] = ...) -> None: ...

class Digests(_message.Message):
    __slots__ = ("checkpoint", "engines")
    class EnginesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    ENGINES_FIELD_NUMBER: _ClassVar[int]
    checkpoint: str
    engines: _containers.ScalarMap[str, str]
    def __init__(self, checkpoint: _Optional[str] = ..., engines: _Optional[_Mapping[str, str]] = ...) -> None: ...
