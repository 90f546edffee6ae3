"""Live output of a job: threads follow its log while another thread waits for its end.

At the end the result completes the text: what the log lacks comes from the result, no text comes
twice, and a note names text that neither has. If the API server can split a log's streams (feature
gate PodLogsQuerySplitStreams), ``stdout`` and ``stderr`` receive live text. Otherwise they receive
it at the end, unless ``both`` receives the streams together.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from nanogrid import pod_identity
from nanogrid.client.callbacks import OutputCallbacks
from nanogrid.client.errors import NanoGridError
from nanogrid.client.jobs.remaining_output import (
    STREAMS,
    LogText,
    remaining,
    remaining_of_both,
)
from nanogrid.client.jobs.result import Result
from nanogrid.client.kube import pod_log
from nanogrid.client.kube.cluster import Cluster
from nanogrid.client.kube.pod_log import NoSplit
from nanogrid.types import Json

BOTH: Final = "both"
LOG_SECONDS: Final = 5.0  # wait for the end of a log that has more text than the result


class LiveOutput:
    """Follows the output of one job; :meth:`finish` passes on the rest."""

    def __init__(self, cluster: Cluster, job: Json, callbacks: OutputCallbacks) -> None:
        metadata = job["metadata"]
        self._cluster = cluster
        self._job = (str(metadata["namespace"]), str(metadata["uid"]))
        self._callbacks = callbacks
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._closed = False
        self._attempt = 0
        self._logs: dict[str, LogText] = {}
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="live-log", daemon=True)

    def start(self) -> "LiveOutput":
        """Start to follow the log, unless no callback receives text."""
        if self._callbacks.wants_text:
            self._thread.start()
        return self

    def close(self) -> None:
        """Stop; no callback is called any more."""
        self._over.set()
        with self._lock:
            self._closed = True

    def finish(self, result: Result) -> None:
        """Pass on the text that the log did not have, then return.

        Raises:
            Exception: an error that a callback raised while the code ran.
        """
        self._over.set()
        if result.truncated and self._thread.ident is not None:
            self._thread.join(LOG_SECONDS)  # the log may have more text than the result
        self.close()
        if self._error is not None:
            raise self._error
        if self._callbacks.wants_text:
            self._complete(result)

    def _run(self) -> None:
        """The thread: follows one pod after the other; each is an attempt."""
        try:
            streams = self._streams()
            if not streams:
                return
            for pod in pod_log.started_pods(self._cluster, *self._job, self._over.is_set):
                self._begin(pod_identity.attempt(pod))
                self._follow(pod, streams)
        except NoSplit:
            return
        except NanoGridError as e:
            note = f"no live output: {e.message}"
            with suppress(Exception):  # finish() raises it
                self._call(lambda: self._callbacks.add_note(note))
        except Exception as e:
            self._error = self._error or e

    def _streams(self) -> tuple[str, ...]:
        if self._callbacks.both is not None:
            return (BOTH,)
        return STREAMS if pod_log.can_split(self._cluster) else ()

    def _begin(self, attempt: int) -> None:
        if self._logs:
            self._call(lambda: self._callbacks.add_note(f"attempt {attempt} begins"))
        with self._lock:
            self._attempt, self._logs = attempt, {}

    def _follow(self, pod: Json, streams: tuple[str, ...]) -> None:
        """Follow all streams of a pod; each stream after the first has its own thread."""
        errors: list[Exception] = []
        others = [
            threading.Thread(target=self._read, args=(pod, one, errors), daemon=True)
            for one in streams[1:]
        ]
        for one in others:
            one.start()
        self._read(pod, streams[0], errors)
        for one in others:
            one.join()
        if errors:
            raise errors[0]

    def _read(self, pod: Json, stream: str, errors: list[Exception]) -> None:
        try:
            alone = "" if stream == BOTH else stream
            for piece in pod_log.log_of(self._cluster, pod, self._over.is_set, stream=alone):
                self._pass_on(stream, piece)
        except Exception as e:  # raised by the thread that waits for this one
            errors.append(e)

    def _pass_on(self, stream: str, piece: bytes) -> None:
        def write() -> None:
            log = self._logs.setdefault(stream, LogText())
            self._callbacks.write(stream, log.add(piece))

        self._call(write)

    def _call(self, callback: Callable[[], None]) -> None:
        """Call back unless closed. The lock covers the error, so finish() cannot miss it."""
        with self._lock:
            if self._closed:
                return
            try:
                callback()
            except Exception as e:
                self._error = self._error or e
                raise

    def _complete(self, result: Result) -> None:
        """Pass on the rest of the last attempt."""
        logs = self._logs if self._attempt == result.raw.get("attempt", 0) else {}
        add_note = self._callbacks.add_note
        if self._callbacks.both is not None:
            both = logs.get(BOTH) or LogText()
            for stream, text in remaining_of_both(result, both, add_note):
                self._callbacks.write(stream, text)
            return
        for stream in STREAMS:
            log = logs.get(stream) or LogText()
            self._callbacks.write(stream, remaining(result, stream, log, add_note))
