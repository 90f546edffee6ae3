"""Which results in a real S3 the operator replaces, and which it keeps."""

import uuid
from dataclasses import replace

import pytest

from nanogrid import names, wire
from nanogrid.reasons import Reason
from nanogrid.s3.errors import S3Error
from nanogrid.tenancy import Area
from nanogrid_operator.decision.outcome import Storage
from nanogrid_operator.delivery.s3 import ResultStore
from nanogrid_operator.model.result_keys import ResultKeys
from support.builders import RESULT_KEY_MASTER, a_failed_result, a_result, signed, some_settings
from support.fake_s3 import fake_s3
from support.s3_server import BUCKET, S3Server

pytestmark = [pytest.mark.integration, pytest.mark.security]

DECIDED = a_failed_result(None, reason="NodeLost")
AREA = Area.of("team-a", bucket=BUCKET)
KEYS = ResultKeys(RESULT_KEY_MASTER)
ANOTHER = wire.JobRef(namespace="team-a", name="other", uid="another")


def a_store(endpoint: str, attempts: list[tuple[str, bool]] | None = None) -> ResultStore:
    """A store; ``attempts`` receives each target and whether it took the result."""

    def attempted(target: str, success: bool, took: float) -> None:
        assert took >= 0
        if attempts is not None:
            attempts.append((target, success))

    settings = some_settings(s3_endpoint=endpoint, s3_bucket=BUCKET)
    return ResultStore(settings, KEYS, attempted)


@pytest.mark.parametrize(
    ("there", "reason", "kept"),
    [
        pytest.param(None, Reason.STORED, "decided", id="nothing"),
        pytest.param(a_result(), Reason.STORED, "decided", id="a-late-agents-result"),
        pytest.param(
            replace(DECIDED, stdout="whole"), Reason.STORED, "there", id="the-same-in-full"
        ),
        pytest.param(
            replace(DECIDED, stdout="forged", authentication="hmac-sha256:00"),
            Reason.STORED,
            "decided",
            id="a-forged-one",
        ),
        pytest.param(
            replace(DECIDED, job=ANOTHER), Reason.REQUEST_ID_CONFLICT, "there", id="another-jobs"
        ),
    ],
)
async def test_s3_has_the_decided_result(
    s3: S3Server, there: wire.Result | None, reason: Reason, kept: str
) -> None:
    request_id = f"save-{uuid.uuid4().hex[:8]}"
    decided = signed(replace(DECIDED, request_id=request_id))
    key = AREA.key(names.result_object(request_id))
    if there is not None:
        there = replace(there, request_id=request_id)
        # The code covers the requestId, so the others are signed here.
        there = there if there.authentication else signed(there)
        s3.client.put_object(Bucket=BUCKET, Key=key, Body=wire.dumps(there).encode())
    results = a_store(s3.endpoint)

    storage = await results.save(AREA, decided)

    assert storage.reason is reason
    assert await results.load(AREA, request_id) == (decided if kept == "decided" else there)


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

        attempts: list[tuple[str, bool]] = []
        assert await a_store(server.endpoint, attempts).save(AREA, DECIDED) == Storage()

        assert len(server.behaviour.requests) == requests
        assert attempts == [("s3", True)]


async def test_an_unreadable_result_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be the full text of a result that this operator has only shortened."""
    with fake_s3() as server:
        with_any_keys(monkeypatch)
        attempts: list[tuple[str, bool]] = []
        server.behaviour.error_code = "PreconditionFailed"
        server.behaviour.statuses = lambda method, path, number: 412 if method == "PUT" else 403

        with pytest.raises(S3Error):
            await a_store(server.endpoint, attempts).save(AREA, DECIDED)

        assert server.behaviour.puts == {}
        assert attempts == [("s3", False)]


def with_any_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set credentials; the fake server does not check them."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
