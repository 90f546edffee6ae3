"""Real processes send their spans to a collector that is well, away, slow or hostile."""

import logging
import os
import re
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nanogrid import names
from nanogrid.traces.context import SAMPLED, TraceContext
from nanogrid.traces.export import OtelTracing, limit_log_rate
from nanogrid.traces.settings import Sampler
from nanogrid.traces.spans import Kind, Span, SpanEvent
from support.builders import a_job_body
from support.gateway_fixtures import MARKS
from support.gateway_world import Gateway, World
from support.operator_api import now_text
from support.operator_cluster import JOBS_PATH
from support.operators import Operators, all_ended_once, running_operators
from support.otlp_receiver import (
    ReceivedSpan,
    Receiver,
    endless,
    hanging,
    nonsense,
    otlp_receiver,
)
from support.process_memory import process_file
from support.redis_server import needs_redis
from support.routing.world import World as RouterWorld
from support.s3_server import free_port
from support.waiting import wait_until

pytestmark = MARKS

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"
HEADERS = {"traceparent": PARENT, "tracestate": "vendor=1"}
QUEUE = 64  # spans, in the tests of a collector that does not work
STAGES = {"nanogrid.job", "nanogrid.job.queue", "nanogrid.job.attempt", "nanogrid.job.delivery"}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with otlp_receiver() as made:
        yield made


def a_span(number: int = 0) -> Span:
    parent = TraceContext(trace_id=TRACE, span_id=SPAN, flags=SAMPLED, state="vendor=1")
    return Span(
        name="made",
        context=parent.child(f"{number + 1:016x}"),
        parent=parent,
        start=1000.5,
        end=1001.25,
        kind=Kind.CLIENT,
        attributes={"number": number, "text": "x" * 5000, "yes": True},
        events=(SpanEvent(name="retry", at=1001.0, attributes={"a": 1}),),
        error="Refused",
    )


def exporter(receiver: Receiver, monkeypatch: pytest.MonkeyPatch, **more: str) -> OtelTracing:
    for name, value in (receiver.environment() | more).items():
        monkeypatch.setenv(name, value)
    return OtelTracing("nanogrid-test", Sampler())


def test_a_span_arrives_as_it_is(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    headers = "Authorization=Bearer%20secret,x-team=a"
    tracing = exporter(
        receiver,
        monkeypatch,
        OTEL_EXPORTER_OTLP_HEADERS=headers,
        OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=test",
    )
    tracing.emit([a_span()])
    (found,) = receiver.wait_for(len)
    tracing.close()

    assert (found.name, found.kind, found.error) == ("made", "CLIENT", "Refused")
    assert (found.trace_id, found.parent, found.state) == (TRACE, SPAN, "vendor=1")
    assert found.span_id == f"{1:016x}"
    assert (found.start, found.end) == (1000.5, 1001.25)
    assert found.attributes["number"] == 0
    assert len(found.attributes["text"]) == 1024
    assert found.events == [("retry", 1001.0, {"a": 1})]
    assert found.resource == {
        "service.name": "nanogrid-test", "deployment.environment.name": "test",
    }  # fmt: skip
    assert receiver.requests[0]["authorization"] == "Bearer secret"
    assert receiver.requests[0]["x-team"] == "a"


def test_the_variable_names_the_service(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracing = exporter(receiver, monkeypatch, OTEL_SERVICE_NAME="mine")
    tracing.emit([a_span()])
    (found,) = receiver.wait_for(len)
    tracing.close()

    assert found.service == "mine"


def test_spans_that_are_not_sampled_stay_here(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracing = exporter(receiver, monkeypatch)
    hidden = Span(
        name="hidden",
        context=TraceContext(trace_id=TRACE, span_id=SPAN),
        parent=None,
        start=1.0,
        end=2.0,
    )
    tracing.emit([hidden, a_span()])
    tracing.close()

    assert [span.name for span in receiver.wait_for(len)] == ["made"]


class BadCollector:
    """How a collector does not work."""

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver
        self.released = threading.Event()

    def set(self, how: str) -> None:
        """How it answers from now on."""
        answers: dict[str, Any] = {
            "slow": hanging(self.released), "nonsense": nonsense, "endless": endless,
        }  # fmt: skip
        self.receiver.answer = answers.get(how)
        self.receiver.status = 500 if how == "500" else 503 if how == "503" else 200
        if how == "away":
            self.receiver.port = free_port()


@pytest.fixture
def bad(receiver: Receiver) -> Iterator[BadCollector]:
    made = BadCollector(receiver)
    yield made
    made.released.set()


def resident_bytes() -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", process_file(os.getpid(), "status"))
    assert found is not None
    return int(found.group(1)) * 1024


KINDS = ["away", "slow", "500", "503", "nonsense", "endless"]


@pytest.mark.parametrize("how", KINDS)
def test_emit_never_waits_and_memory_is_bounded(
    bad: BadCollector, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """A million spans would be gigabytes. What is queued is less than a megabyte."""
    bad.set(how)
    variables = {"OTEL_BSP_MAX_QUEUE_SIZE": str(QUEUE), "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "16"}
    tracing = exporter(bad.receiver, monkeypatch, OTEL_EXPORTER_OTLP_TIMEOUT="2", **variables)
    tracing.emit(a_span(n) for n in range(QUEUE))
    if how != "away":
        bad.receiver.wait_for_requests(1)
    before = resident_bytes()
    tracing.emit(a_span(n) for n in range(20_000))
    after = resident_bytes()
    closing = threading.Thread(target=tracing.close)
    closing.start()
    closing.join(60)

    assert not closing.is_alive()
    assert after - before < 40 << 20


def test_a_broken_collector_makes_few_lines(
    bad: BadCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record)

    handler = Keep()
    limit_log_rate("opentelemetry")
    logging.getLogger().addHandler(handler)
    try:
        bad.set("500")
        tracing = exporter(bad.receiver, monkeypatch, OTEL_BSP_MAX_EXPORT_BATCH_SIZE="1")
        tracing.emit(a_span(n) for n in range(50))
        bad.receiver.wait_for_requests(50)
        tracing.close()
    finally:
        logging.getLogger().removeHandler(handler)

    found = [r for r in lines if "Failed to export" in r.getMessage()]
    assert len(found) <= 1  # one per minute in a process; an earlier test may have had it


@pytest.mark.parametrize("headers", ["Authorization: Bearer CANARY", "api key=CANARY", "CANARY"])
def test_a_header_that_is_malformed_does_not_show_its_credentials(
    headers: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    logging.getLogger("opentelemetry").handlers.clear()  # an earlier test may have had the line
    exporter(receiver, monkeypatch, OTEL_EXPORTER_OTLP_HEADERS=headers).close()

    assert "OTEL_EXPORTER_OTLP_HEADERS is ignored" in caplog.text
    assert "CANARY" not in caplog.text


def test_spans_arrive_when_the_collector_is_back(
    bad: BadCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad.set("500")
    tracing = exporter(bad.receiver, monkeypatch)
    tracing.emit([a_span(1)])
    bad.receiver.wait_for_requests(1)
    bad.set("well")

    tracing.emit([a_span(2)])
    found = bad.receiver.wait_for(len)
    tracing.close()

    assert [span.attributes["number"] for span in found] == [2]


# The gateway


def a_tracing_gateway(world: World, receiver: Receiver) -> Any:
    return world.gateway(receiver.environment())


def test_a_run_is_a_child_of_the_request_and_of_its_caller(
    world: World, function: str, receiver: Receiver
) -> None:
    with a_tracing_gateway(world, receiver) as gateway:
        body = {"functionId": function, "inputData": {"after": 0.1}, "requestId": str(uuid.uuid4())}
        answer = gateway.post("/run", body, HEADERS)
        (span,) = receiver.wait_for(len, name="POST /run")

    assert answer.status == 200
    assert (span.service, span.kind) == ("nanogrid-gateway", "SERVER")
    assert (span.trace_id, span.parent, span.state) == (TRACE, SPAN, "vendor=1")
    assert span.attributes["http.response.status_code"] == 200
    annotations = world.cluster.job(body["requestId"])["metadata"]["annotations"]
    assert annotations[names.ANNOTATION_TRACEPARENT] == f"00-{TRACE}-{span.span_id}-01"
    assert annotations[names.ANNOTATION_TRACESTATE] == "vendor=1"
    assert [s.name for s in receiver.spans()] == ["POST /run"], "no probe has a span"


@pytest.mark.parametrize("parent", ["nonsense", f"00-{'0' * 32}-{SPAN}-01", PARENT.upper()])
def test_an_invalid_header_starts_a_trace(
    world: World, function: str, receiver: Receiver, parent: str
) -> None:
    with a_tracing_gateway(world, receiver) as gateway:
        body = {"functionId": function, "inputData": {"after": 0}, "wait": 0}
        answer = gateway.post("/run", body, {"traceparent": parent, "tracestate": "vendor=1"})
        (span,) = receiver.wait_for(len, name="POST /run")

    assert answer.status in (200, 202)
    assert (span.parent, span.state) == ("", "")
    assert span.trace_id != TRACE


@pytest.mark.parametrize("how", ["away", "slow", "500"])
def test_runs_do_not_notice_a_collector_that_does_not_work(
    world: World, function: str, bad: BadCollector, how: str
) -> None:
    bad.set(how)
    with a_tracing_gateway(world, bad.receiver) as gateway:
        answers = [gateway.run(function, {"after": 0.1}).status for _ in range(5)]

    assert answers == [200] * 5


def test_without_tracing_a_valid_context_reaches_the_job(
    world: World, gateway: Gateway, function: str, request_id: str
) -> None:
    body = {"functionId": function, "inputData": {"after": 0.1}, "requestId": request_id}
    assert gateway.post("/run", body, HEADERS).status == 200

    annotations = world.cluster.job(request_id)["metadata"]["annotations"]
    assert annotations[names.ANNOTATION_TRACEPARENT] == PARENT


# The operator


@pytest.fixture
def operators(tmp_path: Path) -> Iterator[Operators]:
    with running_operators(tmp_path) as started:
        yield started


def put_job(operators: Operators, name: str, parent: str = PARENT) -> str:
    uid = str(uuid.uuid4())
    job = a_job_body(name=name, uid=uid)
    job["metadata"] |= {
        "creationTimestamp": now_text(),
        "annotations": {names.ANNOTATION_TRACEPARENT: parent},
    }
    operators.cluster.put(JOBS_PATH, job)
    return uid


def connected(spans: list[ReceivedSpan], parent: str) -> bool:
    known = {span.span_id for span in spans}
    return {s.parent for s in spans if s.parent not in known} == {parent}


@needs_redis
def test_a_job_of_a_real_operator_is_a_connected_trace(
    operators: Operators, receiver: Receiver
) -> None:
    operator = operators.start("a", **receiver.environment())
    uid = put_job(operators, "job-0")
    found = receiver.wait_for(lambda s: {span.name for span in s} >= STAGES)
    all_ended_once(operators, ["job-0"])
    assert operator.stop() == 0

    assert {span.service for span in found} == {"nanogrid-operator"}
    assert {span.trace_id for span in found} == {TRACE}
    assert connected(found, SPAN)
    root = next(span for span in found if span.name == "nanogrid.job")
    assert root.attributes["nanogrid.job.uid"] == uid
    assert root.attributes["k8s.namespace.name"] == "team-a"
    assert not root.error
    assert all(root.start <= span.start <= span.end for span in found)


@needs_redis
@pytest.mark.parametrize("how", ["away", "slow", "500", "nonsense"])
def test_jobs_do_not_notice_a_collector_that_does_not_work(
    operators: Operators, bad: BadCollector, how: str
) -> None:
    bad.set(how)
    operator = operators.start("a", **bad.receiver.environment())
    jobs = [f"job-{n}" for n in range(5)]
    for name in jobs:
        put_job(operators, name)

    all_ended_once(operators, jobs)
    wait_until(lambda: how == "slow" or "opentelemetry" in operator.log.read_text(), 60)
    assert operator.stop() == 0
    assert operator.tail(2000).count("opentelemetry") <= 4, operator.tail()


# The router


@pytest.mark.asyncio(loop_scope="module")
async def test_a_request_to_a_session_has_spans_and_its_code_gets_the_second(
    routing: RouterWorld, receiver: Receiver
) -> None:
    router = await routing.router(**receiver.environment())
    session = await routing.ready(router, "traced")
    async with routing.client.post(
        f"{router.url}{session.path}/execute?x=secret",
        data=b"print(1)",
        headers=session.auth | HEADERS,
    ) as answer:
        assert answer.status == 200
        sent = {k.lower(): v for k, v in (await answer.json())["headers"].items()}
    async with routing.client.get(f"{router.url}{session.path}/execute") as denied:
        assert denied.status == 401
    found = receiver.wait_for(lambda s: len(s) >= 2, trace_id=TRACE)

    server = next(s for s in found if s.kind == "SERVER")
    client = next(s for s in found if s.kind == "CLIENT")
    assert (server.service, server.name) == (
        "nanogrid-router", "POST /sessions/{namespace}/{name}/execute",
    )  # fmt: skip
    assert (server.parent, client.parent) == (SPAN, server.span_id)
    assert sent["traceparent"] == f"00-{TRACE}-{client.span_id}-01"
    assert sent["tracestate"] == "vendor=1"
    assert server.attributes["nanogrid.job.name"] == session.name
    assert "secret" not in repr(receiver.spans())
    statuses = [s.attributes.get("http.response.status_code") for s in receiver.spans()]
    assert 401 not in statuses


@pytest.mark.asyncio(loop_scope="module")
async def test_without_tracing_the_router_passes_only_a_valid_context(routing: RouterWorld) -> None:
    router = await routing.router()
    session = await routing.ready(router, "plain")
    for given, passed in ((HEADERS, PARENT), ({"traceparent": "no", "tracestate": "a=1"}, None)):
        async with routing.client.post(
            f"{router.url}{session.path}/execute", data=b"x", headers=session.auth | given
        ) as answer:
            sent = {k.lower(): v for k, v in (await answer.json())["headers"].items()}
        assert sent.get("traceparent") == passed
        assert ("tracestate" in sent) == (passed is not None)
