"""The agent of a batch job: lets the launcher run the code, stores the outputs, reports the result.

The order matters. The socket comes first, because the launcher already looks for it. The result
goes to the termination message, then to S3, then to the operator. Whenever this process ends, the
operator finds the result in at least one of the three.
"""

import os
import signal
import socket
import threading
import time
from types import FrameType
from typing import TYPE_CHECKING, Final

from nanogrid import names, wire
from nanogrid.reasons import Reason
from nanogrid_executor.agent import persist
from nanogrid_executor.agent.execution import Execution, RunRequest, Sandbox
from nanogrid_executor.agent.handover import (
    fill_workspace,
    hand_over,
    read_inputs,
    write_termination,
)
from nanogrid_executor.agent.launcher_socket import NO_LAUNCHER, accept, listen
from nanogrid_executor.agent.memory_reporter import MemoryReporter
from nanogrid_executor.agent.network_gate import NetworkGate
from nanogrid_executor.agent.result import NOT_STARTED, build, not_run, sync_failed
from nanogrid_executor.agent.stream_log import StreamLog
from nanogrid_executor.clock import Deadline
from nanogrid_executor.log import log
from nanogrid_executor.outputs.stored import Stored
from nanogrid_executor.paths import Paths

if TYPE_CHECKING:
    from nanogrid_executor.agent.egress_proxy import EgressProxy
    from nanogrid_executor.agent.input_sync import InputSync

# The kubelet stops the containers of a pod one by one: our SIGTERM may follow the launcher's end.
STOP_WAIT_SECONDS: Final = 0.5
# The launcher says that it was stopped. If that is true, the kubelet also stops this container.
STOP_CONFIRM_SECONDS: Final = 5.0
STOP_LOOK_SECONDS: Final = 0.02
# The end of the sandbox's container costs its node some CPU time, which the report needs first. Not
# longer: its end is when the code has ended, if the report comes late.
LINGER_SECONDS: Final = 0.5


class BatchAgent:
    """The agent of one job; :meth:`run` is its whole life."""

    def __init__(
        self,
        task: wire.PodTask,
        paths: Paths,
        sandbox: Sandbox | None = None,
        gate: NetworkGate | None = None,
    ) -> None:
        """Nothing happens before :meth:`run`.

        Args:
            task: the job's.
            paths: of the pod.
            sandbox: the launcher that has connected already; None: :meth:`run` accepts it.
            gate: the one that has been started already.
        """
        self.task = task
        self.paths = paths
        self.url = os.environ.get(names.ENV_RESULTS_URL, "")
        self.gate = gate or NetworkGate(self.url, task.gate_port)
        self.sync = _input_sync(task, paths)
        self.inputs: wire.InputReport | None = None
        self.sandbox = sandbox
        self.upload: Deadline | None = None
        self.proxy = _egress_proxy(task)
        self.stopping = False
        self.ended = False  # the code has ended
        self.held = False  # the code starts before its network is proven, and cannot use it
        self.unsafe = ""  # why the network is not in force

    def stop(self, number: int, frame: FrameType | None) -> None:
        """SIGTERM: the pod is being deleted. Stop the code and report within the grace period."""
        self.stopping = True
        if self.sandbox is not None:
            self.sandbox.cancel()
        if self.upload is not None:
            self.upload.shorten(names.STOP_UPLOAD_SECONDS)

    def run(self, listener: socket.socket | None = None) -> None:
        """Run the code and hand over the report.

        ``listener`` is where the launcher connects, if it has not connected yet.
        """
        if self.sync is not None:
            self.sync.start()  # at once, as an init container would
        problem = "" if self.sync else self._prepare()
        if listener is not None:
            self.sandbox = accept(listener, self.paths.socket, lambda: self.stopping)
        report = self._obstacle(problem)
        if report is None:
            assert self.sandbox is not None  # noqa: S101 that is an obstacle
            report = self._execute(self.sandbox)
        log("execution-end", status=report.result.status, reason=report.result.reason)
        self._end_launcher(LINGER_SECONDS)
        hand_over(self.task, self.paths, report)
        self._end_launcher()

    def _obstacle(self, problem: str) -> wire.Report | None:
        """The report if the code must not run: wait for all that it needs."""
        if problem:
            return not_run(self.task, Reason.SYNC_FAILED, problem)
        self.held = self._hold_network()
        unsafe = "" if self.held else self.gate.wait(lambda: self.stopping)
        if self.stopping:
            return not_run(self.task, Reason.TERMINATED, NOT_STARTED)
        if self.sandbox is None:
            return not_run(self.task, Reason.SANDBOX_LOST, NO_LAUNCHER, final=False)
        if unsafe:
            return not_run(self.task, Reason.NETWORK_NOT_ENFORCED, unsafe)
        failed = None if self.sync is None else self._await_inputs(self.sync)
        if failed is not None or self.held or self.proxy is None:
            return failed
        self.proxy.wait(lambda: self.stopping)
        return not_run(self.task, Reason.TERMINATED, NOT_STARTED) if self.stopping else None

    def _hold_network(self) -> bool:
        """Whether the code may start at once, because it gets no network before the proof."""
        if self.sandbox is None or self.stopping or self.gate.decided:
            return False
        proxy = 0.0 if self.proxy is None else self.proxy.longest
        problem = self.sandbox.hold_network(self.gate.longest + proxy)
        log("network-held", problem=problem or "no")
        return not problem

    def _on_gate(self, problem: str) -> None:
        """The network is proven, or is not in force: then the code must not go on."""
        assert self.sandbox is not None  # noqa: S101 it holds the network
        self.unsafe = problem
        if problem:
            self.sandbox.cancel()
        elif self.proxy is None:
            self.sandbox.open_network()
        else:  # not in this thread, which may be the one that starts the code
            threading.Thread(
                target=self._open_with_proxy,
                args=(self.sandbox, self.proxy),
                name="egress-proxy",
                daemon=True,
            ).start()

    def _open_with_proxy(self, sandbox: Sandbox, proxy: "EgressProxy") -> None:
        """Let the code have sockets when its proxy accepts them, or when the code ends."""
        proxy.wait(lambda: self.stopping or self.ended)
        sandbox.open_network()

    def _await_inputs(self, sync: "InputSync") -> wire.Report | None:
        """Wait for the agent's own sync; the report if the inputs are not in place."""
        outcome = sync.wait(lambda: self.stopping)
        if outcome is None:
            return not_run(self.task, Reason.TERMINATED, NOT_STARTED)
        if isinstance(outcome, wire.SyncFailure):
            return sync_failed(self.task, outcome)
        problem = self._prepare()
        return not_run(self.task, Reason.SYNC_FAILED, problem) if problem else None

    def _prepare(self) -> str:
        """Read the manifest of the sync and write inline code; the problem, or an empty text."""
        self.inputs, problem = read_inputs(self.task, self.paths)
        return problem or fill_workspace(self.task, self.paths)

    def _execute(self, sandbox: Sandbox) -> wire.Report:
        task = self.task
        request = RunRequest(
            argv=task.command,
            cwd=self.paths.workspace,
            env=task.env,
            stdin=task.stdin,
            timeout_seconds=task.execution_timeout_seconds,
            grace_seconds=task.termination_grace_seconds,
        )
        cap = task.log_cap_bytes if task.bucket else 0
        stdout, stderr = (StreamLog(self.paths.run_dir, cap) for _ in range(2))
        execution = Execution(stdout, stderr)
        memory = MemoryReporter(self.url, self.paths.token, task, lambda: execution.memory)
        if self.held:
            self.gate.then(self._on_gate)
        sandbox.run(request, execution, lambda: self._work_meanwhile(memory))
        self.ended = True
        memory.stop()
        self._end_launcher(LINGER_SECONDS)
        if self.held and execution.exited is not None:
            # What the gate costs, as NetworkGate.wait says it of code that has not started.
            millis, problem = execution.exited.held_millis, self.unsafe or "no"
            log("network-gate-waited", millis=millis, problem=problem)
        if execution.exited is None:
            self._await_stop(STOP_WAIT_SECONDS)
        elif execution.exited.cancelled and self.unsafe and not self.stopping:
            return not_run(task, Reason.NETWORK_NOT_ENFORCED, self.unsafe)
        elif execution.exited.cancelled:
            self._await_stop(STOP_CONFIRM_SECONDS)
        return self._store(execution, {"stdout": stdout, "stderr": stderr})

    def _end_launcher(self, seconds: float = 0.0) -> None:
        """Close the connection to the launcher, now or later: its container ends."""
        if self.sandbox is None:
            return
        if not seconds:
            self.sandbox.close()
            return
        later = threading.Timer(seconds, self.sandbox.close)
        later.daemon = True
        later.start()

    def _await_stop(self, seconds: float) -> None:
        """The launcher has ended early: wait for a SIGTERM of our own, which explains it."""
        deadline = Deadline(seconds)
        while not self.stopping and deadline.remaining():
            time.sleep(STOP_LOOK_SECONDS)

    def _store(self, execution: Execution, streams: dict[str, StreamLog]) -> wire.Report:
        """Store outputs and streams; the report with what was stored."""
        # If this process dies before it reports, the kubelet still has the end of the code.
        cut_off = Stored(failed=["the agent ended while it stored them"])
        write_termination(self.paths, self._build(execution, cut_off))
        # The code may have been faster than the network of a new pod.
        self.gate.wait_reachable(lambda: self.stopping)
        if self.task.bucket and self.task.gate_port is not None:
            persist.await_storage(lambda: self.stopping)
        self.upload = Deadline(self.task.upload_timeout_seconds)
        if self.stopping:
            self.upload.shorten(names.STOP_UPLOAD_SECONDS)
        stored = persist.store(self.task, self.paths, execution, streams, self.upload)
        return self._build(execution, stored)

    def _build(self, execution: Execution, stored: Stored) -> wire.Report:
        stopped = self.stopping
        return build(self.task, execution, stored, self.inputs, stopped=stopped)

    def _work_meanwhile(self, memory: MemoryReporter) -> None:
        """Import late modules and report memory while the code runs."""

        def work() -> None:
            persist.import_late_modules(bool(self.task.bucket))
            memory.run()

        threading.Thread(target=work, name="meanwhile", daemon=True).start()


def _input_sync(task: wire.PodTask, paths: Paths) -> "InputSync | None":
    """The sync, if the agent has to do it."""
    if not task.inputs_by_agent:
        return None
    from nanogrid_executor.agent.input_sync import InputSync  # late: few jobs have it

    return InputSync(task, paths)


def _egress_proxy(task: wire.PodTask) -> "EgressProxy | None":
    """The egress proxy of the code, if it has one."""
    if names.ENV_HTTPS_PROXY not in task.env:
        return None
    from nanogrid_executor.agent.egress_proxy import egress_proxy_of  # late: few jobs have it

    return egress_proxy_of(task)


def run(task: wire.PodTask, paths: Paths) -> None:
    """Run a batch job in the agent container; returns when the report is handed over."""
    agent = BatchAgent(task, paths)
    signal.signal(signal.SIGTERM, agent.stop)
    agent.gate.start()
    listener = listen(paths.socket)
    log("agent-listening")
    finish(agent, listener)


def finish(agent: BatchAgent, listener: socket.socket | None = None) -> None:
    """Run a job to the last request to S3."""
    agent.run(listener)
    persist.await_uploads(lambda: agent.stopping)
