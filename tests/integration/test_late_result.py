"""A report from an agent that was frozen with its node until its attempt was decided."""

import uuid
from dataclasses import replace

import pytest

from nanogrid import names, result_auth, wire
from nanogrid.reasons import Reason
from nanogrid_executor.agent import persist
from support.fake_s3 import fake_s3
from support.s3_server import BUCKET, S3Server

pytestmark = pytest.mark.integration


def some_result(request_id: str, attempt: int, reason: Reason, status: str) -> wire.Result:
    """A result of one job's attempt."""
    return wire.blank_result(
        request_id=request_id,
        function_id=None,
        status=status,
        reason=reason.value,
        job=wire.JobRef(namespace="team-a", name="sales", uid=f"uid-{request_id}"),
        attempt=attempt,
        message="",
    )


@pytest.mark.parametrize(
    ("first", "then", "kept"),
    [
        pytest.param((0, Reason.EVICTED), (1, Reason.COMPLETED), 1, id="a-later-attempt-replaces"),
        pytest.param(
            (1, Reason.COMPLETED), (0, Reason.COMPLETED), 0, id="an-earlier-attempt-does-not"
        ),
        pytest.param(
            (0, Reason.NODE_LOST), (0, Reason.COMPLETED), 0, id="nor-after-the-operators-decision"
        ),
    ],
)
def test_s3_has_the_result_of_the_last_attempt(
    s3: S3Server, first: tuple[int, Reason], then: tuple[int, Reason], kept: int
) -> None:
    request_id = f"late-{uuid.uuid4().hex[:8]}"
    results = [
        some_result(
            request_id, attempt, reason, "SUCCESS" if reason is Reason.COMPLETED else "FAILED"
        )
        for attempt, reason in (first, then)
    ]
    key = names.result_object(request_id)
    s3.client.put_object(Bucket=BUCKET, Key=key, Body=wire.dumps(results[0]).encode())

    assert persist.put_result(BUCKET, results[1], ""), "S3 has the correct result"

    assert stored(s3, request_id) == results[kept]


def stored(s3: S3Server, request_id: str) -> wire.Result:
    """The result of a request in S3."""
    key = names.result_object(request_id)
    text = s3.client.get_object(Bucket=BUCKET, Key=key)["Body"].read().decode()
    return wire.loads(wire.Result, text)


def test_another_jobs_result_is_left_to_the_operator(s3: S3Server) -> None:
    request_id = f"late-{uuid.uuid4().hex[:8]}"
    ours = some_result(request_id, 1, Reason.COMPLETED, "SUCCESS")
    other = replace(ours, attempt=0, job=replace(ours.job, uid="another"))
    body = wire.dumps(other).encode()
    s3.client.put_object(Bucket=BUCKET, Key=names.result_object(request_id), Body=body)

    assert not persist.put_result(BUCKET, ours, "")

    assert stored(s3, request_id) == other


@pytest.mark.parametrize(("key", "kept"), [("k" * 64, "there"), ("f" * 64, "ours"), ("", "ours")])
def test_only_a_signed_decision_stays(s3: S3Server, key: str, kept: str) -> None:
    """``key`` has signed the result that is there; the agent has another one with its own key."""
    request_id = f"late-{uuid.uuid4().hex[:8]}"
    ours = result_auth.sign(some_result(request_id, 0, Reason.COMPLETED, "SUCCESS"), "k" * 64)
    there = result_auth.sign(some_result(request_id, 0, Reason.NODE_LOST, "FAILED"), key)
    body = wire.dumps(there).encode()
    s3.client.put_object(Bucket=BUCKET, Key=names.result_object(request_id), Body=body)

    assert persist.put_result(BUCKET, ours, "k" * 64)

    assert stored(s3, request_id) == (there if kept == "there" else ours)


@pytest.mark.parametrize("body", [b"", b"no result", b"{" * wire.REPORT_CAP_BYTES + b"{"])
def test_an_object_that_is_not_a_result_is_replaced(s3: S3Server, body: bytes) -> None:
    request_id = f"late-{uuid.uuid4().hex[:8]}"
    ours = some_result(request_id, 0, Reason.COMPLETED, "SUCCESS")
    s3.client.put_object(Bucket=BUCKET, Key=names.result_object(request_id), Body=body)

    assert persist.put_result(BUCKET, ours, "")

    assert stored(s3, request_id) == ours


@pytest.mark.parametrize(
    ("answers", "puts", "done"),
    [
        pytest.param({}, 1, True, id="an-ordinary-result-costs-one-request"),
        pytest.param({1: (501, "NotImplemented")}, 2, True, id="no-conditions"),
        pytest.param({1: (403, "AccessDenied")}, 1, False, id="denied"),
        pytest.param({1: (503, "SlowDown"), 2: (503, "SlowDown")}, 2, False, id="slow-down"),
    ],
)
def test_the_agent_reports_whether_s3_stored_the_result(
    monkeypatch: pytest.MonkeyPatch,
    answers: dict[int, tuple[int, str]],
    puts: int,
    done: bool,
) -> None:
    with fake_s3() as server:
        monkeypatch.setenv(names.ENV_S3_ENDPOINT, server.endpoint)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
        server.behaviour.error_code = next((code for _, code in answers.values()), "")
        server.behaviour.statuses = lambda method, path, number: answers.get(number, (200, ""))[0]

        answer = persist.put_result(BUCKET, some_result("r", 0, Reason.COMPLETED, "SUCCESS"), "")

        assert (answer, len(server.behaviour.requests)) == (done, puts)
