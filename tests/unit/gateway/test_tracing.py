"""The span of a request, and what it passes on."""

import pytest
from multidict import CIMultiDict

from nanogrid.traces.context import RANDOM, SAMPLED, parse
from nanogrid.traces.export import NoTracing
from nanogrid.traces.settings import Sampler
from nanogrid.traces.spans import Kind
from nanogrid_gateway.api.requests import RunRequest
from nanogrid_gateway.api.runs.jobs import again, job_body, run_input
from nanogrid_gateway.router.request_trace import describe
from nanogrid_gateway.router.sessions import Address, Job
from nanogrid_gateway.tracing import current_trace, request_span, start_tracing
from support.span_recorder import SpanRecorder

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
HEADERS = CIMultiDict({"Traceparent": PARENT, "TraceState": "a=1"})


def test_a_request_of_a_known_caller_continues_its_trace() -> None:
    tracing = SpanRecorder()
    with request_span(tracing, "POST", HEADERS, {"k8s.namespace.name": "team-a"}) as span:
        span.known, span.route, span.status = True, "/run", 202
        inside = current_trace()

    (sent,) = tracing.spans
    assert inside == sent.context
    assert sent.parent == parse(PARENT, "a=1")
    assert sent.context.trace_id == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert (sent.name, sent.kind, sent.error) == ("POST /run", Kind.SERVER, "")
    assert sent.context.state == "a=1"
    assert sent.attributes == {
        "k8s.namespace.name": "team-a",
        "http.request.method": "POST",
        "http.route": "/run",
        "http.response.status_code": 202,
    }
    assert current_trace() is None


def test_a_request_without_a_parent_starts_a_trace() -> None:
    tracing = SpanRecorder()
    for _ in range(2):
        with request_span(tracing, "GET", CIMultiDict(), {}) as span:
            span.known = True

    first, second = tracing.spans
    assert first.parent is None
    assert first.context.flags == SAMPLED | RANDOM
    assert first.context.trace_id != second.context.trace_id
    assert first.name == "GET"


def test_an_unknown_caller_sends_no_span() -> None:
    """Else anybody could fill the queue of the exporter."""
    tracing = SpanRecorder()
    with request_span(tracing, "GET", HEADERS, {}) as span:
        span.status = 401

    assert tracing.spans == []


def test_a_server_error_is_an_error_and_a_refusal_is_none() -> None:
    tracing = SpanRecorder()
    for status in (404, 503):
        with request_span(tracing, "GET", HEADERS, {}) as span:
            span.known, span.status = True, status

    assert [span.error for span in tracing.spans] == ["", "503"]
    assert tracing.spans[1].attributes["error.type"] == "503"


def test_a_method_of_the_callers_own_is_no_name() -> None:
    tracing = SpanRecorder()
    with request_span(tracing, "X" * 1000, HEADERS, {}) as span:
        span.known = True

    assert tracing.spans[0].name == "_OTHER"


def test_an_exception_ends_the_span_and_goes_on() -> None:
    tracing = SpanRecorder()

    def broken() -> None:
        with request_span(tracing, "GET", HEADERS, {}) as span, span.call("GET", {}):
            span.known = True
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        broken()

    server, client = tracing.spans
    assert client.error == "ConnectionResetError"
    assert (client.kind, client.parent) == (Kind.CLIENT, server.context)
    assert current_trace() is None


@pytest.mark.parametrize(
    ("headers", "passed"),
    [
        (HEADERS, PARENT),
        (CIMultiDict({"traceparent": "no", "tracestate": "a=1"}), None),
        (CIMultiDict([("traceparent", PARENT), ("traceparent", PARENT)]), None),
        (CIMultiDict(), None),
    ],
)
def test_without_an_exporter_a_valid_context_passes(
    headers: "CIMultiDict[str]", passed: str | None
) -> None:
    with request_span(NoTracing(), "POST", headers, {}) as span, span.call("POST", {}) as outgoing:
        span.known = True
        inside = current_trace()

    assert (inside and inside.header()) == passed
    assert inside == outgoing


def test_an_unsampled_parent_is_passed_on_as_such() -> None:
    tracing = SpanRecorder()
    headers = CIMultiDict({"traceparent": PARENT[:-1] + "0"})
    with request_span(tracing, "POST", headers, {}) as span:
        span.known = True
        inside = current_trace()

    assert tracing.spans == []
    assert inside is not None
    assert not inside.sampled
    assert inside.span_id != "00f067aa0ba902b7"


def test_a_job_has_the_span_of_its_request_as_annotations() -> None:
    request = RunRequest.model_validate({"functionId": "sales", "inputData": 1})
    context = parse(PARENT, "a=1")
    body = job_body(request, 1, "r-1", run_input(request), 60, trace=context)
    plain = job_body(request, 1, "r-1", run_input(request), 60)

    given = {"nanogrid.io/traceparent": PARENT, "nanogrid.io/tracestate": "a=1"}
    assert given.items() <= body["metadata"]["annotations"].items()
    assert not given.keys() & plain["metadata"]["annotations"].keys()
    assert body["spec"] == plain["spec"]
    body["metadata"]["namespace"] = "team-a"
    repeated = again(body, "r-2")
    assert not given.keys() & repeated["metadata"]["annotations"].keys(), "it has its own trace"


@pytest.mark.parametrize(
    ("method", "path", "route"),
    [
        ("POST", "/execute", "/sessions/{namespace}/{name}/execute"),
        ("GET", "/files/secret/report.csv", "/sessions/{namespace}/{name}/files/{path}"),
        ("GET", "/my-secret", "_other"),
        ("GET", "/", "_other"),
    ],
)
def test_the_route_of_a_session_names_no_file(method: str, path: str, route: str) -> None:
    job = Job(
        address=Address("team-a", "s"), uid="u", request_id="r", phase="", reason="", message="",
        pod_name="", unprotected=False, deleting=False,
    )  # fmt: skip
    tracing = SpanRecorder(Sampler())
    with request_span(tracing, method, HEADERS, {}) as span:
        describe(span, path, job)

    (sent,) = tracing.spans
    assert sent.attributes["http.route"] == route
    assert "secret" not in repr(sent)


def test_a_wrong_variable_ends_the_process_with_its_name(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NANOGRID_TRACING", "perhaps")
    with pytest.raises(SystemExit) as caught:
        start_tracing("nanogrid-router")

    assert caught.value.code == 2
    assert "a setting is wrong: NANOGRID_TRACING" in caplog.text
