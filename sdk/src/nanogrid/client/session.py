"""A session: a sandbox that stays, in which code runs as often as it is asked for."""

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

from urllib3.exceptions import HTTPError

from nanogrid.client.cluster import Cluster
from nanogrid.client.errors import (
    ApiError,
    Expired,
    InvalidRequest,
    NanoGridError,
    Unreachable,
    WaitTimeout,
    job_failed,
)
from nanogrid.client.execution import Execution
from nanogrid.client.http import Http
from nanogrid.client.result import Result
from nanogrid.client.run import Run
from nanogrid.client.sessionlink import Link
from nanogrid.client.sse import events

Json = dict[str, Any]
Heard = Callable[[str], None]
SILENCE_SECONDS: Final = 60.0  # four heartbeats
FILE_SECONDS: Final = 300.0
SYNC_SECONDS: Final = 3600.0
SHELL: Final = "BASH: "
DEFAULT_CONTEXT: Final = "default"
CHUNK_BYTES: Final = 1 << 16


@dataclass(frozen=True)
class FileInfo:
    """One file or folder; ``path`` is relative to /app, ``type`` file, directory or link."""

    path: str
    bytes: int
    type: str = "file"


class Files:
    """Files of a session's workspace /app; paths are relative to it."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def list(self, path: str = "") -> "list[FileInfo]":
        """What is below a folder, up to 1000 entries.

        Raises:
            NotFound: there is no such folder. ApiError: so for all methods.
        """
        found = self._link.json("GET", f"/files?{urlencode({'path': path})}")
        return [FileInfo(one["path"], one["bytes"], one["type"]) for one in found["files"]]

    def read(self, path: str) -> bytes:
        """A file's content."""
        where = _file(path)
        return self._link.call(lambda http: http.send("GET", where, read_seconds=FILE_SECONDS).data)

    def write(self, path: str, content: bytes | str | Path) -> FileInfo:
        """Store a file; a Path is a file of this machine. It is kept in S3, too."""
        data = content.read_bytes() if isinstance(content, Path) else content
        data = data.encode() if isinstance(data, str) else data
        done = self._link.json("PUT", _file(path), content=data, read_seconds=FILE_SECONDS)
        return FileInfo(str(done["path"]), int(done["bytes"]))

    def delete(self, path: str) -> None:
        """Remove a file."""
        self._link.json("DELETE", _file(path))


class Session:
    """A session; a context manager that waits until it is ready, and ends it if it made it.

    Attributes:
        run: the job behind it.
        files: its files.
    """

    def __init__(self, cluster: Cluster, run: Run, ready_timeout: float, owned: bool) -> None:
        self.run = run
        self._ready_timeout = ready_timeout
        self._owned = owned
        self._link = Link(cluster, run)
        self.files = Files(self._link)

    @property
    def name(self) -> str:
        """Of the job."""
        return self.run.name

    @property
    def id(self) -> str:
        """The session id: its files in S3 are below sessions/{id}/."""
        return self.run.request_id

    def ready(self, timeout: float | None = None) -> "Session":
        """Wait until it takes requests.

        Raises:
            JobFailed: it ended instead; the class tells why.
            WaitTimeout: it is not ready.
        """
        seconds = self._ready_timeout if timeout is None else timeout
        deadline = time.monotonic() + seconds
        came = self.run.until(lambda: self.run.finished or _is_ready(self.run), seconds)
        if (result := self.run.result) is not None:
            raise job_failed(result)
        if not came:
            said = f"session {self.name} is not ready within {seconds} s: {self.run.reason}."
            raise WaitTimeout(said, "Call ready() again, or see the job's status.")
        while True:
            try:
                self._link.json("GET", "/health")
                return self
            except ApiError as e:
                if e.status != 503 or time.monotonic() > deadline:
                    raise

    def execute(
        self,
        code: str,
        context: str | None = DEFAULT_CONTEXT,
        *,
        timeout: float | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
        on_stdout: Heard | None = None,
        on_stderr: Heard | None = None,
    ) -> Execution:
        """Run code and wait for its end; failing code is an answer like any other.

        Args:
            code: Python; or after the prefix ``BASH: `` a shell's, which has no context.
            context: interpreter whose variables live on from execution to execution; None is a
                process of its own.
            timeout: seconds; default is the session's.
            env: environment variables of this execution.
            stdin: text on standard input.
            on_stdout: called with text as soon as it is printed.
            on_stderr: the same for stderr.

        Raises:
            Expired: the session has ended; ``reason`` tells why.
            Conflict: another execution runs, and the session takes one at a time.
            ApiError: other refusals; none after a lost answer runs the code twice.
        """
        body: Json = {"code": code, "stream": True}
        body |= {} if context is None or code.startswith(SHELL) else {"context": context}
        body |= {} if timeout is None else {"timeoutSeconds": timeout}
        body |= {} if stdin is None else {"stdin": stdin}
        body |= {"env": dict(env)} if env else {}
        heard = _Heard(on_stdout, on_stderr)
        key = {"Idempotency-Key": str(uuid.uuid4())}
        return Execution(self._link.call(lambda http: _followed(http, body, key, heard)))

    def bash(self, command: str, **options: Any) -> Execution:
        """Run a command in the session's shell; options as in execute."""
        return self.execute(SHELL + command, None, **options)

    def interrupt(self, number: int | None = None) -> None:
        """Stop an execution, the running one by default; variables of its context live on.

        Raises:
            InvalidRequest: nothing runs. Conflict: it is over. NotFound: there is no such.
        """
        if number is None:
            number = self._link.json("GET", "/health").get("running")
        if number is None:
            raise InvalidRequest("nothing runs in the session.", "Give the execution's number.")
        self._link.json("DELETE", f"/executions/{number}")

    def sync(self, bucket: str, prefix: str, path: str | None = None) -> Json:
        """Copy a prefix of the session's own, or of its inputs, from S3 to /app/data.

        Args:
            bucket: of the prefix.
            prefix: for example sessions/{id}/input/.
            path: folder, /app/data by default or one below it.

        Returns:
            files (count), bytes, durationMillis, retries, files_list.

        Raises:
            Forbidden: the prefix is not the session's. NotFound: it is empty.
        """
        body = {"action": "sync_data_from_s3", "bucket_name": bucket, "s3_key_prefix": prefix}
        body |= {} if path is None else {"local_path": path}
        return self._link.json("POST", "/file-sync", body=body, read_seconds=SYNC_SECONDS)

    def contexts(self) -> list[Json]:
        """The living interpreters: name, executions, busy, ageSeconds, memoryBytes."""
        found: list[Json] = self._link.json("GET", "/contexts")["contexts"]
        return found

    def drop_context(self, name: str) -> None:
        """End an interpreter and forget its variables."""
        self._link.json("DELETE", f"/contexts/{quote(name, safe='')}")

    def health(self) -> Json:
        """Its health: status, executions, running …."""
        return self._link.json("GET", "/health")

    def end(self, reason: str = "", timeout: float | None = 300.0) -> Result:
        """End it and wait until artifacts and records are stored.

        Args:
            reason: a text for the log.
            timeout: seconds to wait; None waits for ever.
        """
        self._ask_end(reason)
        try:
            return self.run.wait(timeout)
        finally:
            self.close()

    def close(self) -> None:
        """Drop the connection; the session lives on until it is idle for too long."""
        self._link.close()

    def __enter__(self) -> "Session":
        try:
            return self.ready()
        except BaseException:
            # Nobody will use it: it shall not stay until it is idle.
            if self._owned and not self.run.finished:
                self.run.cancel()
            self.close()
            raise

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if self._owned and not self.run.finished:
                self._ask_end("")
        except NanoGridError as e:
            if error is None:
                raise
            error.add_note(f"and the session could not be ended: {e}")
        finally:
            self.close()

    def _ask_end(self, reason: str) -> None:
        try:
            self._link.json("POST", "/end", body={"reason": reason} if reason else {})
        except Expired:
            return  # it has ended already
        except Unreachable:
            self.run.cancel()  # the API server knows another way

    def __repr__(self) -> str:
        return f"<Session {self.run.namespace}/{self.name} {self.run.phase}>"


class _Heard:
    """Passes text on once, although a stream that broke is told from its beginning again."""

    def __init__(self, on_stdout: Heard | None, on_stderr: Heard | None) -> None:
        self._told = {"stdout": on_stdout, "stderr": on_stderr}
        self._passed = {"stdout": 0, "stderr": 0}
        self._position = dict(self._passed)

    def restart(self) -> None:
        """The stream is told from its beginning."""
        self._position = {"stdout": 0, "stderr": 0}

    def take(self, stream: str, text: str) -> None:
        """Text of the stream."""
        begin = self._position[stream]
        self._position[stream] = end = begin + len(text)
        fresh = text[max(0, self._passed[stream] - begin) :]
        self._passed[stream] = max(self._passed[stream], end)
        told = self._told[stream]
        if fresh and told is not None:
            told(fresh)


def _followed(http: Http, body: Json, key: Mapping[str, str], heard: _Heard) -> Json:
    heard.restart()
    headers = {"Accept": "text/event-stream", **key}
    answer = http.send(
        "POST", "/execute", body=body, headers=headers, read_seconds=SILENCE_SECONDS, preload=False
    )
    try:
        for name, data in events(answer.stream(CHUNK_BYTES, decode_content=True)):
            if name in ("stdout", "stderr"):
                heard.take(name, data["text"])
            elif name == "end":
                if "execution_num" not in data:
                    raise Unreachable(0, "NoAnswer", f"the execution has no answer: {data}.")
                found: Json = data
                return found
    except (HTTPError, OSError) as e:
        raise Unreachable(0, type(e).__name__, f"the stream broke: {e}.") from e
    finally:
        answer.close()
    raise Unreachable(0, "EndOfStream", "the stream ended before the execution did.")


def _is_ready(run: Run) -> bool:
    conditions = run.status.get("conditions") or []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _file(path: str) -> str:
    return f"/files/{quote(path.removeprefix('/app/').lstrip('/'))}"
