"""What the operator puts into a real S3 in place of what, and what it leaves."""

import uuid
from dataclasses import replace

import pytest

from integration.fake_s3 import fake_s3
from integration.support import BUCKET, S3Server
from nanogrid import names, wire
from nanogrid.reasons import Reason
from nanogrid_operator.outcome import Storage
from nanogrid_operator.s3 import ResultStore, S3Error
from unit.builders import a_failed_result, a_result, some_settings

pytestmark = pytest.mark.integration

DECIDED = a_failed_result(None, reason="NodeLost")
ANOTHER = wire.JobRef(namespace="team-a", name="other", uid="another")


def a_store(endpoint: str) -> ResultStore:
    return ResultStore(some_settings(s3_endpoint=endpoint, s3_bucket=BUCKET))


@pytest.mark.parametrize(
    ("there", "reason", "kept"),
    [
        pytest.param(None, Reason.STORED, "decided", id="nothing"),
        pytest.param(a_result(), Reason.STORED, "decided", id="a-late-agents-word"),
        pytest.param(
            replace(DECIDED, stdout="whole"), Reason.STORED, "there", id="the-same-but-whole"
        ),
        pytest.param(
            replace(DECIDED, job=ANOTHER), Reason.REQUEST_ID_CONFLICT, "there", id="another-jobs"
        ),
    ],
)
async def test_what_was_decided_is_what_s3_has(
    s3: S3Server, there: wire.Result | None, reason: Reason, kept: str
) -> None:
    request_id = f"save-{uuid.uuid4().hex[:8]}"
    decided = replace(DECIDED, request_id=request_id)
    key = names.result_object(request_id)
    if there is not None:
        there = replace(there, request_id=request_id)
        s3.client.put_object(Bucket=BUCKET, Key=key, Body=wire.dumps(there).encode())
    results = a_store(s3.endpoint)

    storage = await results.save(decided)

    assert storage.reason is reason
    assert await results.load(request_id) == (decided if kept == "decided" else there)


@pytest.mark.parametrize(
    ("answers", "code", "requests"),
    [
        pytest.param({}, "", 1, id="nothing-there-costs-one-request"),
        pytest.param({1: 501}, "NotImplemented", 2, id="a-server-without-conditions"),
    ],
)
async def test_a_save_costs_few_requests(
    monkeypatch: pytest.MonkeyPatch, answers: dict[int, int], code: str, requests: int
) -> None:
    with fake_s3() as server:
        with_any_keys(monkeypatch)
        server.behaviour.error_code = code
        server.behaviour.statuses = lambda method, path, number: answers.get(number, 200)

        assert await a_store(server.endpoint).save(DECIDED) == Storage()

        assert len(server.behaviour.requests) == requests


async def test_what_cannot_be_read_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be the whole of what this operator has a shortened copy of."""
    with fake_s3() as server:
        with_any_keys(monkeypatch)
        server.behaviour.error_code = "PreconditionFailed"
        server.behaviour.statuses = lambda method, path, number: 412 if method == "PUT" else 403

        with pytest.raises(S3Error):
            await a_store(server.endpoint).save(DECIDED)

        assert server.behaviour.puts == {}


def with_any_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials of which the server thinks nothing."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
