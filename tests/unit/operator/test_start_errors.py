"""Pods whose containers cannot start: what lasts ends the attempt at once, in the node's words."""

from typing import Any

import pytest

from nanogrid import names
from nanogrid.reasons import Reason
from nanogrid.types import Json
from nanogrid_operator.decision import actions
from nanogrid_operator.decision.decide import decide
from nanogrid_operator.decision.pod_use import pod_use
from nanogrid_operator.decision.snapshot import Snapshot, started
from nanogrid_operator.decision.start_errors import is_lasting
from nanogrid_operator.model.facts import Job
from nanogrid_operator.model.pod_facts import pod_facts, warning_of
from nanogrid_operator.status.session import SessionFacts, readiness
from nanogrid_operator.watch.transform import transform_pod
from support.builders import a_job, a_pod_body, ended, running, waiting
from support.snapshots import a_snapshot

OCI = "failed to create containerd task: failed to create shim task: OCI runtime create failed: "
LASTING = [
    OCI + "runc create failed: unable to start container process: container init was OOM-killed "
    "(memory limit too low?): unknown",
    OCI + "setting cgroup config for procHooks process caused: failed to write 4194304: write "
    "/sys/fs/cgroup/memory/x/memory.limit_in_bytes: device or resource busy",
    OCI + "unable to set memory limit to 1000 (current usage: 1204224, peak usage: 2936832)",
    "OOM: the memory limit could be too low: read from the init process",
    OCI + 'error mounting "/dev/x" to rootfs at "/app": not a directory',
    'failed to generate container "a1" spec: failed to generate spec: lstat /dev/x: no such file',
    "container create failed: seccomp: config provided but seccomp not supported",
    OCI + 'exec: "python3": executable file not found in $PATH: unknown',
    "Error: no command specified",
    'failed to get sandbox runtime: no runtime for "gvisor" is configured',
]
TRANSIENT = [
    "",
    "context deadline exceeded",
    "failed to create shim task: rpc error: code = DeadlineExceeded: oci runtime",
    "OCI runtime create failed: runc create failed: can't get final child's PID from pipe: EOF",
    OCI + "context canceled",
    'failed to reserve container name "sandbox_0": name "sandbox_0" is reserved for "b2"',
    OCI + "fork/exec /proc/self/exe: resource temporarily unavailable",
    "failed to mount: no space left on device",
    'rpc error: code = Unavailable desc = connection error: dial unix "/run/containerd.sock"',
    "plugin type=calico failed: dial unix /var/run/calico/api.sock: no such file or directory",
    "something that nobody has seen yet",
]
START_ERROR = ended(128, "StartError", LASTING[0])
BUSY = ended(128, "StartError", TRANSIENT[1])
SESSION = a_job(mode="Session")


def snapshot_of(
    *, job: Job | None = None, session: bool = False, last: Json | None = None, **changes: Any
) -> Snapshot:
    """A snapshot with a pod of these states; ``last`` is how the sandbox ended before."""
    about = {k: changes.pop(k) for k in ("age", "inspected_age", "warning") if k in changes}
    body = a_pod_body(**{"phase": "Running", **changes})
    if session:
        body["metadata"]["labels"][names.LABEL_MODE] = names.MODE_SESSION
    if last is not None:
        (sandbox,) = [c for c in body["status"]["containerStatuses"] if c["name"] == "sandbox"]
        sandbox |= {"lastState": last, "restartCount": 1}
    job = job or (SESSION if session else a_job())
    return a_snapshot(job, pod_facts(body), **about)


def end_of(snapshot: Snapshot) -> tuple[Reason, str]:
    """Reason and message of the end that is decided now."""
    action = decide(snapshot)
    assert isinstance(action, actions.Finish), action
    assert action.outcome.result.exit_code is None
    return action.outcome.reason, action.outcome.message


def shown_by(snapshot: Snapshot) -> tuple[str, Reason, str]:
    action = decide(snapshot)
    assert isinstance(action, actions.Progress), action
    return action.phase, action.reason, action.message


@pytest.mark.parametrize("text", LASTING)
def test_words_of_what_does_not_change_by_itself(text: str) -> None:
    assert is_lasting(text)


@pytest.mark.parametrize("text", TRANSIENT)
def test_words_of_what_can_be_over_at_the_next_try(text: str) -> None:
    assert not is_lasting(text)


@pytest.mark.parametrize("reason", ["StartError", "ContainerCannotRun"])
@pytest.mark.parametrize("words", [LASTING[0], TRANSIENT[1]])
def test_a_sandbox_of_a_batch_job_that_did_not_start_ends_the_job_at_once(
    reason: str, words: str
) -> None:
    """The kubelet does not start it again, whatever the cause."""
    found = snapshot_of(agent=running(), sandbox=ended(128, reason, words), age=2)

    end, message = end_of(found)

    assert end is Reason.START_FAILED
    assert f"container sandbox: {reason} (exit code 128): {words}." in message
    assert found.pod is not None
    assert not started(found.pod)


def test_a_retry_follows_if_the_job_allows_it() -> None:
    action = decide(
        snapshot_of(job=a_job(backoffLimit=1), agent=running(), sandbox=START_ERROR, age=2)
    )

    assert isinstance(action, actions.Retry)
    assert action.counted
    assert action.outcome.remove_pod


def test_an_agent_that_did_not_start_has_the_same_reason() -> None:
    end, message = end_of(snapshot_of(agent=START_ERROR, sandbox=running(), age=2))

    assert end is Reason.START_FAILED
    assert "container agent: StartError" in message


@pytest.mark.parametrize(
    ("states", "name"),
    [({"sync": START_ERROR}, "sync-input"), ({"install": START_ERROR}, "install-launcher")],
)
def test_an_init_container_that_did_not_start_has_the_same_reason(
    states: dict[str, Json], name: str
) -> None:
    end, message = end_of(snapshot_of(phase="Failed", age=2, **states))

    assert end is Reason.START_FAILED
    assert f"container {name}: StartError" in message


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (LASTING[0], Reason.START_FAILED),
        (TRANSIENT[1], Reason.START_FAILED),
        (LASTING[7], Reason.RUNTIME_INVALID),
        (OCI + "exec /usr/bin/python3: exec format error", Reason.RUNTIME_INVALID),
    ],
)
def test_an_image_without_python_differs_from_a_node_that_starts_nothing(
    words: str, reason: Reason
) -> None:
    check = ended(128, "StartError", words)

    assert end_of(snapshot_of(phase="Failed", check=check, age=2))[0] is reason


@pytest.mark.parametrize("kind", ["CreateContainerError", "RunContainerError"])
@pytest.mark.parametrize("name", ["agent", "sandbox", "sync", "check", "install"])
@pytest.mark.parametrize("session", [False, True])
def test_what_the_runtime_refuses_for_good_ends_the_job_at_once(
    kind: str, name: str, session: bool
) -> None:
    states = {name: waiting(kind, LASTING[4])}

    end, message = end_of(snapshot_of(phase="Pending", session=session, age=2, **states))

    assert end is Reason.START_FAILED
    assert f"{kind} {LASTING[4]}." in message


@pytest.mark.parametrize("session", [False, True])
def test_what_can_change_is_shown_with_the_kubelets_words_and_ends_after_the_startup_timeout(
    session: bool,
) -> None:
    states = {"agent": running(), "sandbox": waiting("CreateContainerError", TRANSIENT[1])}

    shown = shown_by(snapshot_of(session=session, age=60, **states))
    end, message = end_of(snapshot_of(session=session, age=301, **states))

    assert shown[:2] == ("Pending", Reason.START_FAILED)
    for text in (shown[2], message):
        assert f"container sandbox: CreateContainerError {TRANSIENT[1]}." in text
    assert end is Reason.START_FAILED


@pytest.mark.parametrize("sandbox", [BUSY, waiting("CrashLoopBackOff", "back-off 10s")])
def test_the_sandbox_of_a_session_is_started_again_until_the_startup_timeout(sandbox: Json) -> None:
    states = {"agent": running(), "sandbox": sandbox, "last": BUSY}

    shown = shown_by(snapshot_of(session=True, age=60, **states))
    found = snapshot_of(session=True, age=301, **states)

    assert shown[:2] == ("Pending", Reason.START_FAILED)
    assert TRANSIENT[1] in shown[2]
    assert end_of(found)[0] is Reason.START_FAILED
    assert readiness(found.job, SessionFacts(found.pod)).reason is Reason.INITIALIZING


@pytest.mark.parametrize("sandbox", [START_ERROR, waiting("CrashLoopBackOff", "back-off 10s")])
def test_a_session_whose_sandbox_can_never_start_ends_at_once(sandbox: Json) -> None:
    found = snapshot_of(session=True, agent=running(), sandbox=sandbox, last=START_ERROR, age=2)

    end, message = end_of(found)

    assert end is Reason.START_FAILED
    assert "memory limit too low" in message


def test_a_session_that_was_ready_is_not_ended_by_a_failed_restart() -> None:
    job = a_job(mode="Session", status={"phase": "Running", "reason": "Executing"})
    states = {"agent": running(), "sandbox": waiting("CrashLoopBackOff"), "last": START_ERROR}

    action = decide(snapshot_of(job=job, session=True, age=4000, **states))

    assert isinstance(action, actions.Wait | actions.Progress)
    assert not (isinstance(action, actions.Progress) and action.reason is Reason.START_FAILED)


def test_a_session_whose_code_crashed_is_not_one_that_did_not_start() -> None:
    states = {"agent": running(), "sandbox": waiting("CrashLoopBackOff"), "last": ended(1)}
    found = snapshot_of(session=True, age=60, **states)

    assert found.pod is not None
    assert started(found.pod)


@pytest.mark.parametrize("name", ["sandbox", "check"])
@pytest.mark.parametrize("session", [False, True])
def test_an_invalid_image_name_ends_the_job_at_once(name: str, session: bool) -> None:
    words = 'Failed to apply default image tag "UPPER/x": couldn\'t parse image name'
    states = {name: waiting("InvalidImageName", words)}

    end, message = end_of(snapshot_of(phase="Pending", session=session, age=2, **states))

    assert end is Reason.IMAGE_PULL_FAILED
    assert "couldn't parse image name" in message


def test_an_invalid_image_name_is_not_retried() -> None:
    policy = {"rules": [{"onReasons": ["ImagePullFailed"], "action": "Ignore"}]}
    job = a_job(backoffLimit=3, failurePolicy=policy)
    sandbox = waiting("InvalidImageName", "couldn't parse image name")

    end, _ = end_of(snapshot_of(job=job, phase="Pending", sandbox=sandbox, age=2))

    assert end is Reason.IMAGE_PULL_FAILED


@pytest.mark.parametrize(
    "reason", ["ErrImagePull", "ImagePullBackOff", "ImageInspectError", "RegistryUnavailable"]
)
def test_other_faults_of_images_are_tried_until_the_startup_timeout(reason: str) -> None:
    states = {"agent": running(), "sandbox": waiting(reason, "not found")}

    assert shown_by(snapshot_of(age=60, **states))[1] is Reason.IMAGE_PULL_FAILED
    assert end_of(snapshot_of(age=301, **states))[0] is Reason.IMAGE_PULL_FAILED


def test_what_lasts_wins_over_what_can_change() -> None:
    states = {
        "agent": waiting("ErrImagePull", "timeout"),
        "sandbox": waiting("InvalidImageName", "no name"),
    }

    assert "no name" in end_of(snapshot_of(phase="Pending", age=2, **states))[1]


@pytest.mark.parametrize(
    ("words", "lasts"), [(LASTING[9], True), (TRANSIENT[7], False), (TRANSIENT[1], False)]
)
def test_a_pod_without_a_sandbox_shows_the_event_of_the_kubelet(words: str, lasts: bool) -> None:
    warning = warning_of([{"reason": "FailedCreatePodSandBox", "message": words}])
    found = snapshot_of(phase="Pending", age=6, inspected_age=5, warning=warning)

    assert warning == (Reason.START_FAILED, words)
    end, message = end_of(found) if lasts else shown_by(found)[1:]
    assert end is Reason.START_FAILED
    assert words in message


@pytest.mark.parametrize("event", ["FailedCreatePodSandBox", "FailedMount"])
def test_an_event_counts_no_more_when_the_pod_has_its_sandbox(event: str) -> None:
    body = a_pod_body(phase="Pending", sync=running())
    body["status"]["conditions"].append({"type": "PodReadyToStartContainers", "status": "True"})
    warning = warning_of([{"reason": event, "message": LASTING[0]}])
    pod = pod_facts(transform_pod(body))
    found = a_snapshot(a_job(), pod, age=20, inspected_age=5, warning=warning)

    assert shown_by(found)[:2] == ("Syncing", Reason.SYNCING)


@pytest.mark.parametrize("reason", ["FailedMount", "FailedMapVolume", "FailedAttachVolume"])
def test_a_volume_that_cannot_be_mounted_is_a_fault_of_the_configuration(reason: str) -> None:
    words = 'MountVolume.SetUp failed for volume "session": secret "s" not found'

    assert warning_of([{"reason": reason, "message": words}]) == (Reason.CONFIG_ERROR, words)


def test_a_pod_that_cannot_start_takes_no_place_in_the_queue() -> None:
    body = a_pod_body(agent=running(), sandbox=waiting("CreateContainerError", "busy"))

    assert not pod_use(body).waits
