"""Which pages' scripts may ask over HTTP: those of the allowed origins (a page that does: clients/typescript/tests)."""

from typing import Any

import httpx
import pytest
from wmserve_server.http_api import HttpEdge, for_pages
from wmserve_server.metrics import Metrics

PAGE, OTHER = "https://robots.test", "https://elsewhere.test"
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type,idempotency-key"}


async def asked(origins: tuple[str, ...], method: str, path: str, **headers: str) -> httpx.Response:
    """What the edge answers, allowed origins and all; no world is served."""
    core: Any = None
    edge = for_pages(HttpEdge(core, Metrics(), 1 << 20, {}), origins)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(edge), base_url="http://wmserve") as client:
        return await client.request(method, path, headers=headers)


async def test_an_allowed_page_is_answered() -> None:
    """It may send JSON and a key, and read answers, refusals and when to come back."""
    before = await asked((PAGE,), "OPTIONS", "/v1/plan", Origin=PAGE, **PREFLIGHT)
    assert before.status_code == 200
    assert before.headers["access-control-allow-origin"] == PAGE
    assert before.headers["access-control-allow-headers"] == PREFLIGHT["Access-Control-Request-Headers"]
    refused = await asked((PAGE,), "POST", "/v1/plan", Origin=PAGE)
    assert refused.status_code == 400
    assert refused.headers["access-control-allow-origin"] == PAGE
    assert "retry-after" in refused.headers["access-control-expose-headers"]


@pytest.mark.parametrize("origins", [(), (PAGE,)])
async def test_other_pages_are_not(origins: tuple[str, ...]) -> None:
    """Without the setting, and from other origins, a browser gets no leave."""
    for method, headers in (("OPTIONS", PREFLIGHT), ("POST", {})):
        answer = await asked(origins, method, "/v1/plan", Origin=OTHER, **headers)
        assert "access-control-allow-origin" not in answer.headers
