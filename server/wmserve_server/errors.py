"""Everything that can go wrong, once: each class owns its code on both wires.

    WmserveError
     |- InvalidArgument    400  INVALID_ARGUMENT    a field is malformed or out of its bounds
     |   `- Unfinite       400                      NaN or infinity in an array
     |- PayloadTooLarge    413  RESOURCE_EXHAUSTED  body, image or array over its limit
     |- UnsupportedMedia   415  INVALID_ARGUMENT    content type that is neither JSON nor protobuf
     |- VerbNotServed      400  FAILED_PRECONDITION the world does not answer this verb
     |- WorldNotFound      404  NOT_FOUND           no world of that name is served
     |- ModelNotFound      404  NOT_FOUND           no model of that name (Open Inference Protocol)
     |- LatentsNotFound    404  NOT_FOUND           handle unknown, expired or of another world
     |   `- HandleOutdated 409  ABORTED             handle of a version that is not served any more; encode again
     |- DecisionNotFound   404  NOT_FOUND           decision unknown, expired or of another world
     |- KeyReused          422  INVALID_ARGUMENT    the idempotency key came with another request before
     |- KeyInUse           409  ABORTED             the request with this idempotency key is still being answered
     |- Overloaded         429  RESOURCE_EXHAUSTED  too much in flight; come back after `retry_after_s`
     |- Unavailable        503  UNAVAILABLE         Triton is down or the gateway is draining
     |   `- StateUnavailable 503                     what gateways keep for each other cannot be reached
     |- BackendFault       502  INTERNAL            an engine failed or answered what cannot be true
     |- DeadlineExceeded   504  DEADLINE_EXCEEDED   no answer within the caller's time
     `- Cancelled          499  CANCELLED           the caller has gone; nobody is told

Messages go to callers: they name the field and the bound, never a path, an address or a stack.
"""

from typing import ClassVar


class WmserveError(Exception):
    """Base of all errors that a caller may see."""

    http_status: ClassVar[int] = 500
    grpc_code: ClassVar[str] = "INTERNAL"
    reason: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"

    def __init__(self, message: str, *, field: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.retry_after_s = retry_after_s


class InvalidArgument(WmserveError):
    """A field is malformed or out of its bounds."""

    http_status, grpc_code, reason = 400, "INVALID_ARGUMENT", "invalid_argument"
    title = "Invalid argument"


class Unfinite(InvalidArgument):
    """NaN or infinity where a number is needed."""

    reason = "not_finite"
    title = "Not a finite number"


class PayloadTooLarge(WmserveError):
    """A body, an image or an array is over its limit."""

    http_status, grpc_code, reason = 413, "RESOURCE_EXHAUSTED", "too_large"
    title = "Payload too large"


class UnsupportedMedia(WmserveError):
    """A content type that is neither JSON nor protobuf."""

    http_status, grpc_code, reason = 415, "INVALID_ARGUMENT", "unsupported_media_type"
    title = "Unsupported media type"


class VerbNotServed(WmserveError):
    """A world that does not answer this verb: an encoder alone has no plans."""

    http_status, grpc_code, reason = 400, "FAILED_PRECONDITION", "verb_not_served"
    title = "Verb not served"


class WorldNotFound(WmserveError):
    """No world of that name is served."""

    http_status, grpc_code, reason = 404, "NOT_FOUND", "world_not_found"
    title = "World not found"


class ModelNotFound(WmserveError):
    """No model of that name: in the Open Inference Protocol a verb of a world is one."""

    http_status, grpc_code, reason = 404, "NOT_FOUND", "model_not_found"
    title = "Model not found"


class LatentsNotFound(WmserveError):
    """A latents handle that is unknown, expired or of another world."""

    http_status, grpc_code, reason = 404, "NOT_FOUND", "latents_not_found"
    title = "Latents not found"


class HandleOutdated(LatentsNotFound):
    """A handle of a version of the world that is not served any more: encode again, and ask again."""

    http_status, grpc_code, reason = 409, "ABORTED", "handle_outdated"
    title = "Handle of another version"


class DecisionNotFound(WmserveError):
    """A decision is unknown, expired or of another world."""

    http_status, grpc_code, reason = 404, "NOT_FOUND", "decision_not_found"
    title = "Decision not found"


class KeyReused(WmserveError):
    """The idempotency key came with another request before."""

    http_status, grpc_code, reason = 422, "INVALID_ARGUMENT", "idempotency_key_reused"
    title = "Idempotency key reused"


class KeyInUse(WmserveError):
    """The request with this idempotency key is still being answered."""

    http_status, grpc_code, reason = 409, "ABORTED", "idempotency_key_in_use"
    title = "Idempotency key in use"


class Overloaded(WmserveError):
    """Too much is in flight."""

    http_status, grpc_code, reason = 429, "RESOURCE_EXHAUSTED", "overloaded"
    title = "Overloaded"


class Unavailable(WmserveError):
    """Triton is down, or the gateway is draining."""

    http_status, grpc_code, reason = 503, "UNAVAILABLE", "unavailable"
    title = "Unavailable"


class StateUnavailable(Unavailable):
    """What gateways keep for each other, behind handles, sessions and keys, cannot be reached, or has no room."""

    reason = "state_unavailable"
    title = "State unavailable"


class BackendFault(WmserveError):
    """An engine failed, or answered what cannot be true."""

    http_status, grpc_code, reason = 502, "INTERNAL", "backend_fault"
    title = "Backend fault"


class DeadlineExceeded(WmserveError):
    """No answer within the caller's time."""

    http_status, grpc_code, reason = 504, "DEADLINE_EXCEEDED", "deadline_exceeded"
    title = "Deadline exceeded"


class Cancelled(WmserveError):
    """The caller has gone."""

    http_status, grpc_code, reason = 499, "CANCELLED", "cancelled"
    title = "Cancelled"


CALLER_ERRORS: tuple[type[WmserveError], ...] = (
    InvalidArgument,
    Unfinite,
    PayloadTooLarge,
    UnsupportedMedia,
    VerbNotServed,
    WorldNotFound,
    LatentsNotFound,
    HandleOutdated,
    DecisionNotFound,
    KeyReused,
    KeyInUse,
    Overloaded,
    Unavailable,
    StateUnavailable,
    BackendFault,
    DeadlineExceeded,
)
"""Every class a caller can meet, for the documents that list them."""
