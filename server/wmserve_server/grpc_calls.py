"""What the services that speak gRPC share: where a call comes from, and how it ends when it fails."""

import logging
from typing import Any, NoReturn, TypeAlias

import grpc

from wmserve_server.errors import WmserveError
from wmserve_server.telemetry import CARRIED, REQUEST_ID, request_id

MAX_FIELD = 256
"""Characters: callers name some fields themselves, and metadata holds printable ASCII, and not much of it."""
log = logging.getLogger(__name__)

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


def carried(context: Context) -> dict[str, str]:
    """Metadata that says what a request belongs to."""
    sent: Any = context.invocation_metadata() or ()
    return {name: value for name, value in sent if name in CARRIED and isinstance(value, str)}


async def abort(context: Context, error: WmserveError) -> NoReturn:
    """End the call with the error's status; programs read the reason and the field in the trailing metadata."""
    metadata = [("wmserve-reason", error.reason)]
    if (known := request_id()) is not None:
        metadata.append((REQUEST_ID, known))
    if error.field:
        metadata.append(("wmserve-field", ascii(error.field)[1:-1][:MAX_FIELD]))
    if error.retry_after_s is not None:
        metadata.append(("retry-after-s", f"{error.retry_after_s:g}"))
    text = f"{error.field}: {error.message}" if error.field else error.message
    await context.abort(grpc.StatusCode[error.grpc_code], text, tuple(metadata))


def unforeseen(error: Exception) -> WmserveError:
    """Log an error that is no caller's business, and say that there was one."""
    log.error("unforeseen error", exc_info=error)
    return WmserveError("internal error; the server's log has more")
