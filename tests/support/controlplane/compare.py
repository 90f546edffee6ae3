"""Measure all subjects in turn."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from nanogrid.types import Json
from support.controlplane import audit, load
from support.controlplane.fakenodes import NODES, RUN_MILLIS, START_MILLIS
from support.controlplane.plant import Plant, plant
from support.controlplane.servers import JOBS, QPS
from support.controlplane.subjects import ALL, JOBS_DEFAULT, OURS, Subject
from support.controlplane.usage import resident_mib

WARM_UP = 20
QUIET_SECONDS = 2.0  # after a run, until the controllers have seen its deletions
LEAST_PER_SECOND = 2.0  # a run that is slower fails
MOST_IN_FLIGHT = 100


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to measure.

    ``jobs`` objects per run of each subject but Jobs at default limits: these take minutes, so
    there are ``limited``.
    """

    jobs: int
    limited: int
    rounds: int
    in_flight: int = MOST_IN_FLIGHT
    subjects: tuple[Subject, ...] = ALL

    def count(self, subject: Subject) -> int:
        """The objects of one run."""
        return min(self.jobs, self.limited) if subject is JOBS_DEFAULT else self.jobs

    def order(self) -> list[tuple[int, Subject]]:
        """All runs; load that lasts meets each subject at both ends of the order."""
        return [
            (number, subject)
            for number in range(self.rounds)
            for subject in (self.subjects if number % 2 == 0 else self.subjects[::-1])
        ]


QUICK = Plan(jobs=200, limited=60, rounds=1)
FULL = Plan(jobs=1000, limited=100, rounds=2)


FULL_SECONDS, ROUND_SECONDS = 420.0, 210.0


def plan_for(allows: Callable[[float], bool], *, quick: bool) -> Plan:
    """The plan for the time that is left; ``allows`` tells whether so many seconds are."""
    if quick or not allows(ROUND_SECONDS):
        return QUICK
    return FULL if allows(FULL_SECONDS) else replace(FULL, rounds=1)


def run(quick: bool, plan: Plan | None = None, say: Callable[[str], None] = lambda _: None) -> Json:
    """Measure; takes about 2 minutes, or 6 if not ``quick``, once the programs are built.

    Args:
        quick: fewer objects, one round.
        plan: in place of both.
        say: receives a line after each run.

    Raises:
        RuntimeError: a program cannot be built, a server ended, or objects did not end.
    """
    return asyncio.run(_run(plan or (QUICK if quick else FULL), say))


async def _run(plan: Plan, say: Callable[[str], None]) -> Json:
    runs = []
    async with plant() as here:
        for number, subject in plan.order():
            done = await _measure(here, subject, number, plan)
            runs.append(done)
            say(
                f"{subject.title}: {done['objects']} in {done['seconds']:.0f} s, "
                f"{done['perSecond']:.1f}/s, operator {done['cpuMillis']['operator']:.1f} ms each, "
                f"{done['operatorMiB']:.0f} MiB"
            )
        peak = resident_mib(here.operator.pid, peak=True)
    conditions = {
        "nodes": NODES,
        "startMillis": START_MILLIS,
        "runMillis": RUN_MILLIS,
        "inFlight": plan.in_flight,
        "clientLimits": QPS,
        "etcdSync": True,
    }
    return {"conditions": conditions, "runs": runs, "operatorPeakMiB": round(peak)}


async def _measure(here: Plant, subject: Subject, number: int, plan: Plan) -> Json:
    """One run of one subject in a namespace of its own."""
    namespace = f"bench-{subject.name}-{number}"
    if subject.job_limits:
        here.servers.start_job_controller(*subject.job_limits)
    try:
        await here.namespace(namespace)
        await here.namespace(f"{namespace}-warm-up")
        limit = 60 + WARM_UP / LEAST_PER_SECOND
        await load.run(here.api, subject, f"{namespace}-warm-up", WARM_UP, WARM_UP, limit)
        await here.clean(f"{namespace}-warm-up")
        await asyncio.sleep(QUIET_SECONDS)
        done = await _observed(here, subject, namespace, plan)
        await here.clean(namespace)
        await asyncio.sleep(QUIET_SECONDS)
    finally:
        if JOBS in here.servers.processes:
            here.servers.stop_job_controller()
    return {"subject": subject.name, "round": number, **done}


async def _observed(here: Plant, subject: Subject, namespace: str, plan: Plan) -> Json:
    count = plan.count(subject)
    log = here.servers.audit_log
    _, offset = audit.lines_after(log, log.stat().st_size)
    before, own = here.cpu(), time.process_time()
    done = await load.run(
        here.api, subject, namespace, count, plan.in_flight, 60 + count / LEAST_PER_SECOND
    )
    own = time.process_time() - own
    after = here.cpu()
    here.servers.check()
    await asyncio.sleep(QUIET_SECONDS)  # the log is written in batches
    lines, _ = audit.lines_after(log, offset)
    requests = audit.per_job(audit.requests(lines), count)
    cpu = {name: round((after[name] - before[name]) / count * 1000, 2) for name in after}
    return {
        "objects": count,
        "seconds": round(done.seconds, 2),
        "perSecond": round(count / done.seconds, 2),
        "latencyMillis": load.tenths(done.latencies()),
        "cpuMillis": {**cpu, "observer": round(own / count * 1000, 2)},
        "operatorMiB": round(resident_mib(here.operator.pid)),
        "requests": requests,
        "writes": audit.writes(requests),
        "operatorWrites": audit.writes(requests, "operator") if subject is OURS else 0,
    }
