"""Errors on HTTP: problem+json (RFC 9457), with `reason` and `field` for programs."""

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from wmserve_server.errors import WmserveError
from wmserve_server.telemetry import REQUEST_ID, request_id

log = logging.getLogger(__name__)

PROBLEM = "application/problem+json"


def problem(error: WmserveError) -> Response:
    """Render an error."""
    body: dict[str, Any] = {
        "type": f"urn:wmserve:problem:{error.reason}",
        "title": error.title,
        "status": error.http_status,
        "detail": error.message,
        "reason": error.reason,
    }
    if error.field:
        body["field"] = error.field
    headers = {} if error.retry_after_s is None else {"Retry-After": f"{max(1, round(error.retry_after_s))}"}
    if (known := request_id()) is not None:
        headers[REQUEST_ID] = known
    return Response(json.dumps(body), error.http_status, headers, media_type=PROBLEM)


async def answered(work: Callable[[], Awaitable[ASGIApp]]) -> ASGIApp:
    """Do the work, and answer what goes wrong as a problem; what nobody foresaw is for the log."""
    try:
        return await work()
    except WmserveError as error:
        return problem(error)
    except Exception as error:
        return unforeseen(error)


def internal(error: Exception) -> WmserveError:
    """Log an error that is no caller's business, and say that there was one."""
    log.error("unforeseen error", exc_info=error)
    return WmserveError("the server's log has more")


def unforeseen(error: Exception) -> Response:
    """The same as an answer."""
    return problem(internal(error))


def method_not_allowed(allowed: str) -> Response:
    """Answer a request with another method than the path has."""
    return plain("Method Not Allowed", 405, {"Allow": allowed})


def plain(title: str, status: int, headers: Mapping[str, str] | None) -> Response:
    """A problem that is no more than its HTTP status."""
    body = {"type": "about:blank", "title": title, "status": status}
    return Response(json.dumps(body), status, headers, media_type=PROBLEM)


def add_problems(app: FastAPI) -> None:
    """Answer every error of the application as a problem, also those of routing and those nobody foresaw."""

    @app.exception_handler(WmserveError)
    async def on_error(_: Request, error: WmserveError) -> Response:
        return problem(error)

    @app.exception_handler(HTTPException)
    async def on_http_exception(_: Request, error: HTTPException) -> Response:
        return plain(error.detail, error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def on_exception(_: Request, error: Exception) -> Response:
        return unforeseen(error)
