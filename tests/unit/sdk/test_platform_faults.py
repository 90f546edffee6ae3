"""Which reasons alerts count: each reason that ends a job is the user's, or the platform's."""

from nanogrid.client.jobs import result
from nanogrid.client.jobs.result import BY_REASON
from nanogrid.reasons import PLATFORM_FAULTS, Reason

# Classes of errors that those who run the platform look at, and the exceptions.
PLATFORM = (result.PlacementError, result.Interrupted, result.StorageError)
NOT_PLATFORM = {
    Reason.PREEMPTED,  # by a job of a higher priority, as it was ordered
    Reason.SUSPENDED,
    Reason.PROCESS_REFUSED,  # the limits of the job
    Reason.RESULT_MISMATCH,  # code that forges its result
}
ALSO_PLATFORM = {Reason.SYNC_FAILED, Reason.RESULT_NOT_AUTHENTIC}


def test_each_reason_of_a_failed_job_is_counted_or_not() -> None:
    platform = {Reason(name) for name, kind in BY_REASON.items() if issubclass(kind, PLATFORM)}
    assert set(PLATFORM_FAULTS) == (platform - NOT_PLATFORM) | ALSO_PLATFORM
    assert platform >= NOT_PLATFORM
    assert len(PLATFORM_FAULTS) == len(set(PLATFORM_FAULTS))


def test_faults_of_the_user_are_not_counted() -> None:
    for reason in (Reason.NON_ZERO_EXIT, Reason.OOM_KILLED, Reason.EXECUTION_TIMEOUT):
        assert reason not in PLATFORM_FAULTS
