"""One execution while it lives: what is seen of it, who follows it, whether it shall stop."""

import codecs
import threading
import time
from typing import Any

from nanogrid_executor.log import log
from nanogrid_executor.session.events import EventLog
from nanogrid_executor.session.port import ExecutionOrder, Stream
from nanogrid_executor.session.record import Observed
from nanogrid_executor.session.turns import Ticket


class Run:
    """An accepted execution; it is the sink that the sandbox writes to."""

    def __init__(self, order: ExecutionOrder, ticket: Ticket) -> None:
        self.order = order
        self.ticket = ticket
        self.events = EventLog()
        self.observed = Observed(order, time.time())
        self.interrupted = False
        self.ended = False  # the code is over, the answer not yet there
        self.answer: dict[str, Any] | None = None
        self._done = threading.Event()
        self._decoders = {
            name: codecs.getincrementaldecoder("utf-8")("replace") for name in ("stdout", "stderr")
        }

    @property
    def number(self) -> int:
        """The execution's number."""
        return self.order.number

    @property
    def over(self) -> bool:
        """Whether it has its answer."""
        return self._done.is_set()

    @property
    def state(self) -> str:
        """QUEUED, RUNNING or the answer's status."""
        if self.answer is not None:
            return str(self.answer["status"])
        return "QUEUED" if self.observed.started is None else "RUNNING"

    def started(self, start_millis: int) -> None:
        """The code runs."""
        self.observed.started = time.time()
        self.observed.start_millis = start_millis
        self.events.append("started", {"execution_num": self.number, "startMillis": start_millis})

    def output(self, stream: Stream, data: bytes) -> None:
        """A piece of stdout or stderr; a character cut in two waits for its other half."""
        getattr(self.observed, stream).feed(data)
        text = self._decoders[stream].decode(data)
        if text:
            self.events.append(stream, {"text": text})

    def display(self, bundle: dict[str, str]) -> None:
        """A rich result; half of a surrogate pair, which JSON can hold, becomes a question mark."""
        bundle = {_text(kind): _text(data) for kind, data in bundle.items()}
        if self.observed.display(bundle):
            self.events.append("result", bundle)
        elif self.observed.results_dropped == 1:
            log("display-dropped", execution=self.number)

    def finish(self, answer: dict[str, Any]) -> None:
        """It is over: who waits gets the answer."""
        for stream, decoder in self._decoders.items():
            rest = decoder.decode(b"", final=True)
            if rest:
                self.events.append(stream, {"text": rest})
        self.answer = answer
        self.observed.clear()  # the record has it
        self.events.append("end", answer)
        self.events.close()
        self._done.set()

    def wait(self, seconds: float | None = None) -> dict[str, Any] | None:
        """The answer, when it is there in time."""
        self._done.wait(seconds)
        return self.answer


def _text(text: str) -> str:
    return text if text.isascii() else text.encode(errors="replace").decode()
