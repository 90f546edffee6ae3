"""The agent of a pod that waits in a pool for a session.

As in the pod of a session, the launcher connects first, and learns that it serves a session. The
network is tested and the HTTP server runs. Then the agent asks for its session, and becomes its
agent. The kubelet restarts an agent that fails. If its pod has a session, the new agent asks again,
gets the same one and continues it. The session's token is in the memory of this process only.
"""

import os
import queue
import threading
import time

from nanogrid import names, wire
from nanogrid.reasons import Reason
from nanogrid_executor.agent import batch, warm
from nanogrid_executor.agent.launcher_socket import LAUNCHER_SECONDS, NO_LAUNCHER
from nanogrid_executor.agent.network_gate import Bounds, NetworkGate
from nanogrid_executor.agent.task_client import TaskClient
from nanogrid_executor.agent.warm import Problem
from nanogrid_executor.log import log
from nanogrid_executor.paths import Paths
from nanogrid_executor.session.agent import SessionAgent, Warm, run_in_thread
from nanogrid_executor.session.api.server import HttpServer, start_server
from nanogrid_executor.session.api.waiting import WaitingApp
from nanogrid_executor.session.sandbox import LauncherSandbox
from nanogrid_executor.session.session import journal_file


class WarmSessionAgent:
    """The agent of one pool's pod for sessions."""

    def __init__(
        self, task: wire.PoolTask, paths: Paths, port: int, bounds: Bounds | None = None
    ) -> None:
        """Nothing happens before :meth:`run`.

        Args:
            task: what is known without a session.
            paths: of the pod.
            port: of the session's API.
            bounds: of the network gate.
        """
        self._paths, self._port = paths, port
        self._url = os.environ.get(names.ENV_RESULTS_URL, "")
        self._gate = NetworkGate(self._url, task.gate_port, bounds)
        self._sandbox = LauncherSandbox(paths.socket, paths.workspace)
        self._app = WaitingApp()
        self._signs: queue.SimpleQueue[wire.HandOver | Problem] = queue.SimpleQueue()

    def run(self) -> Problem | None:
        """Wait for a session and run it; the problem if there is no report of a session."""
        if not self._url:
            return Problem(Reason.CONFIG_ERROR, f"{names.ENV_RESULTS_URL} is not set")
        resumes = os.path.exists(journal_file(self._paths))
        self._gate.start()
        self._sandbox.start()
        log("agent-listening", resumes=resumes)
        server = start_server(self._app, self._port)
        import_early()
        if not resumes:  # otherwise the session waits for both, and answers meanwhile
            problem = self._become_ready()
            if problem is not None:
                return problem
        sign = self._await_sign(resumes=resumes)
        if isinstance(sign, Problem):
            # The kubelet stops the containers one by one: our own SIGTERM may follow.
            time.sleep(batch.STOP_WAIT_SECONDS)
            return sign
        return self._serve(sign, server)

    def _become_ready(self) -> Problem | None:
        began = time.monotonic()
        if not self._sandbox.wait_available(LAUNCHER_SECONDS):
            return Problem(Reason.SANDBOX_LOST, NO_LAUNCHER)
        if unsafe := self._gate.wait():
            return Problem(Reason.NETWORK_NOT_ENFORCED, unsafe)
        log("pool-pod-ready", millis=round(1000 * (time.monotonic() - began)))
        self._app.waits = True
        return None

    def _await_sign(self, *, resumes: bool) -> wire.HandOver | Problem:
        """Wait for the session, or for the end of the launcher: threads watch both."""
        client = TaskClient(self._url, self._paths.token)

        def ask() -> None:
            self._signs.put(client.wait())

        def watch() -> None:
            self._sandbox.wait_gone()
            # Both containers start again. Meanwhile no session claims the pod.
            why = "the launcher ended while the pod waited"
            self._signs.put(Problem(Reason.SANDBOX_LOST, why))

        for each in (ask,) if resumes else (ask, watch):
            threading.Thread(target=each, name=f"pool-{each.__name__}", daemon=True).start()
        return self._signs.get()

    def _serve(self, given: wire.HandOver, server: HttpServer) -> Problem | None:
        """Be the agent of the session."""
        self._app.begin()
        warm.take_over(given)
        if given.task.session is None or given.session_token is None:
            return Problem(Reason.START_FAILED, "This pod is for sessions, and runs no other job")
        started = Warm(self._gate, server, self._app, given.session_token)
        run_in_thread(SessionAgent(given.task, self._paths, self._sandbox, self._port, started))
        return None


def import_early() -> None:
    """Import all that a session may need later."""
    from nanogrid_executor.session.api import app

    warm.import_early()
    del app
