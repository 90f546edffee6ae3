"""The spans of attempts and jobs, from their facts, for all kinds of ends."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanogrid import wire
from nanogrid.traces.context import parse
from nanogrid.traces.settings import Sampler
from nanogrid.traces.spans import Kind, Span
from nanogrid_operator.decision.attempt_spans import AttemptEnd, attempt_spans
from nanogrid_operator.decision.job_spans import DELETED, delivery_span, job_span
from nanogrid_operator.model.trace import JobTrace, Stage, code_env, job_trace
from support.builders import CREATED, JOB_UID, a_job, a_job_body, a_pod, an_attempt, ended, retrying

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TIMINGS = wire.Timings(sync_millis=500, start_millis=20, execution_millis=2000, upload_millis=100)


def a_trace(parent: str | None = None, sampler: Sampler | None = None) -> JobTrace:
    annotations = {} if parent is None else {"nanogrid.io/traceparent": parent}
    return job_trace({"uid": JOB_UID, "annotations": annotations}, sampler or Sampler())


def an_end(**changes: Any) -> AttemptEnd:
    """An attempt whose pod was created 2 s after the job, and that ends 8 s after it."""
    given: dict[str, Any] = {
        "number": 0,
        "pod": a_pod(age=2.0, sync=ended(age=4.0)),
        "reason": "Completed",
        "succeeded": True,
        "ended": CREATED + 8.0,
        "reported": CREATED + 7.5,
        "timings": TIMINGS,
        "exit_code": 0,
        "peak_memory_bytes": 41 << 20,
    }
    return AttemptEnd(**given | changes)


def ages(spans: list[Span]) -> dict[str, tuple[float, float]]:
    """Begin and end of each span, in seconds after the job's creation."""
    return {
        span.name.rpartition(".")[2]: (
            round(span.start - CREATED, 3),
            round(span.end - CREATED, 3),
        )
        for span in spans
    }


def errors(spans: list[Span]) -> dict[str, str]:
    return {span.name.rpartition(".")[2]: span.error for span in spans if span.error}


def test_all_stages_of_a_success_follow_each_other() -> None:
    spans = attempt_spans(a_job(), a_trace(), an_end())

    assert ages(spans) == {
        "queue": (0.0, 2.0),
        "attempt": (2.0, 8.0),
        "start": (2.0, 4.5),
        "sync": (4.5, 5.0),
        "launch": (5.0, 5.4),
        "execution": (5.4, 7.4),
        "upload": (7.4, 7.5),
    }
    assert errors(spans) == {}
    queue, attempt, *stages = spans
    trace = a_trace()
    assert queue.parent == attempt.parent == trace.root
    assert {span.parent for span in stages} == {attempt.context}
    assert len({span.context.span_id for span in spans}) == len(spans)
    assert attempt.attributes["k8s.pod.name"] == "sales-" + attempt.attributes["k8s.pod.name"][6:]
    execution = spans[5]
    assert execution.attributes["process.exit.code"] == 0
    assert execution.attributes["nanogrid.memory.peak_bytes"] == 41 << 20


def test_without_inputs_there_is_no_sync() -> None:
    timings = wire.Timings(start_millis=20, execution_millis=2000, upload_millis=0)
    spans = attempt_spans(a_job(), a_trace(), an_end(pod=a_pod(age=2.0), timings=timings))

    assert ages(spans) == {
        "queue": (0.0, 2.0),
        "attempt": (2.0, 8.0),
        "start": (2.0, 5.5),
        "execution": (5.5, 7.5),
        "upload": (7.5, 7.5),
    }


def test_an_attempt_that_fails_in_the_sync() -> None:
    end = an_end(
        reason="InputNotFound",
        succeeded=False,
        sync_failed=True,
        reported=None,
        timings=wire.Timings(),
        exit_code=None,
        peak_memory_bytes=None,
        pod=a_pod(age=2.0, sync=ended(1, age=6.0)),
    )
    spans = attempt_spans(a_job(), a_trace(), end)

    assert ages(spans)["sync"] == (2.0, 6.0)
    assert errors(spans) == {"attempt": "InputNotFound", "sync": "InputNotFound"}
    assert "execution" not in ages(spans)


@pytest.mark.parametrize(
    ("changes", "stage"),
    [
        ({"reason": "ExecutionTimeout", "exit_code": 143}, "execution"),
        ({"reason": "NonZeroExit", "exit_code": 3}, "execution"),
        ({"reason": "OutputUploadFailed"}, "upload"),
        ({"reason": "NodeLost", "timings": wire.Timings(), "reported": None}, "start"),
        ({"reason": "NodeLost", "timings": wire.Timings(), "reported": None, "ran": True},
         "execution"),
    ],
)  # fmt: skip
def test_the_stage_that_failed_has_the_error(changes: dict[str, Any], stage: str) -> None:
    spans = attempt_spans(a_job(), a_trace(), an_end(succeeded=False, **changes))

    assert errors(spans) == {"attempt": changes["reason"], stage: changes["reason"]}
    failed = next(s for s in spans if s.name.endswith(stage))
    assert failed.attributes["error.type"] == changes["reason"]


def test_a_job_without_a_pod_has_waited_only() -> None:
    end = an_end(pod=None, reason="InvalidSpec", succeeded=False, timings=wire.Timings())
    spans = attempt_spans(a_job(), a_trace(), end)

    assert ages(spans) == {"queue": (0.0, 8.0)}
    assert errors(spans) == {"queue": "InvalidSpec"}


def test_a_later_attempt_waits_from_the_end_of_the_one_before() -> None:
    job = a_job(status=retrying(an_attempt(0, age=1.0)))
    spans = attempt_spans(job, a_trace(), an_end(number=1))

    assert ages(spans)["queue"] == (1.0, 2.0)
    first = attempt_spans(a_job(), a_trace(), an_end())
    assert not {s.context.span_id for s in spans} & {s.context.span_id for s in first}


seconds = st.one_of(st.none(), st.floats(-1e4, 1e4))
millis = st.one_of(st.none(), st.integers(0, 10**15))


@given(
    created=st.floats(0, 1e4),
    over=st.floats(0, 1e4),
    reported=seconds,
    synced=seconds,
    timings=st.builds(wire.Timings, sync_millis=millis, start_millis=millis,
                      execution_millis=millis, upload_millis=millis),
    ran=st.booleans(),
    sync_failed=st.booleans(),
)  # fmt: skip
def test_stages_are_inside_of_their_attempt_for_any_clocks(
    created: float,
    over: float,
    reported: float | None,
    synced: float | None,
    timings: wire.Timings,
    ran: bool,
    sync_failed: bool,
) -> None:
    """A report is untrusted, and clocks differ."""
    end = an_end(
        pod=a_pod(age=created, sync=None if synced is None else ended(age=synced)),
        ended=CREATED + over,
        reported=None if reported is None else CREATED + reported,
        timings=timings,
        ran=ran,
        sync_failed=sync_failed,
        succeeded=False,
        reason="NodeLost",
    )
    queue, attempt, *stages = attempt_spans(a_job(), a_trace(), end)

    assert queue.start <= queue.end
    assert attempt.start <= attempt.end
    at = attempt.start
    for span in stages:
        assert at == span.start <= span.end <= attempt.end
        at = span.end


# The whole job


def the_job(reason: str = "Completed", succeeded: bool = True, **status: Any) -> Span:
    attempts = status.get("attempts") or []
    before = retrying(*attempts[:-1]) if len(attempts) > 1 else None
    body = a_job_body(status={"requestId": "r-1", **status}, functionRef={"name": "sales"})
    return job_span(body, a_job(status=before), a_trace(PARENT), reason, succeeded, CREATED + 9)


def test_the_span_of_a_job_continues_the_callers_trace() -> None:
    span = the_job(function={"name": "sales", "version": 3})
    parent = parse(PARENT)

    assert parent is not None
    assert (span.parent, span.context.trace_id) == (parent, parent.trace_id)
    assert span.kind is Kind.CONSUMER
    assert span.attributes["faas.name"] == "sales"
    assert span.attributes["faas.version"] == "3"
    assert span.attributes["faas.invocation_id"] == "r-1"
    assert span.attributes["k8s.namespace.name"] == "team-a"
    assert (span.start, span.end, span.error) == (CREATED, CREATED + 9, "")


def test_each_retry_is_an_event_and_the_end_an_error() -> None:
    attempts = [an_attempt(n, "OOMKilled", age=n + 1.0) for n in range(3)]
    span = the_job("OOMKilled", False, attempts=attempts)

    assert [(e.at - CREATED, e.attributes["nanogrid.attempt"]) for e in span.events] == [
        (1.0, 0), (2.0, 1),
    ]  # fmt: skip
    assert span.events[0].attributes["nanogrid.reason"] == "OOMKilled"
    assert (span.error, span.attributes["error.type"]) == ("OOMKilled", "OOMKilled")
    assert span.attributes["nanogrid.job.attempts"] == 3


def test_a_deleted_job_has_an_error() -> None:
    assert the_job(DELETED, False).error == DELETED


def test_a_delivery_after_the_end_belongs_to_the_trace() -> None:
    span = delivery_span(a_trace(PARENT), "webhook", CREATED + 9, CREATED + 99, tries=4)
    refused = delivery_span(a_trace(), "redis", CREATED + 9, CREATED + 8, error="RequestIdConflict")

    assert span.parent == the_job().context
    assert span.attributes["nanogrid.delivery.tries"] == 4
    assert (refused.start, refused.end) == (CREATED + 8, CREATED + 8)
    assert refused.error == refused.attributes["error.type"] == "RequestIdConflict"
    assert span.context.span_id != refused.context.span_id


def test_no_text_of_the_user_is_in_an_attribute() -> None:
    secret = "s3cr3t"
    body = a_job_body(
        env=[{"name": "TOKEN", "value": secret}], args=[secret], stdin=secret,
        status={"message": secret, "result": {"stdout": secret, "message": secret}},
    )  # fmt: skip
    spans = [job_span(body, a_job(), a_trace(), "NonZeroExit", False, CREATED + 9)]
    spans += attempt_spans(a_job(), a_trace(), an_end(reason="NonZeroExit", succeeded=False))

    assert secret not in repr(spans)


# What user code gets


def test_code_gets_the_span_of_its_execution() -> None:
    trace = a_trace(PARENT)
    found = parse(code_env({"uid": JOB_UID, "annotations": {"nanogrid.io/traceparent": PARENT}},
                           0, Sampler())["TRACEPARENT"])  # fmt: skip
    (execution,) = (
        s for s in attempt_spans(a_job(), trace, an_end()) if s.name.endswith("execution")
    )

    assert found == execution.context == trace.stage(0, Stage.EXECUTION)


def test_code_gets_the_callers_context_while_traces_are_off() -> None:
    metadata = {"uid": JOB_UID, "annotations": {"nanogrid.io/traceparent": PARENT}}
    assert code_env(metadata, 0, None) == {"TRACEPARENT": PARENT}
    assert code_env({"uid": JOB_UID}, 0, None) == {}
    metadata["annotations"] = {"nanogrid.io/traceparent": "no", "nanogrid.io/tracestate": "a=1"}
    assert code_env(metadata, 0, None) == {}


def test_without_a_parent_the_ratio_decides_and_code_learns_it() -> None:
    on = code_env({"uid": JOB_UID}, 0, Sampler("parentbased_traceidratio", 1.0))
    off = code_env({"uid": JOB_UID}, 0, Sampler("parentbased_traceidratio", 0.0))

    assert on["TRACEPARENT"].endswith("-01")
    assert off["TRACEPARENT"] == on["TRACEPARENT"][:-1] + "0"
