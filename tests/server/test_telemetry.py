"""Traces and log lines of a real server: what belongs to one request is told as one, from the wire to the planner."""

import base64
import json
import logging
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import grpc
import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from wmserve.v1 import world_model_pb2 as wm
from wmserve.v1 import world_model_pb2_grpc as wm_grpc
from wmserve_server import telemetry

from tests.conftest import ROOT, Server, running

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
MINE = (("x-request-id", "robot-8"),)
GOAL = {"readouts": {"agent_x": 180, "agent_y": 60}}
PLANNER = {"algorithm": "icem", "candidate_count": 32, "iterations": 6, "elite_count": 8}


class Collector(ThreadingHTTPServer):
    """What a collector is sent over OTLP."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Receiver)
        self.spans: list[Span] = []
        self.services: set[str] = set()

    def take(self, request: ExportTraceServiceRequest) -> None:
        """Keep it."""
        for resource in request.resource_spans:
            self.services |= {a.value.string_value for a in resource.resource.attributes if a.key == "service.name"}
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]


class Receiver(BaseHTTPRequestHandler):
    """One delivery."""

    server: Collector

    def do_POST(self) -> None:
        """Take it."""
        body = self.rfile.read(int(self.headers["content-length"]))
        assert self.path == "/v1/traces"
        self.server.take(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *words: object) -> None:
        """Nothing."""


@dataclass
class Told:
    """What was asked, what came back, and what was told of it."""

    answer: httpx.Response
    refused: httpx.Response
    metadata: dict[str, str]
    spans: list[Span]
    services: set[str]
    lines: list[dict[str, Any]]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """A plan and a refusal over HTTP and an encode over gRPC, by a server that has ended since."""
    collector, log = Collector(), tmp_path_factory.mktemp("telemetry") / "log"
    Thread(target=collector.serve_forever, daemon=True).start()
    picture = (ROOT / "docs" / "start.png").read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
        patch.setenv("OTEL_SERVICE_NAME", "robots")
        with running(log, log_format="json", log_requests="true", triton_threads="1") as server:
            server.wait_ready()
            headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "x-request-id": "robot-7:turn-3"}
            files = {"images": [base64.b64encode(picture).decode()]}
            body = {"world": "two_room", "context": {"observations": files}, "goal": GOAL, "planner": PLANNER}
            answer = httpx.post(f"{server.http}/v1/plan", json=body, headers=headers, timeout=30)
            refused = httpx.post(f"{server.http}/v1/plan", json=body | {"world": "nowhere"}, timeout=30)
            with grpc.insecure_channel(server.grpc) as channel:
                asked = wm.EncodeRequest(
                    world="two_room", observations=wm.Observations(images=wm.Images(files=[picture]))
                )
                _, call = wm_grpc.WorldModelServiceStub(channel).Encode.with_call(asked, timeout=30, metadata=MINE)  # type: ignore[no-untyped-call]
                metadata = dict(call.trailing_metadata())
    collector.shutdown()
    collector.server_close()
    # gRPC's core says a line of its own when a process is started.
    lines = [json.loads(line) for line in log.read_text().splitlines() if "fork_posix.cc" not in line]
    return Told(answer, refused, metadata, collector.spans, collector.services, lines)


def named(spans: list[Span], name: str) -> list[Span]:
    """Those of a name, in order."""
    return sorted((span for span in spans if span.name == name), key=lambda span: int(span.start_time_unix_nano))


def test_a_plan_is_one_trace_under_its_callers(told: Told) -> None:
    """Request, waiting, engines, slices and each iteration of the search, each within the other."""
    spans = [span for span in told.spans if span.trace_id.hex() == TRACE]
    (request,) = named(spans, "plan")
    assert (request.parent_span_id.hex(), request.kind) == (PARENT, Span.SPAN_KIND_SERVER)
    assert told.services == {"robots"}
    slices, iterations = named(spans, "slice"), named(spans, "iteration")
    assert {span.parent_span_id for span in slices} == {request.span_id}
    assert {span.parent_span_id for span in iterations} <= {span.span_id for span in slices}
    assert len(iterations) == told.answer.json()["iterations"]
    costs = [next(a.value.double_value for a in span.attributes if a.key == "wmserve.best_cost") for span in iterations]
    assert costs == pytest.approx(told.answer.json()["cost_per_iteration"])
    for name in ("queue two_room_encode", "engine two_room_encode", "queue two_room_plan", "engine two_room_plan"):
        assert named(spans, name), name
    for span in spans:
        assert request.start_time_unix_nano - 5e6 < span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano < request.end_time_unix_nano + 5e6


def test_log_lines_name_the_request_its_trace_and_its_decision(told: Told) -> None:
    """And the caller is told the id by which to ask for them."""
    assert told.answer.headers["x-request-id"] == "robot-7:turn-3"
    (line,) = [line for line in told.lines if line.get("request_id") == "robot-7:turn-3"]
    wanted = {"transport": "http", "verb": "plan", "world": "two_room", "code": "ok", "trace_id": TRACE}
    assert line.items() >= {**wanted, "decision_id": told.answer.json()["decision_id"]}.items()
    assert line["ms"] > 0
    assert all({"time", "level", "message"} <= line.keys() for line in told.lines)


def test_a_refusal_is_told_too(told: Told) -> None:
    """By its reason, with an id of the server's; a caller's mistake is no error of the server."""
    request_id = told.refused.headers["x-request-id"]
    (line,) = [line for line in told.lines if line.get("request_id") == request_id]
    assert (line["code"], line["world"]) == ("world_not_found", "unknown")
    (span,) = [span for span in named(told.spans, "plan") if span.trace_id.hex() == line["trace_id"]]
    assert {a.value.string_value for a in span.attributes if a.key == "error.type"} == {"world_not_found"}
    assert not span.status.code


def test_grpc_tells_the_id_behind_its_answer(told: Told) -> None:
    """As metadata, to those who sent one."""
    assert told.metadata["x-request-id"] == dict(MINE)["x-request-id"]
    assert told.metadata["x-request-id"] in {line.get("request_id") for line in told.lines}


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, 'robot"}', "é"])
def test_strange_ids_are_not_taken_over(given: str) -> None:
    """They would end up in logs and headers."""
    with telemetry.request("plan", {"x-request-id": given}) as asked:
        assert asked.request_id != given
        assert telemetry.ACCEPTED_ID.fullmatch(asked.request_id)


def test_a_line_of_nobody_has_no_request(tmp_path: Path) -> None:
    """And an exception stays on one line."""
    try:
        raise ValueError(str(tmp_path))
    except ValueError as error:
        record = logging.LogRecord(
            "wmserve", logging.ERROR, "", 0, "failed", (), (ValueError, error, error.__traceback__)
        )
    line = json.loads(telemetry.JsonLines().format(record))
    assert "ValueError" in line["exception"]
    assert line["message"] == "failed"


def test_what_callers_name_fits_into_metadata(server: Server) -> None:
    """A field of theirs in an error: printable ASCII, and not too long; the status stays the error's."""
    for name in ("é\n", "x" * 10_000):
        goal = wm.Goal(readouts=wm.ReadoutTargets(values={name: float("nan")}))
        with grpc.insecure_channel(server.grpc) as channel:
            plan = wm_grpc.WorldModelServiceStub(channel).Plan  # type: ignore[no-untyped-call]
            with pytest.raises(grpc.RpcError) as refused:
                plan(wm.PlanRequest(world="two_room", context=wm.Context(latents_id="lat_" + "x" * 22), goal=goal))
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        metadata = dict(refused.value.trailing_metadata())
        assert metadata["wmserve-field"].isascii()
        assert len(metadata["wmserve-field"]) <= 256


def test_an_unknown_kind_of_constraint_is_refused(server: Server) -> None:
    """proto3's enums are open."""
    constraint = wm.Constraint(readouts={"agent_x": wm.Interval(low=0, high=1)})
    constraint.kind = 99  # type: ignore[assignment]
    with grpc.insecure_channel(server.grpc) as channel:
        plan = wm_grpc.WorldModelServiceStub(channel).Plan  # type: ignore[no-untyped-call]
        with pytest.raises(grpc.RpcError, match="no such kind of constraint"):
            plan(wm.PlanRequest(world="two_room", constraints=[constraint]))
