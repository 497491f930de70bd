"""What a call can fail with.

WmserveError              anything a server or the way to it said no with
 |- InvalidRequest        the request is wrong; `field` names where
 |- NotFound              no such world, or a handle that has expired: encode again
 |   `- HandleOutdated    a handle of a version that is not served any more: encode again
 |- Overloaded            too much in flight; try again after `retry_after_s`
 |- DeadlineExceeded      no answer in time
 |- Unavailable           nobody answers, the engines are not ready, or what is kept for later calls is out of reach
 `- BackendFault          an engine failed, or answered what cannot be true
"""

from typing import Any

import grpc


class WmserveError(Exception):
    """Base of all errors; `reason` is stable, for programs, and `field` names what is wrong where there is one."""

    def __init__(
        self, message: str, *, reason: str = "unknown", field: str | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.field = field
        self.retry_after_s = retry_after_s


class InvalidRequest(WmserveError):
    """The request is malformed or out of bounds, or asks what its world does not answer (`verb_not_served`)."""


class NotFound(WmserveError):
    """No such world, or latents that are unknown or expired."""


class HandleOutdated(NotFound):
    """A handle of a version of its world that is not served any more: encode again, and ask again."""


class Overloaded(WmserveError):
    """The server is busy, or the request is larger than it takes."""


class DeadlineExceeded(WmserveError):
    """No answer within the call's time."""


class Unavailable(WmserveError):
    """No server answers, its engines are not ready, or what a handle stands for is out of reach for now."""


class BackendFault(WmserveError):
    """An engine failed."""


_BY_CODE: dict[grpc.StatusCode, type[WmserveError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.FAILED_PRECONDITION: InvalidRequest,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.ABORTED: Unavailable,
    grpc.StatusCode.INTERNAL: BackendFault,
}


_BY_REASON: dict[str, type[WmserveError]] = {"too_large": InvalidRequest, "handle_outdated": HandleOutdated}


def from_rpc(error: grpc.RpcError) -> WmserveError:
    """The exception for a failed call, sync or async; both kinds of `RpcError` have these three methods."""
    code: grpc.StatusCode = error.code()
    trailing: Any = error.trailing_metadata() or ()  # pairs, whatever the stubs say
    metadata = {str(key): str(value) for key, value in trailing}
    retry_after = metadata.get("retry-after-s")
    reason = metadata.get("wmserve-reason", code.name.lower())
    # A request that is too large shares its code with a busy server, but is the caller's to mend.
    kind = _BY_REASON.get(reason) or _BY_CODE.get(code, WmserveError)
    return kind(
        error.details() or code.name,
        reason=reason,
        field=metadata.get("wmserve-field"),
        retry_after_s=None if retry_after is None else float(retry_after),
    )


class PlanRefusedError(RuntimeError):
    """A plan that is not to be executed, and nothing else to do."""

    def __init__(self, reasons: tuple[str, ...]) -> None:
        """For these reasons, as `Plan.reasons` has them."""
        super().__init__(f"the plan was refused: {', '.join(reasons)}; give a safe_action, or plan again")
        self.reasons = reasons
