"""Jobs and requests of the client belong to the trace of the program that uses it."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from nanogrid import names
from nanogrid.client import Client
from nanogrid.client.errors import InvalidRequest
from nanogrid.client.gateway import Gateway
from nanogrid.client.jobs.manifest import build_job
from nanogrid.client.tracing import API, current_trace, submitting, traced
from nanogrid.threads import Threads
from support.builders import ROOT
from support.fake_gateway import RESULT, FakeGateway
from support.fast_timing import fast_timing

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
MANIFEST: Any = {"metadata": {"name": "x", "annotations": {"own": "1"}}}


@pytest.fixture(autouse=True)
def no_outer_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRACEPARENT", raising=False)
    monkeypatch.delenv("TRACESTATE", raising=False)


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """What a program sends that has set up OpenTelemetry."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    yield exporter
    provider.shutdown()


def parent_of(manifest: Any) -> str | None:
    found: str | None = manifest["metadata"]["annotations"].get(names.ANNOTATION_TRACEPARENT)
    return found


def test_without_a_trace_a_manifest_stays_as_it_is() -> None:
    with submitting("nanogrid.submit"):
        assert traced(MANIFEST) is MANIFEST


def test_a_job_is_a_child_of_the_programs_span(exported: InMemorySpanExporter) -> None:
    with trace.get_tracer("app").start_as_current_span("order"), submitting("nanogrid.submit"):
        manifest = traced(MANIFEST)

    submit, order = exported.get_finished_spans()
    assert (submit.name, submit.kind) == ("nanogrid.submit", trace.SpanKind.PRODUCER)
    assert submit.parent is not None
    assert order.context is not None
    assert submit.context is not None
    assert submit.parent.span_id == order.context.span_id
    expected = f"00-{submit.context.trace_id:032x}-{submit.context.span_id:016x}-"
    assert str(parent_of(manifest)).startswith(expected)
    assert manifest["metadata"]["annotations"]["own"] == "1"


def test_the_environment_is_the_parent_of_a_program_without_a_span(
    exported: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACEPARENT", PARENT)
    monkeypatch.setenv("TRACESTATE", "a=1")
    with submitting("nanogrid.submit"):
        manifest = traced(MANIFEST)

    (submit,) = exported.get_finished_spans()
    assert submit.parent is not None
    assert f"{submit.parent.span_id:016x}" == "00f067aa0ba902b7"
    assert str(parent_of(manifest)).startswith("00-4bf92f3577b34da6a3ce929d0e0e4736-")
    assert manifest["metadata"]["annotations"][names.ANNOTATION_TRACESTATE] == "a=1"


def test_without_the_library_the_environment_is_the_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, API)
    monkeypatch.setenv("TRACEPARENT", PARENT)
    with submitting("nanogrid.submit"):
        assert parent_of(traced(MANIFEST)) == PARENT
    monkeypatch.setenv("TRACEPARENT", "nonsense")
    assert current_trace() is None


def test_a_parent_that_the_user_gives_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    other = PARENT.replace("4bf9", "aaaa")
    job = build_job("print(1)", traceparent=other, tracestate="b=2", keep=True)
    monkeypatch.setenv("TRACEPARENT", PARENT)

    assert parent_of(traced(job)) == other
    assert job["metadata"]["annotations"][names.ANNOTATION_TRACESTATE] == "b=2"
    assert job["metadata"]["annotations"][names.ANNOTATION_KEEP] == "true"


def test_the_parent_is_not_part_of_the_specs_hash() -> None:
    key = f"{names.GROUP}/spec-hash"
    one, other = (
        build_job("print(1)", name="x", traceparent=p)["metadata"]["annotations"][key]
        for p in (PARENT, None)
    )
    assert one == other


@pytest.mark.parametrize("given", [{"traceparent": "00-1-2-01"}, {"tracestate": "a=1"}])
def test_an_invalid_parent_is_refused_with_a_hint(given: Any) -> None:
    with pytest.raises(InvalidRequest, match="traceparent") as caught:
        build_job("print(1)", **given)
    assert "hex digits" in caught.value.hint


def test_requests_to_gateway_and_sessions_have_the_headers(
    gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACEPARENT", PARENT)
    monkeypatch.setenv("TRACESTATE", "a=1")
    gateway.script = [(200, RESULT)]
    Gateway.connect(gateway.url, timing=fast_timing()).run("f")

    assert gateway.headers[0]["traceparent"] == PARENT
    assert gateway.headers[0]["tracestate"] == "a=1"


def test_a_retry_is_in_the_current_trace(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    first = client.submit("print(1)")
    first.wait()
    monkeypatch.setenv("TRACEPARENT", PARENT)
    second = first.retry()

    assert parent_of(first.job) is None
    assert str(parent_of(second.job)).startswith(PARENT[:36])


async def test_a_call_in_a_thread_sees_the_callers_span(exported: InMemorySpanExporter) -> None:
    threads = Threads(1)
    try:
        with trace.get_tracer("app").start_as_current_span("order"):
            inside, outside = await threads.call(current_trace), current_trace()
    finally:
        threads.close()

    assert inside is not None
    assert inside == outside


def test_the_example_of_the_documentation_continues_the_trace(
    exported: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs/traces.md").read_text(encoding="utf-8")
    code = page.split("```python\n")[1].split("```")[0]
    monkeypatch.setenv("TRACEPARENT", PARENT)

    exec(compile(code, "docs/traces.md", "exec"), {})

    (span,) = exported.get_finished_spans()
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == "00f067aa0ba902b7"


def test_the_client_imports_no_opentelemetry() -> None:
    code = "import sys, nanogrid.client, nanogrid.client.http, nanogrid.client.jobs.manifest\n"
    code += "assert not [m for m in sys.modules if m.startswith('opentelemetry')], sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
