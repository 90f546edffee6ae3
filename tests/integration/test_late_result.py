"""An agent that was frozen with its node comes back when its attempt has long been decided."""

import uuid

import pytest

from integration.support import BUCKET, S3Server
from nanogrid import names, wire
from nanogrid.reasons import Reason
from nanogrid_executor import keeper

pytestmark = pytest.mark.integration

LATE = pytest.mark.xfail(
    strict=True, reason="keeper.put_result overwrites whatever result is there, the newer too"
)


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
            (1, Reason.COMPLETED), (0, Reason.COMPLETED), 0, id="an-earlier-attempt-does-not",
            marks=LATE,
        ),
        pytest.param(
            (0, Reason.NODE_LOST), (0, Reason.COMPLETED), 0, id="nor-after-the-operators-word",
            marks=LATE,
        ),
    ],
)  # fmt: skip
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

    keeper.put_result(BUCKET, results[1])

    stored = s3.client.get_object(Bucket=BUCKET, Key=key)["Body"].read().decode()
    assert wire.loads(wire.Result, stored) == results[kept]
