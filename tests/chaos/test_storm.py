"""Many real jobs of every kind under many faults at once: each ends once, with its own reason."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from typing import Any

import pytest

from chaos.lab.faultproxy import Answer, Call, Effect, FaultProxy, LoseAnswer
from chaos.lab.laboratory import Laboratory
from chaos.lab.operatorprocess import OperatorProcess
from chaos.labfixtures import proven
from chaos.ledger import Ledger
from chaos.proof import Starts
from chaos.scenarios import (
    FAILURE,
    INPUT_PREFIX,
    OOM,
    RETRIED,
    SUCCESS,
    TIMEOUT,
    WITH_INPUT,
    Scenario,
)
from e2e.support import KubectlError, Namespace
from nanogrid_operator.slim import unstored

Json = dict[str, Any]
SEED = 20_240_607
APPLIED_AT_ONCE = 50
KINDS = (SUCCESS, FAILURE, SUCCESS, WITH_INPUT, SUCCESS, RETRIED, SUCCESS, TIMEOUT, SUCCESS, OOM)
# An agent that cannot store its result soon gives up; a test of its own says so.
RESULT_FILE = "/result.json"
TORN_REASONS = ("PodLost", "Terminated")
SLOW_DOWN = Answer(
    503,
    b"<Error><Code>SlowDown</Code><Message>fault: reduce your request rate</Message></Error>",
    {"Content-Type": "application/xml"},
)


class Storm:
    """Does one harm after another in a thread of its own, until the context ends."""

    def __init__(
        self, lab: Laboratory, ledger: Ledger, namespace: Namespace, pause: tuple[float, float]
    ) -> None:
        self._lab, self._ledger, self._namespace = lab, ledger, namespace
        self._pause = pause
        self._random = random.Random(SEED)
        self._over = threading.Event()
        self._error: BaseException | None = None
        self.done: Counter[str] = Counter()
        self.torn: set[str] = set()
        self._harms: dict[str, Callable[[], None]] = {
            "operator killed": self._kill,
            "API errors": self._api_errors,
            "answers lost": self._lose_answers,
            "Redis stalls": self._stall_redis,
            "operator killed again": self._kill,
            "S3 slows down": self._slow_down,
            "Redis restarts": self._restart_redis,
            "pod torn": self._tear,
        }

    @contextmanager
    def raging(self) -> Iterator["Storm"]:
        """The storm, for as long as the context lasts; all is mended after it."""
        thread = threading.Thread(target=self._rage, name="storm", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._over.set()
            thread.join(60)
            self._mend()
        if self._error is not None:
            raise self._error

    def _rage(self) -> None:
        try:
            for name in cycle(self._harms):
                if self._over.wait(self._random.uniform(*self._pause)):
                    return
                self._harms[name]()
                self.done[name] += 1
        except BaseException as error:
            self._error = error

    def _mend(self) -> None:
        self._lab.api.clear()
        self._lab.s3.clear()
        self._lab.redis.resume()
        operator = self._operator
        if not operator.running:
            operator.start()

    @property
    def _operator(self) -> OperatorProcess:
        return self._lab.operators[0]

    def _kill(self) -> None:
        self._operator.kill()
        self._operator.start()

    def _burst(self, proxy: FaultProxy, effect: Effect, share: float, seconds: float) -> None:
        def picks(call: Call) -> bool:
            if call.watch or call.path.endswith(RESULT_FILE):
                return False
            return self._random.random() < share

        fault = proxy.fault(picks, effect)
        self._over.wait(seconds)
        fault.remove()

    def _api_errors(self) -> None:
        self._burst(self._lab.api, Answer(self._random.choice((500, 503, 504))), 0.5, 2)

    def _lose_answers(self) -> None:
        self._lab.api.fault(lambda call: call.method != "GET", LoseAnswer(), times=5)

    def _slow_down(self) -> None:
        self._burst(self._lab.s3, SLOW_DOWN, 0.7, 2)

    def _stall_redis(self) -> None:
        self._lab.redis.pause()
        self._over.wait(3)
        self._lab.redis.resume()

    def _restart_redis(self) -> None:
        self._lab.redis.stop()
        self._over.wait(1)
        self._lab.redis.start()

    def _tear(self) -> None:
        """Delete the pod of a job that has not ended, as a hurried person does."""
        open_jobs = [j.name for j in list(self._ledger.jobs.values()) if not j.finished]
        if not open_jobs:
            return
        job = self._random.choice(open_jobs)
        self.torn.add(job)
        words = ("delete", "pod", "-l", f"nanogrid.io/job={job}", "--force", "--grace-period=0")
        try:
            self._namespace.kubectl(*words)
        except KubectlError as error:
            print(f"{job} was not torn: {error}")


def memory_mib(lab: Laboratory) -> float:
    """The peak of the operator that lives now."""
    return lab.operators[0].peak_memory_bytes() / (1 << 20)


def fitting(job: str, kind: Scenario, torn: set[str]) -> tuple[str, ...]:
    """The reasons that a job may end with."""
    return (kind.reason, *TORN_REASONS) if job in torn else (kind.reason,)


@pytest.mark.parametrize("lab", [{"persistent_redis": True}], indirect=True, ids=[""])
@pytest.mark.parametrize(
    ("count", "pause"),
    [
        pytest.param(24, (0.5, 1.5), id="24", marks=pytest.mark.timeout(180)),
        pytest.param(
            300,
            (2.0, 4.0),
            id="300",
            marks=[pytest.mark.slow, pytest.mark.storm, pytest.mark.timeout(1000)],
        ),
    ],
)
def test_storm(
    lab: Laboratory,
    ledger: Ledger,
    lab_starts: Starts,
    namespace: Namespace,
    count: int,
    pause: tuple[float, float],
) -> None:
    lab.s3_server.put(INPUT_PREFIX + "a.txt", b"input")
    lab.operator().start().wait_ready()
    jobs = {f"storm-{n}": kind for n, kind in enumerate(islice(cycle(KINDS), count))}
    storm = Storm(lab, ledger, namespace, pause)
    began = time.monotonic()
    with storm.raging():
        manifests = [kind.manifest(name, lab_starts) for name, kind in jobs.items()]
        for first in range(0, count, APPLIED_AT_ONCE):  # kubectl has two minutes for each
            namespace.apply(*manifests[first : first + APPLIED_AT_ONCE])
        records = ledger.wait_finished(jobs, 60 + 2 * count)
        took = time.monotonic() - began
    delivered(ledger, 60)
    longest = max(r.finished_at - r.seen for r in records)
    queued = sum(any(reason == "Queued" for _, _, reason in r.phases) for r in records)
    print(f"{count} jobs in {took:.1f} s, the longest {longest:.1f} s; {dict(storm.done)}")
    print(f"{queued} were Queued; operator's memory at most {memory_mib(lab):.0f} MiB")
    print(f"reasons: {dict(Counter(r.reason for r in records))}; torn: {len(storm.torn)}")
    wrong = [
        f"{r.name} ended with {r.reason} instead of {jobs[r.name].reason}: {r.status['message']}"
        for r in records
        if r.reason not in fitting(r.name, jobs[r.name], storm.torn)
    ]
    assert not wrong, "\n".join(wrong)
    proven(ledger, lab, lab_starts)


def delivered(ledger: Ledger, seconds: float) -> None:
    """Wait until no result is owed to Redis or S3 any more."""

    def all_told() -> bool:
        statuses = [job.status for job in ledger.jobs.values()]
        states = [(status.get("delivery") or {}).get("state") for status in statuses]
        return all(state != "Pending" for state in states) and not any(map(unstored, statuses))

    ledger.wait("all results are delivered", all_told, seconds)


def test_result_reaches_s3_though_its_first_tries_are_refused(
    lab: Laboratory, ledger: Ledger, lab_starts: Starts, namespace: Namespace
) -> None:
    lab.operator().start().wait_ready()
    lab.s3.fault(
        lambda call: call.method == "PUT" and call.path.endswith(RESULT_FILE), SLOW_DOWN, times=3
    )
    namespace.apply(SUCCESS.manifest("refused", lab_starts))
    ledger.wait_finished(["refused"], 60)
    delivered(ledger, 15)
    proven(ledger, lab, lab_starts)
