"""The agent of a pod that waits in a pool: ready for a job, with nothing of any job in it.

Everything that a job does not decide happens here: the launcher connects and starts an interpreter,
modules are imported, the network is tested. Then the agent asks for its job, and becomes the agent
of that job. A pod that cannot become ready ends with exit code 1, and the operator replaces it.
"""

import os
import queue
import signal
import threading
import time
from typing import Final, NamedTuple, Protocol

from nanogrid import names, wire
from nanogrid.reasons import Reason
from nanogrid_executor.agent import batch, persist
from nanogrid_executor.agent.execution import Sandbox
from nanogrid_executor.agent.launcher_socket import NO_LAUNCHER, accept, listen
from nanogrid_executor.agent.network_gate import Bounds, NetworkGate
from nanogrid_executor.agent.task_client import TaskClient
from nanogrid_executor.log import about, about_task, log, warn
from nanogrid_executor.paths import Paths

# The launcher reports after the imports of its interpreter, which are slow while many pods start.
# A pod that is not ready must not look ready, so the agent does not go on without the report: the
# first job would pay for the start. A launcher of the same release always reports.
READY_SECONDS: Final = 300.0


class Problem(NamedTuple):
    """Why the pod cannot serve a job."""

    reason: Reason
    message: str


class WarmAgent:
    """The agent of one pool's pod."""

    def __init__(self, task: wire.PoolTask, paths: Paths, bounds: Bounds | None = None) -> None:
        """Nothing happens before :meth:`run`; ``bounds`` are those of the network gate."""
        self._paths = paths
        self._url = os.environ.get(names.ENV_RESULTS_URL, "")
        self._gate = NetworkGate(self._url, task.gate_port, bounds)
        self._signs: queue.SimpleQueue[wire.HandOver | Problem] = queue.SimpleQueue()

    def run(self) -> Problem | None:
        """Wait for a job and run it; the problem if there is no report of a job."""
        if not self._url:
            return Problem(Reason.CONFIG_ERROR, f"{names.ENV_RESULTS_URL} is not set")
        self._gate.start()
        listener = listen(self._paths.socket)
        log("agent-listening")
        sandbox = accept(listener, self._paths.socket)
        if sandbox is None:
            return Problem(Reason.SANDBOX_LOST, NO_LAUNCHER)
        began = time.monotonic()
        problem = self._become_ready(sandbox)
        if problem is not None:
            return problem
        log("pool-pod-ready", millis=round(1000 * (time.monotonic() - began)))
        sign = self._await_sign(sandbox)
        if isinstance(sign, Problem):
            # The kubelet stops the containers one by one: our own SIGTERM may follow.
            time.sleep(batch.STOP_WAIT_SECONDS)
            return sign
        return self._serve(sign, sandbox)

    def _become_ready(self, sandbox: Sandbox) -> Problem | None:
        import_early()  # while the launcher's interpreter starts
        if lost := sandbox.await_ready(READY_SECONDS):
            return Problem(Reason.SANDBOX_LOST, lost)
        if unsafe := self._gate.wait():
            return Problem(Reason.NETWORK_NOT_ENFORCED, unsafe)
        return None

    def _await_sign(self, sandbox: Sandbox) -> wire.HandOver | Problem:
        """Wait for the job, or for the end of the launcher: threads watch both."""
        client = TaskClient(self._url, self._paths.token)

        def ask() -> None:
            self._signs.put(client.wait())

        def watch() -> None:
            sandbox.await_sign()
            # After the hand-over, a sign is an answer to RUN, and this is not read.
            why = "the launcher sent something or ended while the pod waited"
            self._signs.put(Problem(Reason.SANDBOX_LOST, why))

        for each in (ask, watch):
            threading.Thread(target=each, name=f"pool-{each.__name__}", daemon=True).start()
        return self._signs.get()

    def _serve(self, given: wire.HandOver, sandbox: Sandbox) -> Problem | None:
        """Be the agent of the job."""
        take_over(given)
        if given.task.session is not None:
            return Problem(Reason.START_FAILED, "This pod is for batch jobs, and runs no session")
        agent = batch.BatchAgent(given.task, self._paths, sandbox, self._gate)
        signal.signal(signal.SIGTERM, agent.stop)
        batch.finish(agent)
        return None


class Waiting(Protocol):
    """An agent that waits."""

    def run(self) -> Problem | None:
        """Wait for a job and run it; the problem if there is no report of a job."""


def take_over(given: wire.HandOver) -> None:
    """Have the keys and the logs of a job."""
    # Both are read from the environment, as in a pod that has been created for its job.
    os.environ[names.ENV_RESULT_KEY] = given.result_key
    if given.role_session:
        os.environ[names.ENV_S3_ROLE_SESSION] = given.role_session
    about_task(given.task)
    log("task-received", inputs_by_agent=given.task.inputs_by_agent)


def import_early() -> None:
    """Import all that a job may need later, and what asks for the job."""
    import http.client

    from nanogrid_executor.agent import egress_proxy, input_sync
    from nanogrid_executor.inputs import sync, unpack
    from nanogrid_executor.outputs import shipped, upload, walk

    persist.import_late_modules(with_storage=True)
    del http, egress_proxy, input_sync, sync, unpack, shipped, upload, walk


def run(task: wire.PoolTask, paths: Paths, agent: Waiting) -> int:
    """Run the agent of a pool's pod; its exit code."""
    # There is nothing to report or to store before a job is handed over. A signal handler that
    # ends the process needs no thread to notice it.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    about({"namespace": task.namespace, "pool": task.pool})
    problem = agent.run()
    if problem is None:
        return 0
    warn("pool-pod-failed", reason=problem.reason, detail=problem.message)
    failure = wire.SyncFailure(reason=problem.reason.value, message=problem.message)
    paths.write_termination(wire.dumps(failure))
    return 1
