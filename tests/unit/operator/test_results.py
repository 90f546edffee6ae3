"""Only the pod of a job can report for it. A report that comes too early must be retried."""

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from nanogrid import names, wire
from nanogrid.types import Json
from nanogrid_operator.__main__ import _serving_denied
from nanogrid_operator.server.senders import REVIEWS, Frequent
from support.builders import (
    CREATED,
    JOB_UID,
    POD_UID,
    a_job,
    a_job_body,
    a_pod,
    a_pod_body,
    a_report,
    a_result,
    signed,
    some_settings,
)
from support.operator_fakes import reviewed
from support.results_endpoint import BEARER, Endpoint
from support.s3_server import free_port

pytestmark = pytest.mark.security


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    endpoint = Endpoint()
    async with endpoint.http:
        yield endpoint


async def test_a_report_is_noted_and_enqueues_the_job(endpoint: Endpoint) -> None:
    answer = await endpoint.post()

    assert answer == (202, {"noted": True})
    assert endpoint.cache.report(JOB_UID, 0) == (a_report(), CREATED)
    assert await endpoint.queue.get() == JOB_UID
    assert endpoint.counted == ["accepted"]


async def test_korean_output_arrives_unchanged(endpoint: Endpoint) -> None:
    report = a_report(a_result(stdout="합계 157,685,452원\n"))

    await endpoint.post(wire.dumps(report).encode())

    assert endpoint.cache.report(JOB_UID, 0) == (report, CREATED)


async def test_a_signed_report_is_noted(endpoint: Endpoint) -> None:
    report = a_report(signed(a_result()))

    answer = await endpoint.post(wire.dumps(report))

    assert answer == (202, {"noted": True})
    assert endpoint.cache.report(JOB_UID, 0) == (report, CREATED)


async def test_a_report_with_a_wrong_code_is_refused(endpoint: Endpoint) -> None:
    forged = replace(signed(a_result()), stdout="other")

    answer = await endpoint.post(wire.dumps(a_report(forged)))

    assert answer[0] == 400
    assert "authentication code" in answer[1]["error"]
    assert not endpoint.noted


async def test_the_token_is_reviewed_for_the_audience_of_results(endpoint: Endpoint) -> None:
    await endpoint.post()

    (review,) = endpoint.kube.reviews
    assert review["spec"] == {"token": "the-token", "audiences": ["nanogrid-results"]}


async def test_a_repeated_report_is_accepted_and_noted_once(endpoint: Endpoint) -> None:
    await endpoint.post()

    answer = await endpoint.post(wire.dumps(a_report(a_result(stdout="other"))))

    assert answer[0] == 202
    assert endpoint.cache.report(JOB_UID, 0) == (a_report(), CREATED)


@pytest.mark.parametrize("headers", [{}, {"Authorization": ""}])
async def test_a_report_without_a_token_is_refused(
    endpoint: Endpoint, headers: dict[str, str]
) -> None:
    answer = await endpoint.post(headers=headers)

    assert answer == (401, {"error": "the token is not valid"})
    assert endpoint.kube.reviews == []
    assert not endpoint.noted


async def test_only_the_probes_need_no_token(endpoint: Endpoint) -> None:
    """The policy of this port accepts every source, so each route authenticates its callers."""
    routes = {
        (route.method, route.resource.canonical)
        for route in endpoint.http.app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    answers = {route: (await endpoint.http.request(*route)).status for route in routes}

    open_routes = {("GET", "/healthz"), ("GET", "/readyz")}
    assert {route for route, status in answers.items() if status != 401} == open_routes
    assert len(routes) == len(open_routes) + 4


@pytest.mark.parametrize(
    "review",
    [
        {},
        {"authenticated": False, "error": "expired"},
        reviewed(POD_UID, authenticated=False),
        reviewed(POD_UID, audience="https://kubernetes.default.svc"),
        reviewed(POD_UID, audiences=[]),
        reviewed(POD_UID, user={"username": "system:serviceaccount:team-a:default"}),
        reviewed(POD_UID, user={"extra": {"authentication.kubernetes.io/pod-uid": []}}),
    ],
    ids=["empty", "expired", "refused", "foreign audience", "no audience", "no pod", "no pod uid"],
)
async def test_a_token_without_a_pod_is_refused(endpoint: Endpoint, review: Any) -> None:
    endpoint.kube.review = review

    answer = await endpoint.post()

    assert answer[0] == 401
    assert not endpoint.noted


async def test_another_pod_cannot_report_for_the_job(endpoint: Endpoint) -> None:
    endpoint.kube.review = reviewed("another-pod")

    answer = await endpoint.post()

    assert answer == (403, {"error": "that job does not own this pod"})
    assert not endpoint.noted


async def test_a_pod_cannot_report_for_a_deleted_job(endpoint: Endpoint) -> None:
    other = a_result(job=wire.JobRef(namespace="team-a", name="sales", uid="gone"))

    answer = await endpoint.post(wire.dumps(a_report(other)))

    assert answer[0] == 403


async def test_a_replaced_pod_cannot_report(endpoint: Endpoint) -> None:
    endpoint.cache.drop_pod(a_pod_body())
    endpoint.cache.put_pod(a_pod_body(uid="new", version=30))

    answer = await endpoint.post()

    assert answer[0] == 403
    assert not endpoint.noted


async def test_a_deleted_pod_can_still_report(endpoint: Endpoint) -> None:
    endpoint.cache.drop_pod(a_pod_body())

    answer = await endpoint.post()

    assert answer == (202, {"noted": True})
    assert endpoint.noted


async def test_another_pod_cannot_report_for_a_deleted_pod(endpoint: Endpoint) -> None:
    endpoint.cache.drop_pod(a_pod_body())
    endpoint.kube.review = reviewed("another-pod")

    answer = await endpoint.post()

    assert answer[0] == 403
    assert not endpoint.noted


async def test_a_pod_can_report_only_for_its_own_attempt(endpoint: Endpoint) -> None:
    endpoint.cache.put_pod(a_pod_body(attempt=1, uid="second"))

    answer = await endpoint.post(wire.dumps(a_report(a_result(attempt=1))))

    assert answer[0] == 403
    assert endpoint.cache.report(JOB_UID, 1) is None


async def test_a_pod_of_another_namespace_cannot_forge_a_result(endpoint: Endpoint) -> None:
    forger = a_pod_body(uid="forger", version=30)
    forger["metadata"]["namespace"] = "team-b"
    endpoint.cache.put_pod(forger)
    endpoint.kube.review = reviewed("forger")

    answer = await endpoint.post()

    assert answer[0] in (403, 503)
    assert not endpoint.noted


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("{}", "Report: attempt is missing"),
        ("[]", "Report: expected an object, got list"),
        ('{"attempt":"0"}', "attempt: expected int, got str"),
    ],
)
async def test_the_answer_to_a_malformed_report_names_the_error(
    endpoint: Endpoint, body: str, error: str
) -> None:
    assert await endpoint.post(body) == (400, {"error": error})


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe{}"])
async def test_a_body_that_is_not_json_is_refused(endpoint: Endpoint, body: bytes) -> None:
    answer = await endpoint.post(body)

    assert answer[0] == 400


async def test_extreme_nesting_is_refused(endpoint: Endpoint) -> None:
    body = '{"a":' * 100_000
    answer = await endpoint.http.post("/v1/results", data=body, headers=BEARER)

    assert answer.status == 400


async def test_a_report_that_is_too_large_is_refused(endpoint: Endpoint) -> None:
    body = io.BytesIO(b" " * (wire.REPORT_CAP_BYTES + 1))

    answer = await endpoint.http.post("/v1/results", data=body, headers=BEARER)

    assert answer.status == 413


async def test_a_failed_review_is_a_temporary_error(endpoint: Endpoint) -> None:
    endpoint.kube.refuse("REVIEW", 0, "TimeoutError")

    answer = await endpoint.post()

    assert answer == (503, {"error": "cannot check the token now"})


async def test_a_pod_that_the_watch_has_not_brought_must_retry(endpoint: Endpoint) -> None:
    endpoint.cache.drop_job(JOB_UID)
    endpoint.cache.put_job(a_job_body())

    answer = await endpoint.post()

    assert answer == (503, {"error": "the pod is not known yet"})


async def test_a_report_before_the_first_list_must_be_retried(endpoint: Endpoint) -> None:
    endpoint.cache.primed = False
    endpoint.cache.drop_job(JOB_UID)

    answer = await endpoint.post()

    assert answer[0] == 503


async def test_a_report_to_a_standby_must_be_retried(endpoint: Endpoint) -> None:
    endpoint.queue.paused = True
    answer = await endpoint.post()
    endpoint.queue.resume()

    assert answer[0] == 503
    assert not endpoint.noted
    assert (await endpoint.post())[0] == 202
    assert endpoint.counted == ["refused", "accepted"]


async def test_an_accepted_report_is_noted(endpoint: Endpoint) -> None:
    endpoint.cache.drop_job(JOB_UID)
    endpoint.cache.put_pod(a_pod_body())

    answer = await endpoint.post()

    assert endpoint.noted or answer[0] != 202


@pytest.mark.parametrize(("uid", "code"), [(JOB_UID, 202), ("another-job", 403)])
async def test_with_a_key_an_agent_reports_for_its_job_without_a_review(
    uid: str, code: int
) -> None:
    endpoint = Endpoint(some_settings(report_key="k" * 32))
    token = names.report_token(b"k" * 32, uid)
    async with endpoint.http:
        answer = await endpoint.post(headers={"Authorization": f"Bearer {token}"})
        reviewed_token = await endpoint.post()

    assert answer[0] == code
    assert endpoint.noted is (code == 202)
    assert reviewed_token == (401, {"error": "the token is not valid"})
    assert endpoint.kube.reviews == []


async def test_readiness_names_failed_checks(endpoint: Endpoint) -> None:
    answer = await endpoint.http.get("/readyz")
    body = await answer.json()

    assert (answer.status, body["ready"]) == (503, False)
    assert body["missing"] == {"start": "the first checks have not ended"}
    assert (body["network"]["type"], body["network"]["reason"]) == (
        "NetworkEnforced",
        "PoliciesDisabled",
    )


async def test_a_process_is_ready_after_its_first_list(endpoint: Endpoint) -> None:
    """So a rolling update ends the old leader when the new pod can take over at once."""
    checking = asyncio.create_task(endpoint.health.run())
    while endpoint.health.missing():  # noqa: ASYNC110 the checks end in the next turns of the loop
        await asyncio.sleep(0)
    checking.cancel()
    ready = await endpoint.http.get("/readyz")
    endpoint.cache.primed = False
    early = await endpoint.http.get("/readyz")

    assert (ready.status, early.status) == (200, 503)
    assert list((await early.json())["missing"]) == ["lists"]


async def test_liveness_succeeds_at_first(endpoint: Endpoint) -> None:
    answer = await endpoint.http.get("/healthz")

    assert (answer.status, await answer.json()) == (200, {"stuck": ""})


async def test_the_denied_port_accepts_and_closes() -> None:
    port = free_port()
    async with _serving_denied(port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b""
        writer.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


# The memory of running code.


def token_of(pod: Json) -> str:
    """A token whose claims name this pod."""
    meta = pod["metadata"]
    bound = {"name": meta["name"], "uid": meta["uid"]}
    claims = {"kubernetes.io": {"namespace": meta["namespace"], "pod": bound}}
    return f"h.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode()}.s"


def a_memory_report(**changes: Any) -> str:
    given = {"uid": JOB_UID, "attempt": 0, "memory_bytes": 38 << 20, "peak_memory_bytes": 41 << 20}
    return wire.dumps(wire.MemoryReport(**{**given, **changes}))


def shown(endpoint: Endpoint) -> Any:
    return endpoint.memory.status(a_job(), a_pod())


async def report_memory(endpoint: Endpoint, **changes: Any) -> int:
    answer = await endpoint.post(a_memory_report(**changes), path=names.MEMORY_PATH)
    return answer[0]


async def test_memory_is_noted_and_reconciles_nothing(endpoint: Endpoint) -> None:
    assert await report_memory(endpoint) == 202
    assert shown(endpoint) == {"memory": "38Mi", "peakMemory": "41Mi/256Mi"}
    assert len(endpoint.queue) == 0


async def test_a_session_report_has_its_memory(endpoint: Endpoint) -> None:
    report = wire.SessionReport(
        uid=JOB_UID,
        attempt=0,
        ready=True,
        executions=0,
        running=None,
        last_activity_millis=0,
        memory_bytes=38 << 20,
    )

    answer = await endpoint.post(wire.dumps(report), path=names.SESSIONS_PATH)

    assert answer[0] == 202
    assert shown(endpoint) == {"memory": "38Mi"}


async def test_memory_is_within_its_bounds(endpoint: Endpoint) -> None:
    assert await report_memory(endpoint, memory_bytes=-5, peak_memory_bytes=10**30) == 202
    assert shown(endpoint) == {"memory": "0B", "peakMemory": "8Pi/256Mi"}


async def test_another_pod_cannot_report_memory(endpoint: Endpoint) -> None:
    endpoint.kube.review = reviewed("another-pod")

    assert await report_memory(endpoint) == 403
    assert shown(endpoint) == {}


async def test_memory_without_a_token_is_refused(endpoint: Endpoint) -> None:
    answer = await endpoint.post(a_memory_report(), headers={}, path=names.MEMORY_PATH)

    assert answer[0] == 401
    assert shown(endpoint) == {}


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"uid":1}', a_memory_report()[:-4] + '"x"}'])
async def test_malformed_memory_is_refused(endpoint: Endpoint, body: str) -> None:
    answer = await endpoint.post(body, path=names.MEMORY_PATH)

    assert answer[0] == 400
    assert shown(endpoint) == {}


async def test_a_finished_job_keeps_no_memory(endpoint: Endpoint) -> None:
    status = {"phase": "Succeeded", "completionTime": "2025-10-09T08:53:20Z"}
    endpoint.cache.put_job(a_job_body(version=60, status=status))

    assert await report_memory(endpoint) == 202
    assert shown(endpoint) == {}


async def test_frequent_reports_cost_one_review_in_ten_minutes(endpoint: Endpoint) -> None:
    for _ in range(60):
        assert await report_memory(endpoint) == 202
        endpoint.seconds += 10
    assert len(endpoint.kube.reviews) == 1

    endpoint.seconds += 10
    assert await report_memory(endpoint) == 202
    assert len(endpoint.kube.reviews) == 2


async def test_reports_of_memory_share_few_reviews_and_results_do_not(endpoint: Endpoint) -> None:
    codes = []
    for number in range(30):
        body = a_pod_body(uid=f"uid-{number}", version=60 + number)
        endpoint.cache.put_pod(body)
        endpoint.kube.review = reviewed(f"uid-{number}")
        headers = {"Authorization": f"Bearer {token_of(body)}"}
        answer = await endpoint.post(a_memory_report(), headers, names.MEMORY_PATH)
        codes.append(answer[0])

    assert codes == [202] * REVIEWS[Frequent.MEMORY].burst + [429] * (
        30 - REVIEWS[Frequent.MEMORY].burst
    )
    assert len(endpoint.kube.reviews) == REVIEWS[Frequent.MEMORY].burst
    assert (await endpoint.post(headers=headers))[0] == 202, "a result waits for no such report"
    endpoint.seconds += 1
    assert (await endpoint.post(a_memory_report(), headers, names.MEMORY_PATH))[0] == 202
