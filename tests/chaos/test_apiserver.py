"""The API server is away, refuses calls, answers late or loses answers."""

import time
from collections.abc import Callable

import pytest

from chaos.lab.apifaults import (
    CONFLICT,
    GATEWAY,
    INTERNAL,
    TOO_MANY,
    UNAVAILABLE,
    VERBS,
    creates_pod,
    is_write,
    status_answer,
)
from chaos.lab.faultproxy import FaultProxy
from chaos.lab.faults import Call, Delay, Effect, LoseAnswer, Refuse
from chaos.ledger import Ledger
from chaos.rig import FINISH_SECONDS, Rig
from chaos.scenarios import CANCELLED, SUCCESS, SUSPENDED, mixed
from nanogrid import names
from support.kubectl import eventually, inline

CONVERGE_SECONDS = 120.0
SPREAD_SECONDS = 5  # between the starts of the first and the last job
RETRY_AFTER_SECONDS = 4


def alternating(effects: list[Effect], proxy: FaultProxy, every: int) -> Callable[[], int]:
    """Apply the effects in turn to each ``every``-th write; returns a counter of these writes."""
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
    """Whether the job's terminal status was observed."""
    job = ledger.named(name)
    return job is not None and job.finished


@pytest.mark.parametrize(
    ("seconds", "count"),
    [
        pytest.param(10, 6, id="10s"),
        pytest.param(60, 24, id="60s", marks=[pytest.mark.slow, pytest.mark.timeout(400)]),
    ],
)
def test_api_server_away_while_jobs_run(rig: Rig, seconds: int, count: int) -> None:
    lab, ledger, starts = rig.lab, rig.ledger, rig.starts
    lab.operator().start().wait_ready()
    jobs = [f"away-{number}" for number in range(count)]
    manifests = []
    # Half of the jobs end while the API server is away, half after its return.
    for number, name in enumerate(jobs):
        sleep = seconds // 2 + SPREAD_SECONDS + number % 2 * seconds
        code = starts.marked(f"import time; time.sleep({sleep})")
        manifests.append(inline(name, code, requestId=f"req-{name}"))
    rig.namespace.apply(*manifests)
    ledger.wait(
        "all jobs run", lambda: all(starts.count(name) == 1 for name in jobs), FINISH_SECONDS
    )

    lab.api.down()
    went = time.monotonic()
    # On a busy machine some jobs have ended before the last one starts.
    early = [name for name in jobs[::2] if not ended(ledger, name)]
    assert len(early) >= count // 6, "the API server went away too late"
    s3 = lab.s3_server.client

    def stored() -> bool:
        found = s3.list_objects_v2(Bucket=lab.bucket, Prefix="results/").get("Contents", [])
        keys = {entry["Key"] for entry in found}
        return all(names.result_object(f"req-{name}") in keys for name in early)

    eventually("results reach S3 without the API server", stored, seconds + 120)
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
    rig.verify()


def test_each_third_write_fails_in_another_way(rig: Rig) -> None:
    rig.lab.operator().start().wait_ready()
    effects: list[Effect] = [
        TOO_MANY, INTERNAL, UNAVAILABLE, GATEWAY, CONFLICT, LoseAnswer(), Refuse(),
    ]  # fmt: skip
    failed = alternating(effects, rig.lab.api, 3)
    began = time.monotonic()
    rig.run_all(mixed(12, "burst"))
    print(f"12 jobs in {time.monotonic() - began:.1f} s with {failed()} writes failed or lost")
    assert failed() >= 10
    rig.lab.api.clear()
    rig.verify()


EFFECTS: dict[str, Effect] = {
    "429": TOO_MANY,
    "500": INTERNAL,
    "503": UNAVAILABLE,
    "504": GATEWAY,
    "409": CONFLICT,
    "lost": LoseAnswer(),
    "refused": Refuse(),
}
# Watches have their own tests (test_watches.py): a watch has no answer to lose but can stop sending
# events, and a permanent refusal ends the process.
NOT_FOR_WATCHES = ("lost", "409")


@pytest.mark.slow
@pytest.mark.timeout(420)
@pytest.mark.parametrize("effect", EFFECTS)
def test_each_verb_fails_a_few_times(rig: Rig, effect: str) -> None:
    operator = rig.lab.operator().start()
    operator.wait_ready()
    for verb, picks in VERBS.items():
        if verb == "watch" and effect in NOT_FOR_WATCHES:
            continue
        fault = rig.lab.api.fault(picks, EFFECTS[effect], times=4)
        if verb in ("GET", "watch"):
            operator.kill()
            operator.start()
        began = time.monotonic()
        if verb == "DELETE":
            name = "delete-cancelled"
            rig.namespace.apply(CANCELLED.manifest(name, rig.starts))
            CANCELLED.run(rig.namespace, rig.ledger, name)
            rig.ledger.wait_finished([name], FINISH_SECONDS)
        rig.run_all(mixed(3, verb.lower()))
        print(f"{effect} on {verb}: {fault.hits} calls, {time.monotonic() - began:.1f} s")
        assert fault.hits > 0
        fault.remove()
    rig.verify()


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_retry_after_is_honoured(rig: Rig) -> None:
    rig.lab.operator().start().wait_ready()
    refusal = status_answer(429, "TooManyRequests", retry_after=RETRY_AFTER_SECONDS)
    fault = rig.lab.api.fault(creates_pod, refusal, times=1)
    rig.run_all({"patient": SUCCESS})
    refused, accepted = [call for call in rig.lab.api.calls if creates_pod(call)]
    waited = accepted.at - refused.at
    print(f"Retry-After {RETRY_AFTER_SECONDS} s, waited {waited:.1f} s")
    assert fault.hits == 1
    assert RETRY_AFTER_SECONDS <= waited < 2 * RETRY_AFTER_SECONDS
    rig.verify()


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_slow_api_server(rig: Rig) -> None:
    operator = rig.lab.operator()
    rig.lab.api.fault(lambda call: True, Delay(0.5))
    ready = operator.start().wait_ready()
    jobs = mixed(4, "slow") | {"slow-suspended": SUSPENDED}
    began = time.monotonic()
    rig.namespace.apply(*(kind.manifest(name, rig.starts) for name, kind in jobs.items()))
    SUSPENDED.run(rig.namespace, rig.ledger, "slow-suspended")
    rig.ledger.wait_finished(jobs, FINISH_SECONDS)
    print(f"500 ms per call: ready in {ready:.1f} s, 5 jobs in {time.monotonic() - began:.1f} s")
    rig.verify()
