"""The operator is killed at every call of a job's protocol, and two of them run at once."""

import time
import uuid
from dataclasses import dataclass

import pytest

from chaos.cutpoints import Cut, CutPoint, Death, points, quiet
from chaos.lab.apiserver import api_server
from chaos.lab.faultproxy import Call, FaultProxy
from chaos.lab.laboratory import Laboratory
from chaos.labfixtures import proven
from chaos.lanes import Lane, lanes, spread
from chaos.ledger import Ledger
from chaos.proof import Starts
from chaos.scenarios import CODE_KEY, EVERY, FUNCTION, INPUT_PREFIX, SUCCESS, Scenario
from e2e.support import Namespace, kubectl_json

RESUME_SECONDS = 10.0
FINISH_SECONDS = 90.0
SHORT_LANES, LONG_LANES = 3, 4


def unique(prefix: str) -> str:
    """A job's name that no other case has."""
    return f"{prefix}-{uuid.uuid4().hex[:6]}"


def changes(call: Call) -> bool:
    """Whether an API call changes or decides something."""
    return call.method != "GET"


def own(address: str, job: str) -> "CallTest":
    """Whether an S3 call is the operator's, and about the job."""
    return CallTest(address, f"req-{job}")


@dataclass(frozen=True)
class CallTest:
    """A predicate over S3 calls."""

    address: str
    request_id: str

    def __call__(self, call: Call) -> bool:
        return call.remote == self.address and self.request_id in call.path


def enumerate_points(
    lane: Lane, lab: Laboratory, starts: Starts, scenario: Scenario
) -> list[CutPoint]:
    """The cut points of a scenario, from one run without a fault."""
    job = unique(scenario.name)
    api_before, s3_before = len(lane.api.calls), len(lab.s3.calls)
    lane.namespace.apply(*scenario.manifests(job, starts))
    scenario.run(lane.namespace, lane.ledger, job)
    (record,) = lane.ledger.wait_finished([job], FINISH_SECONDS)
    assert record.reason == scenario.reason, f"without a fault: {record}"
    assert scenario.runs_counted(lane.namespace, job) in (None, 1)
    quiet(lane.api)
    name = lane.namespace.name
    found = points("api", lane.api.calls[api_before:], job, name, changes)
    return found + points("s3", lab.s3.calls[s3_before:], job, name, own(lab.address, job))


@dataclass(frozen=True)
class Outcome:
    """What one cut did: whether it was met, and how long the operator was away."""

    cut: Cut
    met: bool
    resumed_seconds: float
    job_seconds: float


def run_cut(lane: Lane, lab: Laboratory, starts: Starts, scenario: Scenario, cut: Cut) -> Outcome:
    """Run the scenario with the operator killed at the cut; the job must end as if it had not."""
    job, name = unique(scenario.name), lane.namespace.name
    if not lane.operator.running:  # a cut of the case before came after the job's end
        lane.operator.start().wait_ready()
    of_s3 = cut.point.server == "s3"
    proxy = lab.s3 if of_s3 else lane.api
    wanted = own(lab.address, job) if of_s3 else changes
    death = Death(lane.operator).at(cut, proxy, job, name, wanted)
    began = time.monotonic()
    lane.namespace.apply(*scenario.manifests(job, starts))
    scenario.run(lane.namespace, lane.ledger, job)
    (record,) = lane.ledger.wait_finished([job], FINISH_SECONDS)
    counted = scenario.runs_counted(lane.namespace, job)
    met = death.join(1.0)
    assert counted in (None, 1), f"{cut}: {counted} runs are counted"
    assert record.reason == scenario.reason, f"{cut}: {record.phases}"
    pods = len(lane.ledger.pods_of(job))
    assert pods == scenario.attempts, f"{cut}: {pods} pods"
    started = starts.of(job)
    assert started == scenario.attempts, f"{cut}: the code was started {started} times"
    return Outcome(cut, met, death.resumed_seconds or 0.0, record.finished_at - began)


def all_cuts(
    lab: Laboratory, starts: Starts, scenarios: tuple[Scenario, ...], width: int
) -> list[Outcome]:
    """Every cut of every scenario, spread over lanes; the ledgers hold in the end."""
    lab.s3_server.put(INPUT_PREFIX + "a.txt", b"input")
    lab.s3_server.put(CODE_KEY, FUNCTION.archive(starts))
    with lanes(lab, width) as some:
        found = spread(some, scenarios, lambda lane, s: enumerate_points(lane, lab, starts, s))
        cases = [
            (scenario, Cut(point, after))
            for scenario, each in zip(scenarios, found, strict=True)
            for point in each
            for after in (False, True)
        ]
        outcomes = spread(some, cases, lambda lane, c: run_cut(lane, lab, starts, *c))
        for lane in some:
            counted_once(lane)
            proven(lane.ledger, lab, starts)
    return outcomes


def counted_once(lane: Lane) -> None:
    """Each function had one job; by now an operator that counts twice has done so."""
    found = kubectl_json("--namespace", lane.namespace.name, "get", "fn")["items"]
    runs = {fn["metadata"]["name"]: fn["status"]["runs"] for fn in found}
    assert set(runs.values()) <= {1}, runs


def report(outcomes: list[Outcome]) -> None:
    """Print the figures; all but a few cuts must have been met, and the operator came back soon."""
    missed = [str(o.cut) for o in outcomes if not o.met]
    resumed = sorted(o.resumed_seconds for o in outcomes)
    # Several operators start at once on two cores: one that had to wait for them is no verdict.
    most = resumed[len(resumed) * 9 // 10]
    longest = max(o.job_seconds for o in outcomes)
    print(
        f"{len(outcomes)} cuts, {len(missed)} not met, ready again within {most:.1f} s (nine of "
        f"ten; at most {resumed[-1]:.1f} s), "
        f"the longest job {longest:.1f} s"
    )
    for cut in missed:
        print(f"  not met: {cut}")
    assert most <= RESUME_SECONDS
    # A write that only a slow run makes (Running after two seconds) may be missing in the next.
    assert len(missed) <= len(outcomes) // 5, missed


@pytest.mark.timeout(180)
def test_killed_at_every_write_of_a_short_job(lab: Laboratory, lab_starts: Starts) -> None:
    report(all_cuts(lab, lab_starts, (SUCCESS,), SHORT_LANES))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_at_every_call_of_every_kind_of_job(lab: Laboratory, lab_starts: Starts) -> None:
    report(all_cuts(lab, lab_starts, EVERY, LONG_LANES))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_at_every_call_of_its_start(
    lab: Laboratory, ledger: Ledger, lab_starts: Starts, namespace: Namespace
) -> None:
    operator = lab.operator()

    def start_with(job: str) -> int:
        before = len(lab.api.calls)
        namespace.apply(SUCCESS.manifest(job, lab_starts))
        operator.start()
        return before

    job = unique("start")
    before = start_with(job)
    ledger.wait_finished([job], FINISH_SECONDS)
    quiet(lab.api)
    found = points("api", lab.api.calls[before:], job, namespace.name, lambda call: True)
    resumed = []
    for point in found:
        operator.kill()
        job = unique("start")
        death = Death(operator).at(
            Cut(point, after=True), lab.api, job, namespace.name, lambda call: True
        )
        start_with(job)
        ledger.wait_finished([job], FINISH_SECONDS)
        if death.join(1.0) and death.resumed_seconds is not None:
            resumed.append(death.resumed_seconds)
    print(f"{len(resumed)} of {len(found)} calls of a start, ready within {max(resumed):.1f} s")
    assert max(resumed) <= RESUME_SECONDS
    proven(ledger, lab, lab_starts)


def two_operators(
    lab: Laboratory, ledger: Ledger, starts: Starts, namespace: Namespace, count: int
) -> float:
    """So many jobs while two operators act on all of them; seconds until the last one's end."""
    with api_server() as other:
        for api in (lab.api, other):
            lab.operator(api).start()
        for operator in lab.operators:
            operator.wait_ready()
        names = [f"both-{number}" for number in range(count)]
        kinds = [s for s in EVERY if s.step is None and s.name != "input"]
        began = time.monotonic()
        namespace.apply(*(kinds[i % len(kinds)].manifest(n, starts) for i, n in enumerate(names)))
        records = ledger.wait_finished(names, FINISH_SECONDS + 2 * count)
        took = time.monotonic() - began
        for index, record in enumerate(records):
            assert record.reason == kinds[index % len(kinds)].reason, record
        shares = [writes(api) for api in (lab.api, other)]
        print(f"{count} jobs in {took:.1f} s; pods asked for by each operator: {shares}")
        assert min(shares) > 0, "one operator did nothing"
        proven(ledger, lab, starts)
    return took


def writes(api: FaultProxy) -> int:
    """How often an operator asked for a pod."""
    return sum(c.method == "POST" and c.path.endswith("/pods") for c in api.calls)


@pytest.mark.timeout(240)
def test_two_operators_at_once(
    lab: Laboratory, ledger: Ledger, lab_starts: Starts, namespace: Namespace
) -> None:
    two_operators(lab, ledger, lab_starts, namespace, 30)
