"""The state table row by row, then what holds for every view and every order of events."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from nanogrid import names, wire
from nanogrid_operator import outcome
from nanogrid_operator.decide import (
    Action,
    Create,
    Deliver,
    Finish,
    Nothing,
    Progress,
    Recover,
    View,
    Wait,
    decide,
)
from nanogrid_operator.facts import Pod, job_facts, pod_facts
from nanogrid_operator.outcome import Delivery, Outcome
from nanogrid_operator.store import Store
from unit import strategies
from unit.builders import (
    CREATED,
    Json,
    a_failed_result,
    a_job,
    a_job_body,
    a_lost_result,
    a_pod,
    a_pod_body,
    a_report,
    a_result,
    a_running_pod,
    a_view,
    ended,
    running,
    waiting,
)

DELIVERED = {"phase": "Succeeded", "delivery": {"state": "Delivered"}}
PENDING = {"phase": "Failed", "delivery": {"state": "Pending"}}
CONFLICT = {"phase": "Succeeded", "delivery": {"state": "Conflict"}}


def in_words(action: Action) -> str:
    """An action as the table writes it."""
    match action:
        case Create(attempt):
            return f"create pod of attempt {attempt}"
        case Wait(seconds):
            return f"wait {seconds:g} s"
        case Progress():
            return f"say {action.phase} {action.reason}, then wait {action.seconds:g} s"
        case Finish(end):
            return f"finish {_end(end)}"
        case Recover(end):
            return f"look into S3, else {_end(end)}"
        case Deliver():
            return "deliver"
        case Nothing():
            return "nothing"


def _end(end: Outcome) -> str:
    code = "" if end.result.exit_code is None else f" exit {end.result.exit_code}"
    return f"{end.result.status} {end.reason}{code}{' and remove the pod' * end.remove_pod}"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the state table; ``bug`` says what is wrong as long as it does not hold."""

    reason: str
    view: View
    want: str
    bug: str = ""


ROWS = [
    Row(
        reason="A job under deletion takes its pod along.",
        view=a_view(a_job(deleting=True), None),
        want="nothing",
    ),
    Row(
        reason="A job under deletion is not finished any more, whatever was reported.",
        view=a_view(a_job(deleting=True), a_running_pod(), a_report()),
        want="nothing",
    ),
    Row(
        reason="A delivered job is done with, even if its pod says otherwise.",
        view=a_view(a_job(status=DELIVERED), a_pod(phase="Failed", agent=ended(1)), a_report()),
        want="nothing",
    ),
    Row(
        reason="A finished job whose pod is gone is still done with.",
        view=a_view(a_job(status=DELIVERED), had_pod=True),
        want="nothing",
    ),
    Row(
        reason="A result that Redis did not take is delivered later.",
        view=a_view(a_job(status=PENDING)),
        want="deliver",
    ),
    Row(
        reason="A requestId that belongs to another job stays a conflict.",
        view=a_view(a_job(status=CONFLICT)),
        want="nothing",
    ),
    Row(
        reason="A finished job under deletion is not delivered.",
        view=a_view(a_job(status=PENDING, deleting=True)),
        want="nothing",
    ),
    Row(
        reason="A spec that cannot be read fails before anything is created.",
        view=a_view(a_job(mode="Dance")),
        want="finish FAILED InvalidSpec",
    ),
    Row(
        reason="A new job gets its pod.",
        view=a_view(),
        want="create pod of attempt 0",
    ),
    Row(
        reason="A young pod costs no status write.",
        view=a_view(pod=a_pod(), age=0.5),
        want="wait 1.5 s",
    ),
    Row(
        reason="A pod that is not up after 2 s is worth a word.",
        view=a_view(pod=a_pod(), age=3),
        want="say Pending PodCreated, then wait 60 s",
    ),
    Row(
        reason="Nothing is said twice.",
        view=a_view(a_job(status={"phase": "Pending", "reason": "PodCreated"}), a_pod(), age=3),
        want="wait 60 s",
    ),
    Row(
        reason="Inputs are being copied.",
        view=a_view(pod=a_pod(sync=running()), age=3),
        want="say Syncing Syncing, then wait 60 s",
    ),
    Row(
        reason="The code runs.",
        view=a_view(
            a_job(status={"phase": "Syncing", "reason": "Syncing"}), a_running_pod(), age=9
        ),
        want="say Running Executing, then wait 60 s",
    ),
    Row(
        reason="Code that runs has no startup deadline.",
        view=a_view(
            a_job(status={"phase": "Running", "reason": "Executing"}), a_running_pod(), age=4000
        ),
        want="wait 60 s",
    ),
    Row(
        reason="The startup deadline is looked at on time.",
        view=a_view(
            a_job(
                status={"phase": "Pending", "reason": "PodCreated"}, timeouts={"startupSeconds": 30}
            ),
            a_pod(),
            age=20,
        ),
        want="wait 10 s",
    ),
    Row(
        reason="A pod that finds no node says so before its deadline.",
        view=a_view(pod=a_pod(unschedulable="0/3 nodes are available"), age=250),
        want="say Pending Unschedulable, then wait 50 s",
    ),
    Row(
        reason="An image that cannot be pulled is named before the deadline, too.",
        view=a_view(pod=a_pod(agent=running(), sandbox=waiting("ImagePullBackOff")), age=5),
        want="say Pending ImagePullFailed, then wait 60 s",
    ),
    Row(
        reason="A pod without a node ends at its startup deadline.",
        view=a_view(pod=a_pod(unschedulable="0/3 nodes are available"), age=301),
        want="finish FAILED Unschedulable and remove the pod",
    ),
    Row(
        reason="So does one whose image cannot be pulled.",
        view=a_view(pod=a_pod(agent=waiting("ErrImagePull")), age=301),
        want="finish FAILED ImagePullFailed and remove the pod",
    ),
    Row(
        reason="So does one that lacks its Secret.",
        view=a_view(pod=a_pod(agent=waiting("CreateContainerConfigError")), age=301),
        want="finish FAILED ConfigError and remove the pod",
    ),
    Row(
        reason="And one that does not say what it waits for.",
        view=a_view(pod=a_pod(), age=301),
        want="finish FAILED StartupTimeout and remove the pod",
    ),
    Row(
        reason="Copying inputs may take longer than starting.",
        view=a_view(
            a_job(status={"phase": "Syncing", "reason": "Syncing"}), a_pod(sync=running()), age=900
        ),
        want="wait 60 s",
        bug="in_progress() looks every 0.1 s at a sync that is past startupSeconds",
    ),
    Row(
        reason="Code whose inputs took longer than the startup may still start.",
        view=a_view(pod=a_pod(sync=ended(0), agent=waiting(), sandbox=waiting()), age=900),
        want="say Pending PodCreated, then wait 60 s",
        bug="overdue() counts from the pod's creation as soon as the sync has ended",
    ),
    Row(
        reason="A pushed result ends the job.",
        view=a_view(pod=a_running_pod(), report=a_report()),
        want="finish SUCCESS Completed exit 0",
    ),
    Row(
        reason="So does one in the agent's termination message.",
        view=a_view(pod=a_pod(phase="Succeeded", agent=ended(0, "", wire.dumps(a_report())))),
        want="finish SUCCESS Completed exit 0",
    ),
    Row(
        reason="The pushed result is whole; the termination message is cut short.",
        view=a_view(
            pod=a_pod(agent=ended(0, "", wire.dumps(a_report()))),
            report=a_report(a_failed_result(3)),
        ),
        want="finish FAILED NonZeroExit exit 3",
    ),
    Row(
        reason="A result counts even if the pod has gone since.",
        view=a_view(report=a_report(), had_pod=True),
        want="finish SUCCESS Completed exit 0",
    ),
    Row(
        reason="The execution timeout is the one reason for TIMEOUT.",
        view=a_view(
            pod=a_running_pod(),
            report=a_report(a_result(status="TIMEOUT", exit_code=143, reason="ExecutionTimeout")),
        ),
        want="finish TIMEOUT ExecutionTimeout exit 143",
    ),
    Row(
        reason="The kubelet agrees.",
        view=a_view(
            pod=a_running_pod(sandbox=ended(3)), report=a_report(a_failed_result(3)), age=9
        ),
        want="finish FAILED NonZeroExit exit 3",
    ),
    Row(
        reason="The kubelet contradicts a success.",
        view=a_view(pod=a_running_pod(sandbox=ended(1)), report=a_report()),
        want="finish FAILED ResultMismatch exit 0",
    ),
    Row(
        reason="The kubelet knows better why the code was killed.",
        view=a_view(
            pod=a_running_pod(sandbox=ended(137, "OOMKilled")),
            report=a_report(a_failed_result(137, reason="Signaled", signal="SIGKILL")),
        ),
        want="finish FAILED OOMKilled exit 137",
    ),
    Row(
        reason="A success without an exit code is contradicted by any but 0.",
        view=a_view(
            pod=a_running_pod(sandbox=ended(137)), report=a_report(a_result(exit_code=None))
        ),
        want="finish FAILED ResultMismatch",
        bug="_checked() compares exit codes only if the report has one",
    ),
    Row(
        reason="A success with another exit code than 0 contradicts itself.",
        view=a_view(pod=a_running_pod(), report=a_report(a_result(exit_code=3))),
        want="finish FAILED ResultMismatch exit 3",
        bug="nothing compares a result's status with its own exit code",
    ),
    Row(
        reason="A report about another job is not believed.",
        view=a_view(
            pod=a_running_pod(),
            report=a_report(a_result(job=wire.JobRef(namespace="b", name="b", uid="other"))),
        ),
        want="finish FAILED ResultMismatch",
    ),
    Row(
        reason="A report about another request is not believed.",
        view=a_view(pod=a_running_pod(), report=a_report(a_result(request_id="other"))),
        want="finish FAILED ResultMismatch",
    ),
    Row(
        reason="Nor is an unfinished one.",
        view=a_view(
            pod=a_running_pod(sandbox=ended(1)),
            report=a_report(a_lost_result(request_id="other"), final=False),
        ),
        want="finish FAILED ResultMismatch",
        bug="sandbox_lost() does not check whose report it is",
    ),
    Row(
        reason="A reason of a newer agent is no harm to an older operator.",
        view=a_view(
            pod=a_running_pod(), report=a_report(a_failed_result(3, reason="QuotaOfTomorrow"))
        ),
        want="finish FAILED NonZeroExit exit 3",
        bug="from_report() raises ValueError, so the job is tried for ever and never ends",
    ),
    Row(
        reason="The agent saw the sandbox vanish; the kubelet has 10 s to say why.",
        view=a_view(pod=a_running_pod(), report=a_report(a_lost_result(), final=False), age=5),
        want="wait 10 s",
    ),
    Row(
        reason="It has what is left of them.",
        view=a_view(
            pod=a_running_pod(),
            report=a_report(a_lost_result(), final=False),
            age=9,
            reported_age=5,
        ),
        want="wait 6 s",
    ),
    Row(
        reason="The kubelet says it was the memory limit.",
        view=a_view(
            pod=a_running_pod(sandbox=ended(137, "OOMKilled")),
            report=a_report(a_lost_result(), final=False),
        ),
        want="finish FAILED OOMKilled exit 137",
    ),
    Row(
        reason="The kubelet says it was something else.",
        view=a_view(
            pod=a_running_pod(sandbox=ended(1)), report=a_report(a_lost_result(), final=False)
        ),
        want="finish FAILED SandboxLost exit 1",
    ),
    Row(
        reason="The kubelet never said anything.",
        view=a_view(
            pod=a_running_pod(),
            report=a_report(a_lost_result(), final=False),
            age=15,
            reported_age=5,
        ),
        want="finish FAILED SandboxLost",
    ),
    Row(
        reason="The pod went before the kubelet could say anything.",
        view=a_view(report=a_report(a_lost_result(), final=False), had_pod=True),
        want="finish FAILED SandboxLost",
    ),
    Row(
        reason="A vanished pod is not created again; its result may be in S3.",
        view=a_view(had_pod=True),
        want="look into S3, else FAILED PodLost",
    ),
    Row(
        reason="A pod under deletion may still report.",
        view=a_view(
            a_job(status={"phase": "Running", "reason": "Executing"}),
            a_running_pod(deleting=True),
            age=20,
        ),
        want="wait 60 s",
    ),
    Row(
        reason="A pod on a dead node is under deletion for ever; a day later nobody waits for it.",
        view=a_view(
            a_job(status={"phase": "Running", "reason": "Executing"}),
            a_running_pod(deleting=True),
            age=86_400,
        ),
        want="look into S3, else FAILED PodLost",
        bug="only the kubelet enforces activeDeadlineSeconds, and a lost node has none",
    ),
    Row(
        reason="The sync names its reason.",
        view=a_view(
            pod=a_pod(
                phase="Failed",
                sync=ended(1, "", '{"reason":"InputNotFound","message":"s3://user-data/in/x"}'),
            )
        ),
        want="finish FAILED InputNotFound",
    ),
    Row(
        reason="A sync that dies without a word is named as well.",
        view=a_view(pod=a_pod(phase="Failed", sync=ended(1, "", "Traceback"))),
        want="finish FAILED SyncFailed",
    ),
    Row(
        reason="A reason of a newer sync is no harm.",
        view=a_view(pod=a_pod(sync=ended(1, "", '{"reason":"New","message":"m"}'))),
        want="finish FAILED SyncFailed",
    ),
    Row(
        reason="A sync that did well is followed by the rest.",
        view=a_view(pod=a_pod(sync=ended(0), agent=waiting()), age=1),
        want="wait 1 s",
    ),
    Row(
        reason="An agent that ends without a result leaves S3 to be asked.",
        view=a_view(pod=a_running_pod(agent=ended(1), sandbox=running())),
        want="look into S3, else FAILED AgentFailed",
    ),
    Row(
        reason="An unreadable termination message is no result.",
        view=a_view(pod=a_pod(phase="Failed", agent=ended(1, "", '{"attempt":'))),
        want="look into S3, else FAILED AgentFailed",
    ),
    Row(
        reason="An evicted pod is named so.",
        view=a_view(pod=a_pod(phase="Failed", reason="Evicted", message="low on disk")),
        want="look into S3, else FAILED Evicted",
    ),
    Row(
        reason="So is one that outlived its deadline, though its agent ended, too.",
        view=a_view(pod=a_pod(phase="Failed", reason="DeadlineExceeded", agent=ended(137))),
        want="look into S3, else FAILED DeadlineExceeded",
    ),
    Row(
        reason="A failed pod that says nothing is lost.",
        view=a_view(pod=a_pod(phase="Failed")),
        want="look into S3, else FAILED PodLost",
    ),
    Row(
        reason="A pod that did well and told nothing is lost, too.",
        view=a_view(pod=a_pod(phase="Succeeded")),
        want="look into S3, else FAILED PodLost",
    ),
]


def _param(row: Row) -> Any:
    marks = [pytest.mark.xfail(strict=True, reason=row.bug)] if row.bug else []
    return pytest.param(row, id=row.reason, marks=marks)


@pytest.mark.parametrize("row", [_param(row) for row in ROWS])
def test_the_state_table(row: Row) -> None:
    assert in_words(decide(row.view)) == row.want, row.reason


def test_the_table_gives_each_reason_once() -> None:
    assert len({row.reason for row in ROWS}) == len(ROWS)


# What holds for every view.

statuses: st.SearchStrategy[Json] = st.sampled_from(
    [
        {},
        {"phase": "Pending", "reason": "PodCreated", "podName": "sales-5351954b-0"},
        {"phase": "Running", "reason": "Executing", "podName": "sales-5351954b-0"},
        DELIVERED,
        PENDING,
    ]
)
jobs = st.builds(
    lambda status, deleting, valid: a_job(
        status=status, deleting=deleting, **({} if valid else {"mode": "Dance"})
    ),
    statuses,
    st.booleans(),
    st.booleans(),
)
told = st.builds(
    lambda result, final: a_report(result, final=final), strategies.told_results(), st.booleans()
)
ages = st.floats(min_value=0, max_value=100_000)


@st.composite
def views(draw: st.DrawFn) -> View:
    report = draw(st.none() | told)
    age = draw(ages)
    return View(
        job=draw(jobs),
        pod=draw(st.none() | strategies.pods),
        had_pod=draw(st.booleans()),
        report=report,
        reported_at=None if report is None else CREATED + draw(st.floats(0, age)),
        now=CREATED + age,
    )


@given(views(), st.sampled_from([DELIVERED, PENDING, CONFLICT]))
def test_terminal_is_absorbing(view: View, status: Json) -> None:
    finished = replace(view, job=replace(view.job, status=status))

    assert isinstance(decide(finished), Nothing | Deliver)


@given(views())
def test_a_job_that_was_finished_by_a_decision_stays_finished(view: View) -> None:
    match decide(view):
        case Finish(end) | Recover(end):
            delivery = Delivery(state="Delivered")
            status = outcome.final_status(view.job, view.pod, end, delivery, view.now)
            assert decide(replace(view, job=replace(view.job, status=status))) == Nothing()


@given(views())
def test_the_same_view_gives_the_same_action(view: View) -> None:
    assert decide(view) == decide(replace(view))


@given(views())
def test_a_job_that_had_a_pod_gets_no_second_one(view: View) -> None:
    gone = replace(view, pod=None, had_pod=True)

    assert not isinstance(decide(gone), Create)


@given(views())
def test_a_pod_is_created_only_when_there_is_none_and_nothing_was_reported(view: View) -> None:
    if isinstance(decide(view), Create):
        assert (view.pod, view.had_pod, view.report) == (None, False, None)


@given(views())
def test_a_live_job_is_never_forgotten(view: View) -> None:
    action = decide(replace(view, job=a_job()))

    assert not isinstance(action, Nothing | Deliver)
    if isinstance(action, Wait | Progress):
        assert 0 < action.seconds <= 60


@given(strategies.pods, told)
@example(a_running_pod(sandbox=ended(137)), a_report(a_result(exit_code=None)))
@settings(phases=[Phase.explicit, Phase.generate])
@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="a SUCCESS without an exit code passes unchecked, and so does an unfinished one whose "
    "reason is SandboxLost already",
)
def test_no_success_against_the_kubelets_exit_code(pod: Pod, report: wire.Report) -> None:
    assert_no_false_success(pod, report)


@given(strategies.pods)
def test_a_success_as_our_agent_tells_it_is_checked_against_the_kubelet(pod: Pod) -> None:
    assert_no_false_success(pod, a_report())


def assert_no_false_success(pod: Pod, report: wire.Report) -> None:
    action = decide(a_view(pod=pod, report=report))

    kubelets = pod.container(names.CONTAINER_SANDBOX).ended
    if isinstance(action, Finish) and action.outcome.succeeded and kubelets:
        assert kubelets.exit_code == 0


# What holds for every order of events.

Event = tuple[str, Json]  # ADDED, MODIFIED or DELETED, and the object


def _history(*pods: Json, vanishes: bool = False) -> list[Event]:
    """A job, its pod's states one after another with growing versions, and maybe its end."""
    events: list[Event] = [("ADDED", a_job_body(version=1))]
    for version, state in enumerate(pods, start=2):
        events.append(("MODIFIED", a_pod_body(version=version, **state)))
        if version == 3:
            progress = {"phase": "Pending", "reason": "PodCreated", "podName": "sales-5351954b-0"}
            events.append(("MODIFIED", a_job_body(version=90, status=progress)))
    if vanishes:
        events.append(("DELETED", a_pod_body(version=99, **pods[-1])))
    return events


HISTORIES = {
    "the agent's last word": _history(
        {},
        {"agent": running()},
        {"phase": "Running", "agent": running(), "sandbox": running()},
        {"phase": "Running", "agent": running(), "sandbox": ended(0)},
        {
            "phase": "Succeeded",
            "agent": ended(0, "", wire.dumps(a_report())),
            "sandbox": ended(0),
        },
    ),
    "out of memory": _history(
        {},
        {"phase": "Running", "agent": running(), "sandbox": running()},
        {"phase": "Running", "agent": running(), "sandbox": ended(137, "OOMKilled")},
        {
            "phase": "Failed",
            "agent": ended(0, "", wire.dumps(a_report(a_lost_result(), final=False))),
            "sandbox": ended(137, "OOMKilled"),
        },
    ),
    "missing input": _history(
        {},
        {"sync": running()},
        {"phase": "Failed", "sync": ended(1, "", '{"reason":"InputNotFound","message":"x"}')},
    ),
    "evicted and collected": _history(
        {}, {"agent": running()}, {"phase": "Failed", "reason": "Evicted"}, vanishes=True
    ),
    "still running": _history(
        {}, {"agent": running()}, {"phase": "Running", "agent": running(), "sandbox": running()}
    ),
}


def note(store: Store, events: Sequence[Event]) -> None:
    """As the handlers do."""
    for kind, body in events:
        is_job = body["kind"] == names.KIND
        if kind == "DELETED":
            store.drop_pod(body)
        else:
            (store.put_job if is_job else store.put_pod)(body)


def relist(store: Store, events: Sequence[Event]) -> None:
    """What a LIST after all events shows."""
    job = [body for _, body in events if body["kind"] == names.KIND][-1]
    kind, pod = [(kind, body) for kind, body in events if body["kind"] == "Pod"][-1]
    store.replace([job], [] if kind == "DELETED" else [pod], listed_at=1000)


def last_action(store: Store) -> Action:
    (uid,) = store.uids()
    body, pod = store.job(uid), store.pod(uid)
    assert body is not None
    return decide(
        a_view(job_facts(body), pod_facts(pod) if pod else None, age=30, had_pod=store.had_pod(uid))
    )


def in_order(events: Sequence[Event]) -> Action:
    store = Store()
    note(store, events)
    return last_action(store)


@pytest.mark.parametrize("events", HISTORIES.values(), ids=HISTORIES)
@given(data=st.data())
def test_any_order_repetition_and_loss_then_a_list_ends_in_the_same_action(
    events: list[Event], data: st.DataObject
) -> None:
    seen = data.draw(st.lists(st.sampled_from(events), max_size=2 * len(events)))
    store = Store()

    note(store, seen)
    relist(store, events)

    assert last_action(store) == in_order(events)


@pytest.mark.parametrize("events", HISTORIES.values(), ids=HISTORIES)
@given(data=st.data())
def test_late_repetitions_of_what_is_known_change_nothing(
    events: list[Event], data: st.DataObject
) -> None:
    objects = [event for event in events if event[0] != "DELETED"]
    again = data.draw(st.lists(st.sampled_from(objects), max_size=8))
    store = Store()

    note(store, [*objects, *again])

    assert last_action(store) == in_order(objects)


@pytest.mark.parametrize("events", HISTORIES.values(), ids=HISTORIES)
@given(data=st.data())
def test_watches_of_jobs_and_pods_may_overtake_each_other(
    events: list[Event], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations([e for e in events if e[0] != "DELETED"]))
    store = Store()

    note(store, shuffled)

    assert last_action(store) == in_order([e for e in events if e[0] != "DELETED"])


@pytest.mark.parametrize("events", HISTORIES.values(), ids=HISTORIES)
def test_no_step_of_a_history_creates_a_second_pod(events: list[Event]) -> None:
    store = Store()
    actions = []
    for event in events:
        note(store, [event])
        actions.append(in_words(last_action(store)))

    assert actions[0] == "create pod of attempt 0"
    assert not any("create" in action for action in actions[1:])


@pytest.mark.parametrize("events", HISTORIES.values(), ids=HISTORIES)
def test_a_history_that_has_ended_never_goes_back(events: list[Event]) -> None:
    store = Store()
    ends = []
    for event in events:
        note(store, [event])
        ends.append(isinstance(last_action(store), Finish | Recover))

    assert all(later or not earlier for earlier, later in pairwise(ends))
