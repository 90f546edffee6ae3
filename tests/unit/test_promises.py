"""The suites' own watchdog barks: a changed end, a second entry, a delivery that nobody got."""

from typing import Any

import pytest

from e2e.jobrecord import JobRecord
from e2e.promises import broken

Json = dict[str, Any]
BODY: Json = {"metadata": {"name": "sales", "uid": "u1"}, "spec": {"requestId": "r1"}}
ENDED: Json = {"phase": "Succeeded", "reason": "Completed", "delivery": {"state": "Pending"}}
DELIVERED = {**ENDED, "delivery": {"state": "Delivered"}}
TOLD: Json = {"job": {"uid": "u1"}}


def seen(*statuses: Json) -> JobRecord:
    """A job that went through these statuses."""
    record = JobRecord.of(BODY)
    for status in statuses:
        record.note({**BODY, "status": status})
    return record


@pytest.mark.parametrize(
    ("record", "told"),
    [
        (seen({}, ENDED, DELIVERED), [TOLD]),
        (seen({}, ENDED), []),
        (seen({}, {"phase": "Running"}), []),
        (seen(DELIVERED), []),
    ],
    ids=["delivered late", "not delivered", "goes on", "ended before anybody looked"],
)
def test_promises_that_are_kept(record: JobRecord, told: list[Json]) -> None:
    assert broken([record], told) == []


@pytest.mark.parametrize(
    ("record", "told", "says"),
    [
        (seen({}, ENDED, {**ENDED, "reason": "PodLost"}), [TOLD], "changed after its end"),
        (seen({}, DELIVERED), [TOLD, TOLD], "2 entries"),
        (seen({}, DELIVERED), [], "not in the stream"),
    ],
    ids=["another end", "told twice", "not told"],
)
def test_promises_that_are_broken(record: JobRecord, told: list[Json], says: str) -> None:
    (wrong,) = broken([record], told)

    assert says in wrong
