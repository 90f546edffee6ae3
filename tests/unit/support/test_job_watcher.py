"""The check of all suites finds a changed end, memory after it, a second and a missing delivery."""

import pytest

from nanogrid.types import Json
from support.job_record import JobRecord
from support.job_watcher import find_violations

BODY: Json = {"metadata": {"name": "sales", "uid": "u1"}, "spec": {"requestId": "r1"}}
ENDED: Json = {"phase": "Succeeded", "reason": "Completed", "delivery": {"state": "Pending"}}
DELIVERED = {**ENDED, "delivery": {"state": "Delivered"}}
MESSAGE: Json = {"job": {"uid": "u1"}}


def observed(*statuses: Json) -> JobRecord:
    """A job with these statuses, in this order."""
    record = JobRecord.of(BODY)
    for status in statuses:
        record.update({**BODY, "status": status})
    return record


@pytest.mark.parametrize(
    ("record", "messages"),
    [
        (observed({}, ENDED, DELIVERED), [MESSAGE]),
        (observed({}, ENDED), []),
        (observed({}, {"phase": "Running", "memory": "38Mi"}), []),
        (observed(DELIVERED), []),
    ],
    ids=["delivered late", "not delivered", "still running", "ended before the first LIST"],
)
def test_a_correct_job_has_no_violation(record: JobRecord, messages: list[Json]) -> None:
    assert find_violations([record], messages) == []


@pytest.mark.parametrize(
    ("record", "messages", "expected"),
    [
        (observed({}, ENDED, {**ENDED, "reason": "PodLost"}), [MESSAGE], "changed after its end"),
        (observed({}, {**DELIVERED, "memory": "38Mi"}), [MESSAGE], "shows memory after its end"),
        (observed({}, DELIVERED), [MESSAGE, MESSAGE], "2 entries"),
        (observed({}, DELIVERED), [], "not in the stream"),
    ],
    ids=["another end", "memory of ended code", "two entries", "no entry"],
)
def test_a_violation_is_found(record: JobRecord, messages: list[Json], expected: str) -> None:
    (violation,) = find_violations([record], messages)

    assert expected in violation
