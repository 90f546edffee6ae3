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
import traceback
from types import FrameType
from typing import Final

from nanogrid import names, wire
from nanogrid.reasons import Reason
from nanogrid_executor import result as results
from nanogrid_executor.deliver import post_until_taken
from nanogrid_executor.execution import Order, Sandbox
from nanogrid_executor.log import log
from nanogrid_executor.paths import Paths

# The launcher may come late: its image is pulled after this container has started. The operator's
# startup timeout ends the pod long before.
LAUNCHER_SECONDS: Final = 3600.0
ACCEPT_INTERVAL: Final = 0.5
RESULT_DELAYS: Final = (0.5,)  # S3 is one of three ways: it must not hold up the other two


def listen(path: str) -> socket.socket:
    """The socket that one launcher may connect to."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(1)
    return listener


class Agent:
    """One job's run; :meth:`run` is its whole life."""

    def __init__(self, task: wire.Task, paths: Paths) -> None:
        self.task = task
        self.paths = paths
        self.inputs: wire.InputReport | None = None
        self.sandbox: Sandbox | None = None
        self.stopping = False

    def stop(self, number: int, frame: FrameType | None) -> None:
        """SIGTERM: the pod is being deleted; stop the code and report within the grace."""
        self.stopping = True
        if self.sandbox is not None:
            self.sandbox.cancel()

    def run(self, listener: socket.socket) -> None:
        """Run the code and hand over the report."""
        problem = self._prepare()
        self.sandbox = self._accept(listener)
        if problem:
            report = results.not_run(self.task, Reason.SYNC_FAILED, problem)
        elif self.sandbox is None:
            why = "The pod was told to stop before the code could start"
            report = results.not_run(self.task, Reason.SANDBOX_LOST, why, final=False)
        else:
            report = self._execute(self.sandbox)
        if self.sandbox is not None:
            self.sandbox.close()
        log("execution-end", status=report.result.status, reason=report.result.reason)
        self._hand_over(report)

    def _prepare(self) -> str:
        """Check the proof of the sync, put inline code in place; what is wrong, or nothing."""
        if self.task.code_s3 is not None or self.task.inputs:
            try:
                with open(self.paths.manifest, encoding="utf-8") as file:
                    self.inputs = wire.loads(wire.Manifest, file.read()).report
            except (OSError, ValueError) as error:
                return f"There is no manifest: {error}"
        try:
            self._fill_workspace()
        except OSError as error:
            return f"The workspace cannot be prepared: {error}"
        return ""

    def _fill_workspace(self) -> None:
        if self.task.code_inline is not None:
            entrypoint = os.path.join(self.paths.workspace, names.ENTRYPOINT)
            with open(entrypoint, "w", encoding="utf-8") as file:
                file.write(self.task.code_inline)
        # User code may write to output/ without making it first.
        os.makedirs(os.path.join(self.paths.workspace, self.task.outputs.path), exist_ok=True)

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
        if self.stopping:
            sandbox.cancel()
        order = Order(
            argv=task.command,
            cwd=self.paths.workspace,
            env=task.env,
            stdin=task.stdin,
            timeout_seconds=task.execution_timeout_seconds,
            grace_seconds=task.termination_grace_seconds,
        )
        execution = sandbox.run(order, self._warm_up)
        sandbox.close()  # the container may end while its outputs are being stored
        stored = self._store_outputs()
        return results.build(task, execution, stored, self.inputs)

    def _store_outputs(self) -> results.Stored:
        try:
            from nanogrid_executor import outputs

            return outputs.store(self.task, self.paths.workspace)
        except Exception as error:  # the boundary: exit code and stdout must not be lost with it
            traceback.print_exc(file=sys.stdout)
            return results.Stored(failed=[f"{type(error).__name__}: {error}"])

    def _hand_over(self, report: wire.Report) -> None:
        self.paths.write_termination(results.to_termination(report))
        self._put_result(report.result)
        url = os.environ.get(names.ENV_RESULTS_URL, "")
        if url:
            post_until_taken(url, self.paths.token, wire.dumps(report).encode())
        else:
            log("report-not-posted", why=f"{names.ENV_RESULTS_URL} is not set")

    def _put_result(self, result: wire.Result) -> None:
        if not self.task.bucket:
            return
        from nanogrid_executor.s3 import Storage, StorageError

        key = names.result_object(self.task.request_id)
        body = wire.dumps(result).encode()
        try:
            Storage(delays=RESULT_DELAYS).put_bytes(self.task.bucket, key, body, "application/json")
        except StorageError as error:
            # The termination message and the POST still carry it.
            log("result-not-stored", key=key, reason=error.reason, message=error)

    def _warm_up(self) -> None:
        """Import what is needed later while the user's code runs, when it costs nothing."""
        threading.Thread(target=_import_late_modules, args=(bool(self.task.bucket),)).start()


def _import_late_modules(with_storage: bool) -> None:
    import http.client

    from nanogrid_executor import outputs

    if with_storage:
        import obstore.store

        del obstore
    del http, outputs


def main(paths: Paths) -> int:
    """Entry point of the agent container."""
    listener = listen(paths.socket)
    log("agent-listening")
    agent = Agent(wire.loads(wire.Task, os.environ[names.ENV_TASK]), paths)
    signal.signal(signal.SIGTERM, agent.stop)
    agent.run(listener)
    return 0
