"""A results endpoint that hands jobs over to the agents of pools, also with faults."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from nanogrid import names, wire
from nanogrid.cli.http_serving import serving
from support.executor_pod import WAIT_SECONDS, Operator, ReportHandler

HEARTBEAT = b"\n"


@dataclass
class Answer:
    """One answer to the question for a job."""

    status: int = 200
    lines: list[bytes] = field(default_factory=list)
    then: str = "end"  # end | cut: close the connection inside the answer | hang


class TaskHandler(ReportHandler):
    """Answers the question for a job with chunks, as the operator does."""

    server: "TaskServer"
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        assert self.path == names.TASK_PATH
        self.server.asked.append(dict(self.headers.items()))
        self.server.on_ask()
        scripted = bool(self.server.answers)
        answer = self.server.answers.pop(0) if scripted else Answer(lines=[HEARTBEAT])
        self.send_response(answer.status)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for line in answer.lines:
            self._chunk(line)
        if not scripted:
            self._chunk(self.server.await_line())
        if answer.then == "hang":
            self.server.released.wait(WAIT_SECONDS)
        if answer.then == "end":
            self._chunk(b"")
        else:
            self.close_connection = True

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()


class TaskServer(Operator):
    """Gives the answers of a list, then waits for :meth:`hand_over`."""

    handler = TaskHandler

    def __init__(self, *answers: Answer) -> None:
        super().__init__()
        self.answers = list(answers)
        self.asked: list[dict[str, str]] = []  # the headers of each question
        self.on_ask: Callable[[], object] = lambda: None  # runs before each answer
        self.released = threading.Event()  # answers that hang end
        self._given = threading.Event()
        self._line = b""

    def hand_over(self, given: wire.HandOver) -> None:
        """Give the job to whoever waits, and to all who ask later."""
        self._line = wire.dumps(given).encode() + b"\n"
        self._given.set()

    def await_line(self) -> bytes:
        """The line of the job, once there is one."""
        self._given.wait(WAIT_SECONDS)
        return self._line


@contextmanager
def task_server(*answers: Answer) -> Iterator[TaskServer]:
    """A running server."""
    with serving(TaskServer(*answers)) as server:
        yield server
        server.released.set()
