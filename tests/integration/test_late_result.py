"""An agent that was frozen with its node comes back when its attempt has long been decided."""

import uuid
from dataclasses import replace

import pytest

from integration.fake_s3 import fake_s3
from integration.support import BUCKET, S3Server
from nanogrid import names, wire
from nanogrid.reasons import Reason
from nanogrid_executor import keeper

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
            (0, Reason.NODE_LOST), (0, Reason.COMPLETED), 0, id="nor-after-the-operators-word"
        ),
    ],
)
def test_result_in_s3_is_that_of_the_last_attempt(
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

    assert keeper.put_result(BUCKET, results[1]), "S3 has what is to be there"

    assert stored(s3, request_id) == results[kept]


def stored(s3: S3Server, request_id: str) -> wire.Result:
    """What S3 has for a request."""
    key = names.result_object(request_id)
    text = s3.client.get_object(Bucket=BUCKET, Key=key)["Body"].read().decode()
    return wire.loads(wire.Result, text)


def test_another_jobs_result_is_left_to_the_operator(s3: S3Server) -> None:
    request_id = f"late-{uuid.uuid4().hex[:8]}"
    ours = some_result(request_id, 1, Reason.COMPLETED, "SUCCESS")
    other = replace(ours, attempt=0, job=replace(ours.job, uid="another"))
    body = wire.dumps(other).encode()
    s3.client.put_object(Bucket=BUCKET, Key=names.result_object(request_id), Body=body)

    assert not keeper.put_result(BUCKET, ours)

    assert stored(s3, request_id) == other


@pytest.mark.parametrize("body", [b"", b"no result", b"{" * wire.REPORT_CAP_BYTES + b"{"])
def test_what_is_no_result_is_replaced(s3: S3Server, body: bytes) -> None:
    request_id = f"late-{uuid.uuid4().hex[:8]}"
    ours = some_result(request_id, 0, Reason.COMPLETED, "SUCCESS")
    s3.client.put_object(Bucket=BUCKET, Key=names.result_object(request_id), Body=body)

    assert keeper.put_result(BUCKET, ours)

    assert stored(s3, request_id) == ours


@pytest.mark.parametrize(
    ("answers", "puts", "done"),
    [
        pytest.param({}, 1, True, id="an-ordinary-result-costs-one-request"),
        pytest.param({1: (501, "NotImplemented")}, 2, True, id="no-conditions"),
        pytest.param({1: (403, "AccessDenied")}, 1, False, id="denied"),
        pytest.param({1: (503, "SlowDown"), 2: (503, "SlowDown")}, 2, False, id="unwell"),
    ],
)
def test_the_agent_says_whether_s3_took_the_result(
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

        answer = keeper.put_result(BUCKET, some_result("r", 0, Reason.COMPLETED, "SUCCESS"))

        assert (answer, len(server.behaviour.requests)) == (done, puts)
