"""An accepted execution: what is observed of it, its events, and whether it must stop."""

import codecs
import threading
import time
from typing import Any

from nanogrid_executor.log import warn
from nanogrid_executor.session.events import EventLog
from nanogrid_executor.session.execution_queue import QueueEntry
from nanogrid_executor.session.record import Observation
from nanogrid_executor.session.sandbox_protocol import ExecutionSpec, Stream


class AcceptedExecution:
    """An accepted execution; it is the sink that the sandbox writes to."""

    def __init__(self, spec: ExecutionSpec, entry: QueueEntry) -> None:
        self.spec = spec
        self.entry = entry
        self.events = EventLog()
        self.observation = Observation(spec, time.time())
        self.interrupted = False
        self.ended = False  # the code has ended; the answer may not be ready
        self.answer: dict[str, Any] | None = None
        self._done = threading.Event()
        self._decoders = {
            name: codecs.getincrementaldecoder("utf-8")("replace") for name in ("stdout", "stderr")
        }

    @property
    def number(self) -> int:
        """The execution's number."""
        return self.spec.number

    @property
    def done(self) -> bool:
        """Whether it has its answer."""
        return self._done.is_set()

    @property
    def state(self) -> str:
        """QUEUED, RUNNING or the answer's status."""
        if self.answer is not None:
            return str(self.answer["status"])
        return "QUEUED" if self.observation.started is None else "RUNNING"

    def started(self, start_millis: int) -> None:
        """The code runs."""
        self.observation.started = time.time()
        self.observation.start_millis = start_millis
        self.events.append("started", {"execution_num": self.number, "startMillis": start_millis})

    def output(self, stream: Stream, data: bytes) -> None:
        """A piece of stdout or stderr; an incomplete character waits for its remaining bytes."""
        getattr(self.observation, stream).feed(data)
        text = self._decoders[stream].decode(data)
        if text:
            self.events.append(stream, {"text": text})

    def display(self, bundle: dict[str, str]) -> None:
        """A rich result; a lone surrogate, which JSON can contain, becomes a question mark."""
        bundle = {_encodable(kind): _encodable(data) for kind, data in bundle.items()}
        if self.observation.display(bundle):
            self.events.append("result", bundle)
        elif self.observation.results_dropped == 1:
            warn("display-dropped", execution=self.number)

    def finish(self, answer: dict[str, Any]) -> None:
        """Publish the answer; all waiting threads get it."""
        for stream, decoder in self._decoders.items():
            rest = decoder.decode(b"", final=True)
            if rest:
                self.events.append(stream, {"text": rest})
        self.answer = answer
        self.observation.clear()  # the record has its content
        self.events.append("end", answer)
        self.events.close()
        self._done.set()

    def wait(self, seconds: float | None = None) -> dict[str, Any] | None:
        """Wait for the answer; None when it is not there in time."""
        self._done.wait(seconds)
        return self.answer


def _encodable(text: str) -> str:
    return text if text.isascii() else text.encode(errors="replace").decode()
