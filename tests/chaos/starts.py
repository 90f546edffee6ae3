"""Counts the starts of user code: no fault may start the code of one pod twice."""

import contextlib
import socket
import threading

MARK = """\
import socket
with socket.create_connection(({host!r}, {port}), 60) as mark:
    mark.sendall((socket.gethostname() + {job!r}).encode())
    mark.recv(1)
"""


class Starts:
    """Counts the starts of user code: the code itself reports each start over TCP.

    Listens on one address of this machine that only the pods of the cluster reach. ``pods`` has
    the pod's name of each start. The name of a pod of a pool does not tell its job, so the code
    itself does.
    """

    def __init__(self, host: str) -> None:
        self._socket = socket.create_server((host, 0))
        self._socket.settimeout(0.2)
        self.host, self.port = self._socket.getsockname()[:2]
        self.pods: list[str] = []
        self._jobs: list[str] = []  # by the start
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> "Starts":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(5)
        self._socket.close()

    def _serve(self) -> None:
        while not self._over.is_set():
            try:
                connection, _ = self._socket.accept()
            except TimeoutError:
                continue
            # Each in a thread of its own: a slow sandbox delays no other one.
            threading.Thread(target=self._count, args=(connection,), daemon=True).start()

    def _count(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):  # its pod may be gone
            connection.settimeout(60)
            if mark := connection.recv(512).decode():
                pod, _, job = mark.partition(" ")
                self.pods.append(pod)
                self._jobs.append(job or pod.rsplit("-", 2)[0])
                connection.sendall(b"!")

    def marked(self, code: str, job: str = "") -> str:
        """The code with the report of its start before it; it continues after the count.

        ``job`` is needed for a job that may take a pod of a pool.
        """
        return MARK.format(host=self.host, port=self.port, job=f" {job}" if job else "") + code

    def count(self, job: str) -> int:
        """How often a job's code was started, in all its pods."""
        return self._jobs.count(job)

    def most_per_pod(self) -> int:
        """The largest number of starts in one pod."""
        return max((self.pods.count(pod) for pod in self.pods), default=0)
