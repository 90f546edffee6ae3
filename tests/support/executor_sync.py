"""Runs the input sync in this process, with inputs and ZIPs made for it."""

import io
import os
import socket
import sys
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from nanogrid import names, wire
from nanogrid.reasons import Reason
from nanogrid_executor.agent.batch import BatchAgent
from nanogrid_executor.agent.execution import Sandbox
from nanogrid_executor.agent.input_sync import InputSync, Outcome
from nanogrid_executor.agent.result import sync_failed
from nanogrid_executor.clock import Deadline
from nanogrid_executor.inputs import sync
from nanogrid_executor.inputs.fetch import Progress
from nanogrid_executor.launcher import frames
from nanogrid_executor.paths import Paths
from nanogrid_executor.storage.s3 import Storage
from nanogrid_operator.decision.outcome import from_report, sync_failure
from nanogrid_operator.model.pod_facts import Ended
from support.builders import a_job
from support.s3_server import BUCKET, make_task
from support.waiting import WAIT_SECONDS

SOURCE: Final = ("key", "prefix", "sha256", "version_id")
EXITED: Final = {
    "exitCode": 0,
    "signal": None,
    "timedOut": False,
    "cancelled": False,
    "oomKilled": False,
    "durationMillis": 1,
    "cpuMillis": 1,
    "peakMemoryBytes": 1,
    "memorySource": "cgroup",
    "error": None,
}

SyncOf = Callable[[wire.PodTask, Paths, Callable[[Deadline], Storage], Progress | None], Outcome]
sync_of: SyncOf = sync.run  # see the fixture `way`


def fast_storage(deadline: Deadline) -> Storage:
    """A client that does not wait between two tries."""
    return Storage(deadline, pause=lambda seconds: None)


def make_input(name: str = "data", **changes: Any) -> wire.Input:
    """An input; the fields of its source are given like its own."""
    source = {key: changes.pop(key) for key in SOURCE if key in changes}
    bucket = changes.pop("bucket", BUCKET)
    mount = changes.pop("mount_path", "/app/data")
    return wire.Input(
        name=name, s3=wire.S3Source(bucket=bucket, **source), mount_path=mount, **changes
    )


def make_code(key: str, **changes: Any) -> dict[str, Any]:
    """The fields of a task whose code is a ZIP in S3."""
    source = wire.S3Source(bucket=BUCKET, key=key, **changes)
    return {"code_inline": None, "code_s3": source}


def zipped(files: dict[str, bytes]) -> bytes:
    """A ZIP of stored files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        for name, body in files.items():
            opened.writestr(name, body)
    return buffer.getvalue()


def _by_agent(
    task: wire.PodTask,
    paths: Paths,
    make_storage: Callable[[Deadline], Storage],
    progress: Progress | None,
) -> Outcome:
    """The outcome in a whole agent, whose launcher runs nothing, and whose report is checked.

    The report must be what the operator makes of the same outcome of an init container.
    """
    task = replace(task, inputs_by_agent=True, attempt=0)
    ours, theirs = socket.socketpair()
    agent = BatchAgent(task, paths, Sandbox(ours))
    agent.sync = watched = _Watched(task, paths, make_storage, progress)
    with theirs, ThreadPoolExecutor(1) as pool:
        launcher = pool.submit(_serve, theirs, paths)
        agent.run()
        ran = launcher.result(WAIT_SECONDS)
    outcome = watched.outcome
    assert outcome is not None
    message = Path(paths.real(names.TERMINATION_FILE)).read_text()
    report = wire.loads(wire.Report, message)
    assert report.final
    if isinstance(outcome, wire.InputReport):
        assert ran, "the code runs with its inputs"
        assert report.result.reason == Reason.COMPLETED.value
        assert report.inputs is not None
        # A termination message may have no room for notes.
        assert replace(report.inputs, notes=outcome.notes) == outcome
    else:
        assert not ran, "no code runs without its inputs"
        assert report.result.reason == outcome.reason
        check_report(task, outcome, sync_failed(task, outcome))
    return outcome


class _Watched(InputSync):
    """Remembers its outcome."""

    outcome: Outcome | None = None

    def wait(self, stopped: Callable[[], bool]) -> Outcome | None:
        self.outcome = super().wait(stopped)
        return self.outcome


def _serve(sock: socket.socket, paths: Paths) -> bool:
    """Answer RUN, which may come only after the manifest; whether it came."""
    frame = frames.receive(sock)
    if frame is None:
        return False
    assert frame[0] == frames.RUN
    assert os.path.exists(paths.manifest), "the manifest is the proof"
    frames.send_json(sock, frames.STARTED, {"pid": 2, "startMillis": 1})
    frames.send_json(sock, frames.EXITED, EXITED)
    return True


def check_report(task: wire.PodTask, failure: wire.SyncFailure, report: wire.Report) -> None:
    """The agent's report of a failure has the effect of the init container's message."""
    name, namespace, uid = task.job, task.namespace, task.uid
    job = a_job(name=name, namespace=namespace, uid=uid, requestId=task.request_id)
    by_init = sync_failure(job, Ended(1, "Error", wire.dumps(failure)))
    by_agent = from_report(job, None, report)
    assert by_agent.result == by_init.result
    assert (by_agent.reason, by_agent.message) == (by_init.reason, by_init.message)
    assert by_agent.inputs is None


@pytest.fixture(params=[False, True], ids=["init container", "agent"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways, one after the other: one table proves the guarantee of both."""
    monkeypatch.setattr(sys.modules[__name__], "sync_of", _by_agent if request.param else sync.run)


def run_sync(
    paths: Paths,
    *inputs: wire.Input,
    progress: Progress | None = None,
    make_storage: Callable[[Deadline], Storage] = fast_storage,
    **changes: Any,
) -> Outcome:
    """Run a task's sync."""
    task = make_task(inputs=list(inputs), **changes)
    return sync_of(task, paths, make_storage, progress)


def succeed(paths: Paths, *inputs: wire.Input, **changes: Any) -> wire.Manifest:
    """Run a sync that succeeds; its manifest."""
    outcome = run_sync(paths, *inputs, **changes)
    assert isinstance(outcome, wire.InputReport), outcome
    manifest = wire.loads(wire.Manifest, Path(paths.manifest).read_bytes())
    assert manifest.report == outcome
    return manifest


def fail(paths: Paths, *inputs: wire.Input, **changes: Any) -> wire.SyncFailure:
    """Run a sync that fails; the failure. There is no manifest then."""
    outcome = run_sync(paths, *inputs, **changes)
    assert isinstance(outcome, wire.SyncFailure), outcome
    assert not os.path.exists(paths.manifest), "a failed sync has no manifest"
    return outcome
