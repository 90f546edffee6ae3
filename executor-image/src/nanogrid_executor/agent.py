"""The agent of a batch job: has the launcher run the code, keeps what came out, reports it.

Order matters. The socket comes first, because the launcher is already looking for it. The result
goes into the termination message, then to S3, and only then to the operator: whenever this process
ends, the operator finds the result in at least one of the three.
"""

import os
import signal
import socket
import sys
import threading
import time
from dataclasses import replace
from types import FrameType
from typing import Final, NoReturn

from nanogrid import names, wire
from nanogrid.reasons import Reason
from nanogrid_executor import keeper
from nanogrid_executor import result as results
from nanogrid_executor.clock import Deadline
from nanogrid_executor.deliver import post_until_taken
from nanogrid_executor.execution import Execution, Order, Sandbox
from nanogrid_executor.log import log
from nanogrid_executor.paths import Paths
from nanogrid_executor.recording import Recording

# The launcher may come late: its image is pulled after this container has started. The operator's
# startup timeout ends the pod long before.
LAUNCHER_SECONDS: Final = 3600.0
ACCEPT_INTERVAL: Final = 0.5
# Containers of a pod are told to stop one by one: our SIGTERM may come after the launcher's end.
STOP_WAIT_SECONDS: Final = 0.5


def listen(path: str) -> socket.socket:
    """The socket that one launcher may connect to."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(1)
    return listener


def read_inputs(task: wire.Task, paths: Paths) -> tuple[wire.InputReport | None, str]:
    """The proof of the sync, if the job has something to sync; and what is wrong, or nothing."""
    if task.code_s3 is None and not task.inputs:
        return None, ""
    try:
        with open(paths.manifest, encoding="utf-8") as file:
            return wire.loads(wire.Manifest, file.read()).report, ""
    except (OSError, ValueError) as error:
        return None, f"There is no manifest: {error}"


def fill_workspace(task: wire.Task, paths: Paths) -> str:
    """Put inline code and the output directory in place; what is wrong, or nothing."""
    try:
        if task.code_inline is not None:
            entrypoint = os.path.join(paths.workspace, names.ENTRYPOINT)
            with open(entrypoint, "w", encoding="utf-8") as file:
                file.write(task.code_inline)
        # User code may write to output/ without making it first.
        os.makedirs(os.path.join(paths.workspace, task.outputs.path), exist_ok=True)
    except OSError as error:
        return f"The workspace cannot be prepared: {error}"
    return ""


def hand_over(task: wire.Task, paths: Paths, report: wire.Report) -> None:
    """Leave the report in the termination message, in S3, and with the operator."""
    paths.write_termination(results.to_termination(report))
    if not keeper.put_result(task.bucket, report.result):
        report = replace(report, stored=False)
        paths.write_termination(results.to_termination(report))
    url = os.environ.get(names.ENV_RESULTS_URL, "")
    if url:
        post_until_taken(url, paths.token, wire.dumps(report).encode())
    else:
        log("report-not-posted", why=f"{names.ENV_RESULTS_URL} is not set")


class Agent:
    """One job's run; :meth:`run` is its whole life."""

    def __init__(self, task: wire.Task, paths: Paths) -> None:
        self.task = task
        self.paths = paths
        self.inputs: wire.InputReport | None = None
        self.sandbox: Sandbox | None = None
        self.upload: Deadline | None = None
        self.stopping = False

    def stop(self, number: int, frame: FrameType | None) -> None:
        """SIGTERM: the pod is being deleted; stop the code and report within the grace."""
        self.stopping = True
        if self.sandbox is not None:
            self.sandbox.cancel()
        if self.upload is not None:
            self.upload.shorten(names.STOP_UPLOAD_SECONDS)

    def run(self, listener: socket.socket) -> None:
        """Run the code and hand over the report."""
        problem = self._prepare()
        self.sandbox = self._accept(listener)
        if problem:
            report = results.not_run(self.task, Reason.SYNC_FAILED, problem)
        elif self.stopping:
            report = results.not_run(self.task, Reason.TERMINATED, "It had not started")
        elif self.sandbox is None:
            why = f"No launcher came within {LAUNCHER_SECONDS:g} s"
            report = results.not_run(self.task, Reason.SANDBOX_LOST, why, final=False)
        else:
            report = self._execute(self.sandbox)
        if self.sandbox is not None:
            self.sandbox.close()
        log("execution-end", status=report.result.status, reason=report.result.reason)
        hand_over(self.task, self.paths, report)

    def _prepare(self) -> str:
        """Check the proof of the sync, put inline code in place; what is wrong, or nothing."""
        self.inputs, problem = read_inputs(self.task, self.paths)
        return problem or fill_workspace(self.task, self.paths)

    def _accept(self, listener: socket.socket) -> Sandbox | None:
        """The one connection there will ever be; None when the pod is stopped before."""
        deadline = time.monotonic() + LAUNCHER_SECONDS
        listener.settimeout(ACCEPT_INTERVAL)
        try:
            while not self.stopping and time.monotonic() < deadline:
                try:
                    sock, _ = listener.accept()
                    return Sandbox(sock)
                except TimeoutError:
                    continue  # look at the flag, and at the clock
            return None
        finally:
            os.unlink(self.paths.socket)
            listener.close()

    def _execute(self, sandbox: Sandbox) -> wire.Report:
        task = self.task
        order = Order(
            argv=task.command,
            cwd=self.paths.workspace,
            env=task.env,
            stdin=task.stdin,
            timeout_seconds=task.execution_timeout_seconds,
            grace_seconds=task.termination_grace_seconds,
        )
        cap = task.log_cap_bytes if task.bucket else 0
        stdout, stderr = (Recording(self.paths.run_dir, cap) for _ in range(2))
        execution = Execution(stdout, stderr)
        sandbox.run(order, execution, self._warm_up)
        sandbox.close()  # the container may end while its outputs are being stored
        if execution.exited is None:
            self._await_stop()
        return self._store(execution, {"stdout": stdout, "stderr": stderr})

    def _await_stop(self) -> None:
        """The launcher went without a word: see whether that is because the pod is stopped."""
        deadline = Deadline(STOP_WAIT_SECONDS)
        while not self.stopping and deadline.remaining():
            time.sleep(0.02)

    def _store(self, execution: Execution, streams: dict[str, Recording]) -> wire.Report:
        """Store outputs and streams; the report that tells of them."""
        self.upload = Deadline(self.task.upload_timeout_seconds)
        if self.stopping:
            self.upload.shorten(names.STOP_UPLOAD_SECONDS)
        # Should this process not live to report, the kubelet still has the end of the code.
        cut_off = results.Stored(failed=["the agent ended while it stored them"])
        self.paths.write_termination(results.to_termination(self._build(execution, cut_off)))
        stored = keeper.store(self.task, self.paths.workspace, execution, streams, self.upload)
        return self._build(execution, stored)

    def _build(self, execution: Execution, stored: results.Stored) -> wire.Report:
        stopped = self.stopping
        return results.build(self.task, execution, stored, self.inputs, stopped=stopped)

    def _warm_up(self) -> None:
        modules = bool(self.task.bucket)
        threading.Thread(target=keeper.import_late_modules, args=(modules,), daemon=True).start()


def main(paths: Paths, session_port: int = names.SESSION_PORT) -> NoReturn:
    """Entry point of the agent container."""
    task = wire.loads(wire.Task, os.environ[names.ENV_TASK])
    if task.session is not None:
        from nanogrid_executor.session import agent as session_agent  # a batch job pays nothing

        session_agent.run(task, paths, session_port)
    else:
        _run_batch(task, paths)
    sys.stdout.flush()
    os._exit(0)  # not held up by a request that outlived its deadline


def _run_batch(task: wire.Task, paths: Paths) -> None:
    agent = Agent(task, paths)
    signal.signal(signal.SIGTERM, agent.stop)
    listener = listen(paths.socket)
    log("agent-listening")
    agent.run(listener)
    keeper.settle(lambda: agent.stopping)
