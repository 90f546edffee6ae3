"""Only the pod of a job may report for it, and a report that came too early is asked for again."""

import io
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from nanogrid import wire
from nanogrid_operator.health import Health
from nanogrid_operator.results_api import ResultsApi
from nanogrid_operator.store import Store
from nanogrid_operator.workqueue import WorkQueue
from unit.builders import (
    CREATED,
    JOB_UID,
    POD_UID,
    a_job_body,
    a_pod_body,
    a_report,
    a_result,
)
from unit.fakes import FakeKube, reviewed

BEARER = {"Authorization": "Bearer the-token"}


class Desk:
    """The endpoint with an operator around it that knows one job and its pod."""

    def __init__(self) -> None:
        self.kube, self.store, self.queue = FakeKube(), Store(), WorkQueue()
        self.health = Health()
        self.store.replace([a_job_body()], [a_pod_body()], listed_at=50)
        self.kube.review = reviewed(POD_UID)
        api = ResultsApi(
            kube=self.kube,
            store=self.store,
            queue=self.queue,
            health=self.health,
            clock=lambda: CREATED,
        )
        self.http = TestClient(TestServer(api.app()))

    async def post(
        self, body: str | bytes | None = None, headers: dict[str, str] = BEARER
    ) -> tuple[int, Any]:
        if body is None:
            body = wire.dumps(a_report())
        answer = await self.http.post("/v1/results", data=body, headers=headers)
        return answer.status, json.loads(await answer.text())

    @property
    def noted(self) -> bool:
        return self.store.report(JOB_UID, 0) is not None


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk()
    async with desk.http:
        yield desk


async def test_a_pods_report_is_noted_and_its_job_looked_at(desk: Desk) -> None:
    answer = await desk.post()

    assert answer == (202, {"noted": True})
    assert desk.store.report(JOB_UID, 0) == (a_report(), CREATED)
    assert await desk.queue.get() == JOB_UID


async def test_korean_output_arrives_as_it_was_printed(desk: Desk) -> None:
    report = a_report(a_result(stdout="합계 157,685,452원\n"))

    await desk.post(wire.dumps(report).encode())

    assert desk.store.report(JOB_UID, 0) == (report, CREATED)


async def test_the_token_is_reviewed_for_our_audience(desk: Desk) -> None:
    await desk.post()

    (review,) = desk.kube.reviews
    assert review["spec"] == {"token": "the-token", "audiences": ["nanogrid-results"]}


async def test_a_report_told_twice_is_taken_twice_and_noted_once(desk: Desk) -> None:
    await desk.post()

    answer = await desk.post(wire.dumps(a_report(a_result(stdout="other"))))

    assert answer[0] == 202
    assert desk.store.report(JOB_UID, 0) == (a_report(), CREATED)


@pytest.mark.parametrize("headers", [{}, {"Authorization": ""}])
async def test_nobody_reports_without_a_token(desk: Desk, headers: dict[str, str]) -> None:
    answer = await desk.post(headers=headers)

    assert answer == (401, {"error": "the token is not valid here"})
    assert desk.kube.reviews == []
    assert not desk.noted


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
async def test_a_token_that_names_no_pod_to_us_is_refused(desk: Desk, review: Any) -> None:
    desk.kube.review = review

    answer = await desk.post()

    assert answer[0] == 401
    assert not desk.noted


async def test_another_pod_may_not_report_for_the_job(desk: Desk) -> None:
    desk.kube.review = reviewed("another-pod")

    answer = await desk.post()

    assert answer == (403, {"error": "that job is not this pod's"})
    assert not desk.noted


async def test_a_pod_may_not_report_for_a_job_that_is_gone(desk: Desk) -> None:
    stranger = a_result(job=wire.JobRef(namespace="team-a", name="sales", uid="gone"))

    answer = await desk.post(wire.dumps(a_report(stranger)))

    assert answer[0] == 403


async def test_a_pod_that_was_replaced_may_not_report(desk: Desk) -> None:
    desk.store.drop_pod(a_pod_body())
    desk.store.put_pod(a_pod_body(uid="new", version=30))

    answer = await desk.post()

    assert answer[0] == 403
    assert not desk.noted


async def test_a_pod_that_is_gone_may_have_the_last_word(desk: Desk) -> None:
    desk.store.drop_pod(a_pod_body())

    answer = await desk.post()

    assert answer == (202, {"noted": True})
    assert desk.noted


async def test_nobody_has_the_last_word_for_a_pod_that_is_gone(desk: Desk) -> None:
    desk.store.drop_pod(a_pod_body())
    desk.kube.review = reviewed("another-pod")

    answer = await desk.post()

    assert answer[0] == 403
    assert not desk.noted


async def test_a_pod_reports_for_its_own_attempt_alone(desk: Desk) -> None:
    desk.store.put_pod(a_pod_body(attempt=1, uid="second"))

    answer = await desk.post(wire.dumps(a_report(a_result(attempt=1))))

    assert answer[0] == 403
    assert desk.store.report(JOB_UID, 1) is None


async def test_a_pod_of_another_namespace_cannot_forge_a_result(desk: Desk) -> None:
    forger = a_pod_body(uid="forger", version=30)
    forger["metadata"]["namespace"] = "team-b"
    desk.store.put_pod(forger)
    desk.kube.review = reviewed("forger")

    answer = await desk.post()

    assert answer[0] in (403, 503)
    assert not desk.noted


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("{}", "Report: attempt is missing"),
        ("[]", "Report: expected an object, got list"),
        ('{"attempt":"0"}', "attempt: expected int, got str"),
    ],
)
async def test_an_unreadable_report_is_told_what_is_wrong(
    desk: Desk, body: str, error: str
) -> None:
    assert await desk.post(body) == (400, {"error": error})


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe{}"])
async def test_what_is_no_json_is_refused(desk: Desk, body: bytes) -> None:
    answer = await desk.post(body)

    assert answer[0] == 400


async def test_nesting_without_end_is_refused(desk: Desk) -> None:
    body = '{"a":' * 100_000
    answer = await desk.http.post("/v1/results", data=body, headers=BEARER)

    assert answer.status == 400


async def test_a_report_beyond_its_cap_is_refused(desk: Desk) -> None:
    body = io.BytesIO(b" " * (wire.REPORT_CAP_BYTES + 1))

    answer = await desk.http.post("/v1/results", data=body, headers=BEARER)

    assert answer.status == 413


async def test_an_api_server_that_cannot_review_now_is_no_refusal(desk: Desk) -> None:
    desk.kube.refuse("REVIEW", 0, "TimeoutError")

    answer = await desk.post()

    assert answer == (503, {"error": "cannot check the token now"})


async def test_a_pod_that_is_newer_than_our_watch_asks_again(desk: Desk) -> None:
    desk.store.drop_job(JOB_UID)
    desk.store.put_job(a_job_body())

    answer = await desk.post()

    assert answer == (503, {"error": "the pod is not known yet"})


async def test_a_report_that_comes_before_the_first_list_asks_again(desk: Desk) -> None:
    desk.store.primed = False
    desk.store.drop_job(JOB_UID)

    answer = await desk.post()

    assert answer[0] == 503


async def test_what_is_called_noted_is_noted(desk: Desk) -> None:
    desk.store.drop_job(JOB_UID)
    desk.store.put_pod(a_pod_body())

    answer = await desk.post()

    assert desk.noted or answer[0] != 202


async def test_readiness_names_what_is_missing(desk: Desk) -> None:
    answer = await desk.http.get("/readyz")

    assert (answer.status, await answer.json()) == (
        503,
        {"ready": False, "missing": {"start": "the first checks have not ended"}},
    )


async def test_liveness_is_well_at_first(desk: Desk) -> None:
    answer = await desk.http.get("/healthz")

    assert (answer.status, await answer.json()) == (200, {"stuck": ""})
