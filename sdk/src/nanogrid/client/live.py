"""What the code prints, told while it runs: by threads that follow its log, beside the wait.

The result has the last word: what the log lacked is told from it, nothing is told twice, and what
nobody has is said. Where the API server can tell the log's streams apart (feature gate
PodLogsQuerySplitStreams), ``stdout`` and ``stderr`` are told live; elsewhere they are told at the
end, unless ``both`` takes them as they come.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from nanogrid.client import podlog
from nanogrid.client.cluster import Cluster
from nanogrid.client.ending import STREAMS, Shown, rest_of, rest_of_both
from nanogrid.client.errors import NanoGridError
from nanogrid.client.podlog import NoSplit
from nanogrid.client.result import Result

Json = dict[str, Any]
Heard = Callable[[str], None]
BOTH: Final = "both"
LOG_SECONDS: Final = 5.0  # for the end of a log that has more than the result


@dataclass(frozen=True)
class Told:
    """Who is told what.

    Attributes:
        stdout: text of stdout.
        stderr: text of stderr.
        both: text of both in the order of the log; instead of the other two.
        note: a sentence about what is missing.
    """

    stdout: Heard | None = None
    stderr: Heard | None = None
    both: Heard | None = None
    note: Heard | None = None

    def __bool__(self) -> bool:
        """Whether anybody listens to text."""
        return bool(self.stdout or self.stderr or self.both)

    def say(self, stream: str, text: str) -> None:
        """Tell text of a stream."""
        heard = self.both or {"stdout": self.stdout, "stderr": self.stderr}.get(stream)
        if text and heard is not None:
            heard(text)

    def remark(self, text: str) -> None:
        """Tell a sentence."""
        if self.note is not None:
            self.note(text)


class Live:
    """Follows one job's output; :meth:`finish` tells what is left."""

    def __init__(self, cluster: Cluster, job: Json, told: Told) -> None:
        metadata = job["metadata"]
        self._cluster = cluster
        self._where = (str(metadata["namespace"]), str(metadata["uid"]))
        self._told = told
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._closed = False
        self._attempt = 0
        self._shown: dict[str, Shown] = {}
        self._broken: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="live-log", daemon=True)

    def start(self) -> "Live":
        """Begin to follow; nothing happens when nobody listens."""
        if self._told:
            self._thread.start()
        return self

    def close(self) -> None:
        """Tell nothing more."""
        self._over.set()
        with self._lock:
            self._closed = True

    def finish(self, result: Result) -> None:
        """Tell what the log has not told; returns when everything is said.

        Raises:
            Exception: what a listener raised while the code ran.
        """
        self._over.set()
        if result.truncated and self._thread.ident is not None:
            self._thread.join(LOG_SECONDS)  # the log may have more than the result
        self.close()
        if self._broken is not None:
            raise self._broken
        if self._told:
            self._settle(result)

    def _work(self) -> None:
        """The thread: pods one after the other, an attempt each."""
        try:
            streams = self._streams()
            if not streams:
                return
            for pod in podlog.started_pods(self._cluster, *self._where, self._over.is_set):
                self._begin(podlog.attempt_of(pod))
                self._follow(pod, streams)
        except NoSplit:
            return
        except NanoGridError as e:
            self._told.remark(f"no live output: {e.message}")
        except Exception as e:
            self._broken = e

    def _streams(self) -> tuple[str, ...]:
        if self._told.both is not None:
            return (BOTH,)
        return STREAMS if podlog.can_split(self._cluster) else ()

    def _begin(self, attempt: int) -> None:
        with self._lock:
            if self._shown and not self._closed:
                self._told.remark(f"attempt {attempt} begins")
            self._attempt, self._shown = attempt, {}

    def _follow(self, pod: Json, streams: tuple[str, ...]) -> None:
        """All streams of a pod, each in a thread of its own but for the first."""
        raised: list[Exception] = []
        others = [
            threading.Thread(target=self._read, args=(pod, one, raised), daemon=True)
            for one in streams[1:]
        ]
        for one in others:
            one.start()
        self._read(pod, streams[0], raised)
        for one in others:
            one.join()
        if raised:
            raise raised[0]

    def _read(self, pod: Json, stream: str, raised: list[Exception]) -> None:
        try:
            alone = "" if stream == BOTH else stream
            for piece in podlog.log_of(self._cluster, pod, self._over.is_set, stream=alone):
                self._pass(stream, piece)
        except Exception as e:  # told by the thread that waits for this one
            raised.append(e)

    def _pass(self, stream: str, piece: bytes) -> None:
        with self._lock:
            if not self._closed:
                self._told.say(stream, self._shown.setdefault(stream, Shown()).take(piece))

    def _settle(self, result: Result) -> None:
        """Tell what is left of the last attempt."""
        shown = self._shown if self._attempt == result.raw.get("attempt", 0) else {}
        if self._told.both is not None:
            both = shown.get(BOTH) or Shown()
            for stream, text in rest_of_both(result, both, self._told.remark):
                self._told.say(stream, text)
            return
        for stream in STREAMS:
            one = shown.get(stream) or Shown()
            self._told.say(stream, rest_of(result, stream, one, self._told.remark))
