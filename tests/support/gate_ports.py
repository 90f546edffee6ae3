"""The ports that tell a pod whether its policies are in force, on this machine."""

import socket
import threading
from pathlib import Path

from nanogrid_executor.agent.network_gate import Bounds, NetworkGate, Ports
from nanogrid_executor.paths import Paths
from support.s3_server import free_port
from support.waiting import wait_until

UNREACHED = Bounds(enforce=60.0, reach=0.6)  # for a results port that does not answer
SHORT = Bounds(enforce=0.6, reach=60.0)


class Port:
    """A port of this machine that can be open or closed, as policies make it for a pod."""

    def __init__(self) -> None:
        self.number = free_port()
        self.accepted = 0
        self._socket: socket.socket | None = None

    def open(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", self.number), backlog=64)
        threading.Thread(target=self._serve, args=(self._socket,), daemon=True).start()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
            self._socket = None

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                listener.accept()[0].close()
                self.accepted += 1
            except OSError:
                return  # closed


def wait_at_gate(paths: Paths, denied: Port) -> None:
    """Wait until the launcher is connected and the agent has found the port open since."""
    wait_until(lambda: denied.accepted > 2)
    wait_until(lambda: Path(paths.run_dir).exists() and not Path(paths.socket).exists())
    before = denied.accepted
    wait_until(lambda: denied.accepted > before + 2)


def ports_of(results: Port, denied: Port) -> Ports:
    return Ports("127.0.0.1", results.number, denied.number)


def gate_of(results: Port, denied: Port, bounds: Bounds = SHORT) -> NetworkGate:
    gate = NetworkGate(f"http://127.0.0.1:{results.number}/v1/results", denied.number, bounds)
    gate.start()
    return gate
