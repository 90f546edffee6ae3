"""Many real jobs of every kind under many faults at once: each ends once, with its own reason."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle, islice

import pytest

from chaos.lab.faultproxy import FaultProxy
from chaos.lab.faults import Answer, Call, Effect, LoseAnswer
from chaos.lab.laboratory import Laboratory
from chaos.ledger import Ledger
from chaos.rig import Rig
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
from nanogrid_operator.model.lifecycle import unstored
from support.kubectl import KubectlError
from support.operator_process import OperatorProcess

SEED = 20_240_607
APPLIED_AT_ONCE = 50
KINDS = (SUCCESS, FAILURE, SUCCESS, WITH_INPUT, SUCCESS, RETRIED, SUCCESS, TIMEOUT, SUCCESS, OOM)
# An agent that cannot store its result gives up soon; the last test here covers this.
RESULT_FILE = "/result.json"
DELETED_POD_REASONS = ("PodLost", "Terminated")
SLOW_DOWN = Answer(
    503,
    b"<Error><Code>SlowDown</Code><Message>fault: reduce your request rate</Message></Error>",
    {"Content-Type": "application/xml"},
)


class Storm:
    """Injects one fault after another in its own thread until the context ends."""

    def __init__(self, rig: Rig, pause: tuple[float, float]) -> None:
        self._lab, self._ledger, self._namespace = rig.lab, rig.ledger, rig.namespace
        self._pause = pause
        self._random = random.Random(SEED)
        self._over = threading.Event()
        self._error: BaseException | None = None
        self.done: Counter[str] = Counter()
        self.deleted: set[str] = set()  # jobs that lost a pod
        self._faults: dict[str, Callable[[], None]] = {
            "operator killed": self._kill,
            "API errors": self._api_errors,
            "answers lost": self._lose_answers,
            "Redis stalls": self._stall_redis,
            "operator killed again": self._kill,
            "S3 slows down": self._slow_down,
            "Redis restarts": self._restart_redis,
            "pod deleted": self._delete_pod,
        }

    @contextmanager
    def running(self) -> Iterator["Storm"]:
        """Inject faults as long as the context lasts; undo all of them at its end."""
        thread = threading.Thread(target=self._inject, name="storm", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._over.set()
            thread.join(60)
            self._undo()
        if self._error is not None:
            raise self._error

    def _inject(self) -> None:
        try:
            for name in cycle(self._faults):
                if self._over.wait(self._random.uniform(*self._pause)):
                    return
                self._faults[name]()
                self.done[name] += 1
        except BaseException as error:
            self._error = error

    def _undo(self) -> None:
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

    def _delete_pod(self) -> None:
        """Delete the pod of a running job by force, as a user may do."""
        open_jobs = [j.name for j in list(self._ledger.jobs.values()) if not j.finished]
        if not open_jobs:
            return
        job = self._random.choice(open_jobs)
        self.deleted.add(job)
        args = ("delete", "pod", "-l", f"nanogrid.io/job={job}", "--force", "--grace-period=0")
        try:
            self._namespace.kubectl(*args)
        except KubectlError as error:
            print(f"the pod of {job} was not deleted: {error}")


def memory_mib(lab: Laboratory) -> float:
    """The peak memory of the running operator."""
    return lab.operators[0].peak_memory_bytes() / (1 << 20)


def allowed_reasons(job: str, kind: Scenario, deleted: set[str]) -> tuple[str, ...]:
    """The reasons that a job may end with."""
    return (kind.reason, *DELETED_POD_REASONS) if job in deleted else (kind.reason,)


@pytest.mark.parametrize("lab", [{"persistent_redis": True}], indirect=True, ids=[""])
@pytest.mark.parametrize(
    ("count", "pause"),
    [
        pytest.param(24, (0.5, 1.5), id="24", marks=pytest.mark.timeout(500)),
        pytest.param(
            300,
            (2.0, 4.0),
            id="300",
            marks=[pytest.mark.slow, pytest.mark.storm, pytest.mark.timeout(1000)],
        ),
    ],
)
def test_storm(rig: Rig, count: int, pause: tuple[float, float]) -> None:
    lab, ledger = rig.lab, rig.ledger
    lab.s3_server.put(INPUT_PREFIX + "a.txt", b"input")
    lab.operator().start().wait_ready()
    jobs = {f"storm-{n}": kind for n, kind in enumerate(islice(cycle(KINDS), count))}
    storm = Storm(rig, pause)
    began = time.monotonic()
    with storm.running():
        manifests = [kind.manifest(name, rig.starts) for name, kind in jobs.items()]
        for first in range(0, count, APPLIED_AT_ONCE):  # each kubectl may take two minutes
            rig.namespace.apply(*manifests[first : first + APPLIED_AT_ONCE])
        records = ledger.wait_finished(jobs, 180 + 2 * count)
        took = time.monotonic() - began
    wait_delivered(ledger, 120)
    longest = max(r.finished_at - r.first_seen for r in records)
    queued = sum(any(reason == "Queued" for _, _, reason in r.phases) for r in records)
    print(f"{count} jobs in {took:.1f} s, the longest {longest:.1f} s; {dict(storm.done)}")
    print(f"{queued} were Queued; operator's memory at most {memory_mib(lab):.0f} MiB")
    print(
        f"reasons: {dict(Counter(r.reason for r in records))}; pods deleted: {len(storm.deleted)}"
    )
    wrong = [
        f"{r.name} ended with {r.reason} instead of {jobs[r.name].reason}: {r.status['message']}"
        for r in records
        if r.reason not in allowed_reasons(r.name, jobs[r.name], storm.deleted)
    ]
    assert not wrong, "\n".join(wrong)
    rig.verify()


def wait_delivered(ledger: Ledger, seconds: float) -> None:
    """Wait until Redis and S3 have all results."""

    def delivered() -> bool:
        statuses = [job.status for job in ledger.jobs.values()]
        states = [(status.get("delivery") or {}).get("state") for status in statuses]
        return all(state != "Pending" for state in states) and not any(map(unstored, statuses))

    ledger.wait("all results are delivered", delivered, seconds)


def test_result_reaches_s3_after_its_first_tries_are_refused(rig: Rig) -> None:
    rig.lab.operator().start().wait_ready()
    rig.lab.s3.fault(
        lambda call: call.method == "PUT" and call.path.endswith(RESULT_FILE), SLOW_DOWN, times=3
    )
    rig.namespace.apply(SUCCESS.manifest("refused", rig.starts))
    rig.ledger.wait_finished(["refused"], 120)
    wait_delivered(rig.ledger, 120)
    rig.verify()
