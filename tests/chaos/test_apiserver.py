"""The API server goes away, refuses, answers late, loses answers, or lets a watch go silent."""

import json
import time
from collections.abc import Callable
from itertools import cycle

import pytest

from chaos.lab.faultproxy import (
    Answer,
    Call,
    Cut,
    Delay,
    Effect,
    FaultProxy,
    LoseAnswer,
    Refuse,
    Stall,
)
from chaos.lab.laboratory import Laboratory
from chaos.labfixtures import proven
from chaos.ledger import Ledger
from chaos.proof import Starts
from chaos.scenarios import CANCELLED, FAILURE, RETRIED, SUCCESS, SUSPENDED, Scenario
from e2e.jobrecord import JobRecord
from e2e.support import Namespace, eventually, inline
from nanogrid import names

CONVERGE_SECONDS = 30.0
FINISH_SECONDS = 120.0
RETRY_AFTER_SECONDS = 4
END_SECONDS = 30.0


def status_answer(code: int, reason: str, *, retry_after: int | None = None) -> Answer:
    """A refusal in the API server's own form."""
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "reason": reason,
        "message": f"fault: {reason}",
        "code": code,
    }
    headers = {"Content-Type": "application/json"}
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    return Answer(code, json.dumps(body).encode(), headers)


TOO_MANY = status_answer(429, "TooManyRequests", retry_after=1)
INTERNAL = status_answer(500, "InternalError")
UNAVAILABLE = status_answer(503, "ServiceUnavailable")
GATEWAY = status_answer(504, "Timeout")
CONFLICT = status_answer(409, "Conflict")
EXPIRED = status_answer(410, "Expired")
GONE_EVENT = Answer(
    200,
    b'{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","status":"Failure",'
    b'"reason":"Expired","message":"too old resource version","code":410}}\n',
    {"Content-Type": "application/json"},
)

KINDS: tuple[Scenario, ...] = (SUCCESS, FAILURE, RETRIED)


def is_write(call: Call) -> bool:
    """Whether a call changes or decides something."""
    return call.method != "GET"


def mixed(count: int, starts: Starts, prefix: str) -> dict[str, Scenario]:
    """So many jobs of several kinds, by name."""
    kinds = cycle(KINDS)
    return {f"{prefix}-{number}": next(kinds) for number in range(count)}


def run_all(
    namespace: Namespace,
    ledger: Ledger,
    starts: Starts,
    jobs: dict[str, Scenario],
    seconds: float = FINISH_SECONDS,
) -> list[JobRecord]:
    """Apply the jobs, wait for all ends, and compare the reasons."""
    namespace.apply(*(kind.manifest(name, starts) for name, kind in jobs.items()))
    records = ledger.wait_finished(jobs, seconds)
    for record in records:
        assert record.reason == jobs[record.name].reason, record
    return records


def alternating(effects: list[Effect], proxy: FaultProxy, every: int) -> Callable[[], int]:
    """Every so-manieth write meets the next effect; returns what counts the calls met."""
    count = 0

    def turn(index: int) -> Callable[[Call], bool]:
        def picks(call: Call) -> bool:
            nonlocal count
            if not is_write(call):
                return False
            if index == 0:
                count += 1
            return count % every == 0 and (count // every) % len(effects) == index

        return picks

    faults = [proxy.fault(turn(index), effect) for index, effect in enumerate(effects)]
    return lambda: sum(fault.hits for fault in faults)


def ended(ledger: Ledger, name: str) -> bool:
    """Whether the job's terminal status was seen."""
    job = ledger.named(name)
    return job is not None and job.finished


@pytest.mark.parametrize(
    ("seconds", "count"),
    [
        pytest.param(10, 6, id="10s"),
        pytest.param(60, 24, id="60s", marks=[pytest.mark.slow, pytest.mark.timeout(400)]),
    ],
)
def test_api_server_away_while_jobs_run(
    lab: Laboratory,
    ledger: Ledger,
    lab_starts: Starts,
    namespace: Namespace,
    seconds: int,
    count: int,
) -> None:
    operator = lab.operator().start()
    operator.wait_ready()
    jobs = [f"away-{number}" for number in range(count)]
    lasting = seconds // 2
    # Half of the jobs end while the API server is away, half after its return.
    namespace.apply(
        *(
            inline(
                name,
                lab_starts.marked(f"import time; time.sleep({lasting + n % 2 * seconds})"),
                requestId=f"req-{name}",
            )
            for n, name in enumerate(jobs)
        )
    )
    ledger.wait(
        "all jobs run", lambda: all(lab_starts.of(name) == 1 for name in jobs), FINISH_SECONDS
    )

    lab.api.down()
    went = time.monotonic()
    # On a busy machine some have ended before the last one has started.
    early = [name for name in jobs[::2] if not ended(ledger, name)]
    assert len(early) >= count // 6, "the API server went too late"
    s3 = lab.s3_server.client

    def stored() -> bool:
        found = s3.list_objects_v2(Bucket=lab.bucket, Prefix="results/").get("Contents", [])
        keys = {entry["Key"] for entry in found}
        return all(names.result_object(f"req-{name}") in keys for name in early)

    eventually("results reach S3 without the API server", stored, seconds + 20)
    in_s3 = time.monotonic() - went
    assert not any(ended(ledger, name) for name in early), "the API server was not away"
    time.sleep(max(0.0, went + seconds - time.monotonic()))
    lab.api.up()
    back = time.monotonic()
    records = ledger.wait_finished(early, CONVERGE_SECONDS)
    converged = max(r.finished_at for r in records) - back
    records = ledger.wait_finished(jobs, seconds + CONVERGE_SECONDS)
    assert {r.reason for r in records} == {"Completed"}
    print(
        f"API server away for {seconds} s with {count} jobs: results in S3 after {in_s3:.1f} s, "
        f"status converged {converged:.1f} s after its return"
    )
    proven(ledger, lab, lab_starts)


def test_every_few_writes_fail_in_another_way(
    lab: Laboratory, ledger: Ledger, lab_starts: Starts, namespace: Namespace
) -> None:
    lab.operator().start().wait_ready()
    effects: list[Effect] = [
        TOO_MANY, INTERNAL, UNAVAILABLE, GATEWAY, CONFLICT, LoseAnswer(), Refuse(),
    ]  # fmt: skip
    met = alternating(effects, lab.api, 3)
    began = time.monotonic()
    run_all(namespace, ledger, lab_starts, mixed(12, lab_starts, "burst"))
    print(f"12 jobs in {time.monotonic() - began:.1f} s with {met()} writes failed or lost")
    assert met() >= 10
    lab.api.clear()
    proven(ledger, lab, lab_starts)


VERBS: dict[str, Callable[[Call], bool]] = {
    "GET": lambda call: call.method == "GET" and not call.watch,
    "POST": lambda call: call.method == "POST",
    "PATCH": lambda call: call.method == "PATCH",
    "DELETE": lambda call: call.method == "DELETE",
    "watch": lambda call: call.watch,
}
EFFECTS: dict[str, Effect] = {
    "429": TOO_MANY,
    "500": INTERNAL,
    "503": UNAVAILABLE,
    "504": GATEWAY,
    "409": CONFLICT,
    "lost": LoseAnswer(),
    "refused": Refuse(),
}
# Of watches in tests of their own: one has no answer to lose but goes silent, and a refusal for
# good ends the process.
ELSEWHERE = ("lost", "409")


@pytest.mark.slow
@pytest.mark.timeout(420)
@pytest.mark.parametrize("effect", EFFECTS)
def test_each_verb_fails_a_few_times(
    lab: Laboratory, ledger: Ledger, lab_starts: Starts, namespace: Namespace, effect: str
) -> None:
    operator = lab.operator().start()
    operator.wait_ready()
    for verb, picks in VERBS.items():
        if verb == "watch" and effect in ELSEWHERE:
            continue
        fault = lab.api.fault(picks, EFFECTS[effect], times=4)
        if verb in ("GET", "watch"):
            operator.kill()
            operator.start()
        jobs = mixed(3, lab_starts, f"{verb.lower()}")
        began = time.monotonic()
        if verb == "DELETE":
            name = "delete-cancelled"
            namespace.apply(CANCELLED.manifest(name, lab_starts))
            CANCELLED.run(namespace, ledger, name)
            ledger.wait_finished([name], FINISH_SECONDS)
        run_all(namespace, ledger, lab_starts, jobs)
        print(f"{effect} on {verb}: met {fault.hits}, {time.monotonic() - began:.1f} s")
        assert fault.hits > 0
        fault.remove()
    proven(ledger, lab, lab_starts)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_retry_after_is_honoured(
    lab: Laboratory, ledger: Ledger, lab_starts: Starts, namespace: Namespace
) -> None:
    lab.operator().start().wait_ready()

    def pods(call: Call) -> bool:
        return call.method == "POST" and call.path.endswith("/pods")

    asked = status_answer(429, "TooManyRequests", retry_after=RETRY_AFTER_SECONDS)
    fault = lab.api.fault(pods, asked, times=1)
    run_all(namespace, ledger, lab_starts, {"patient": SUCCESS})
    refused, taken = [call for call in lab.api.calls if pods(call)]
    print(f"asked for {RETRY_AFTER_SECONDS} s, waited {taken.at - refused.at:.1f} s")
    assert fault.hits == 1
    assert taken.at - refused.at >= RETRY_AFTER_SECONDS
    assert taken.at - refused.at < 2 * RETRY_AFTER_SECONDS
    proven(ledger, lab, lab_starts)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_watch_is_told_that_its_version_is_gone(
    lab: Laboratory, ledger: Ledger, lab_starts: Starts, namespace: Namespace
) -> None:
    # No resync within the test: what is seen, the watch has seen.
    lab.operator(NANOGRID_RESYNC_SECONDS="600").start().wait_ready()
    eventually("the watches stand", lambda: sum(c.watch for c in lab.api.calls) >= 2)
    fault = lab.api.fault(VERBS["watch"], GONE_EVENT, times=4)
    lab.api.reset_connections()
    began = time.monotonic()
    run_all(namespace, ledger, lab_starts, mixed(3, lab_starts, "gone"))
    print(f"410 on a watch, {fault.hits} times: 3 jobs in {time.monotonic() - began:.1f} s")
    assert fault.hits >= 2
    proven(ledger, lab, lab_starts)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_refused_watch_ends_the_process_and_the_next_one_goes_on(
    lab: Laboratory, ledger: Ledger, lab_starts: Starts, namespace: Namespace
) -> None:
    """Kopf gives up a watch whose request is refused: better no operator than a deaf one."""
    operator = lab.operator().start()
    operator.wait_ready()
    eventually("the watches stand", lambda: sum(c.watch for c in lab.api.calls) >= 2)
    fault = lab.api.fault(VERBS["watch"], EXPIRED, times=2)
    lab.api.reset_connections()
    began = time.monotonic()
    eventually("the process ends", lambda: not operator.running, END_SECONDS)
    print(f"{fault.hits} watches refused: the process ended in {time.monotonic() - began:.1f} s")
    fault.remove()
    operator.start()  # as the kubelet does
    run_all(namespace, ledger, lab_starts, mixed(3, lab_starts, "hearing"))
    proven(ledger, lab, lab_starts)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_watches_are_cut_again_and_again(
    lab: Laboratory, ledger: Ledger, lab_starts: Starts, namespace: Namespace
) -> None:
    fault = lab.api.fault(VERBS["watch"], Cut(2000, reset=True))  # those that stand are not met
    lab.operator(NANOGRID_RESYNC_SECONDS="600").start().wait_ready()
    began = time.monotonic()
    run_all(namespace, ledger, lab_starts, mixed(9, lab_starts, "cut"))
    print(f"{fault.hits} watches cut within {time.monotonic() - began:.1f} s of 9 jobs")
    assert fault.hits >= 3
    proven(ledger, lab, lab_starts)


@pytest.fixture
def silent_watches(lab: Laboratory) -> float:
    """An operator whose watches have gone silent; when they did (monotonic seconds)."""
    fault = lab.api.fault(VERBS["watch"], Stall())
    lab.operator(NANOGRID_RESYNC_SECONDS="600").start().wait_ready()
    eventually("the watches stand", lambda: fault.hits >= 2)
    fault.remove()  # those that stand stay silent; the next ones will not be
    return time.monotonic()


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_silent_watch_is_found_out(
    lab: Laboratory,
    ledger: Ledger,
    lab_starts: Starts,
    namespace: Namespace,
    silent_watches: float,
) -> None:
    namespace.apply(SUCCESS.manifest("unheard", lab_starts))
    ledger.wait_finished(["unheard"], 100)
    print(f"silent watches were found out after {time.monotonic() - silent_watches:.1f} s")
    proven(ledger, lab, lab_starts)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_slow_api_server(
    lab: Laboratory, ledger: Ledger, lab_starts: Starts, namespace: Namespace
) -> None:
    operator = lab.operator()
    lab.api.fault(lambda call: True, Delay(0.5))
    ready = operator.start().wait_ready()
    jobs = mixed(4, lab_starts, "slow") | {"slow-suspended": SUSPENDED}
    began = time.monotonic()
    namespace.apply(*(kind.manifest(name, lab_starts) for name, kind in jobs.items()))
    SUSPENDED.run(namespace, ledger, "slow-suspended")
    ledger.wait_finished(jobs, FINISH_SECONDS)
    print(f"500 ms per call: ready in {ready:.1f} s, 5 jobs in {time.monotonic() - began:.1f} s")
    proven(ledger, lab, lab_starts)
