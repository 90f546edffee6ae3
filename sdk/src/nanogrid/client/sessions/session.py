"""A session: a long-running sandbox that executes code on request.

It starts when the client creates it. Its first request waits until it is ready, so it works with
and without a context manager.
"""

import uuid
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from nanogrid.client.callbacks import TextCallback
from nanogrid.client.errors import (
    ApiError,
    Expired,
    InvalidRequest,
    NanoGridError,
    Unreachable,
    WaitTimeout,
    hint_of,
)
from nanogrid.client.jobs.result import Result, job_failed
from nanogrid.client.jobs.run import Run
from nanogrid.client.kube.cluster import Cluster
from nanogrid.client.sessions import stream
from nanogrid.client.sessions.connection import SessionConnection
from nanogrid.client.sessions.execution import Execution
from nanogrid.client.sessions.files import Files
from nanogrid.hints import without_hint
from nanogrid.types import Json

SYNC_SECONDS: Final = 3600.0
SHELL: Final = "BASH: "
DEFAULT_CONTEXT: Final = "default"
GONE: Final = 410


class Session:
    """A session; as a context manager it waits until it is ready.

    The end of the context manager ends a session that the client started, and no other one. Without
    a context manager, call start (or the first request, which waits too), and end. Otherwise the
    session ends by itself after its idle timeout.

    Attributes:
        run: job of the session.
        files: files of the session's workspace.
    """

    def __init__(self, cluster: Cluster, run: Run, ready_timeout: float, owned: bool) -> None:
        self.run = run
        self._ready_timeout = ready_timeout
        self._owned = owned
        self._timing = cluster.timing
        self._connection = SessionConnection(cluster, run, self._until_usable)
        self.files = Files(self._connection)

    @property
    def name(self) -> str:
        """Name of the job."""
        return self.run.name

    @property
    def id(self) -> str:
        """The session id; the session's files in S3 are below sessions/{id}/."""
        return self.run.request_id

    @property
    def idle_timeout(self) -> int:
        """Seconds without a request and an execution after which the session ends by itself."""
        from nanogrid.api.session import SessionSpec

        rules = self.run.job["spec"].get("session") or {}
        # Not validated: the API server may know wider bounds.
        return SessionSpec.model_construct(
            idle_timeout_seconds=rules.get("idleTimeoutSeconds"),
            max_lifetime_seconds=rules.get("maxLifetimeSeconds"),
            execution_timeout_seconds=rules.get("executionTimeoutSeconds"),
        ).idle_seconds

    def start(self) -> "Session":
        """Wait until the session is ready; one that does not become ready is stopped.

        Afterwards call end. Otherwise the session ends after its idle timeout.

        Raises:
            JobFailed: the session ended; the class follows from the reason.
            WaitTimeout: the session is not ready within its ``ready_timeout``.
        """
        try:
            return self.ready()
        except BaseException:
            # No caller can use the session, so it must not run until its idle timeout.
            if self._owned and not self.run.finished:
                self.run.cancel()
            self.close()
            raise

    def ready(self, timeout: float | None = None) -> "Session":
        """Wait until the session accepts requests.

        Args:
            timeout: seconds; default is the ``ready_timeout`` of the session.

        Raises:
            JobFailed: the session ended; the class follows from the reason.
            WaitTimeout: the session is not ready.
        """
        seconds = self._ready_timeout if timeout is None else timeout
        deadline = self._timing.now() + seconds
        self._until_ready(seconds)
        if (result := self.run.result) is not None:
            raise job_failed(result)
        while True:
            try:
                self._connection.json("GET", "/health")
                return self
            except ApiError as e:
                if e.status != 503 or self._timing.now() > deadline:
                    raise

    def execute(
        self,
        code: str,
        context: str | None = DEFAULT_CONTEXT,
        *,
        timeout: float | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
        keep_processes: bool = False,
        on_stdout: TextCallback | None = None,
        on_stderr: TextCallback | None = None,
    ) -> Execution:
        """Run code and wait for its end; failed code is also a result.

        A retry after a lost answer does not run the code again.

        Args:
            code: Python; or, after the prefix ``BASH: ``, a shell command without a context.
            context: name of an interpreter that keeps its variables; None runs a new process.
            timeout: seconds; default is the session's.
            env: environment variables of this execution.
            stdin: text on standard input.
            keep_processes: whether processes that the code started continue after its end, until
                the session ends; only without a context, which keeps them as long as it lives.
            on_stdout: called with text while the code prints it.
            on_stderr: the same for stderr.

        Raises:
            Expired: the session has ended; ``reason`` says why.
            Conflict: another execution runs, and spec.session.concurrencyPolicy is Reject.
            ApiError: the session refuses the request.
        """
        body: Json = {"code": code, "stream": True}
        body |= {} if context is None or code.startswith(SHELL) else {"context": context}
        body |= {} if timeout is None else {"timeoutSeconds": timeout}
        body |= {} if stdin is None else {"stdin": stdin}
        body |= {"keepProcesses": True} if keep_processes else {}
        body |= {"env": dict(env)} if env else {}
        text = stream.StreamedText(on_stdout, on_stderr)
        key = {"Idempotency-Key": str(uuid.uuid4())}
        return Execution(self._connection.call(lambda http: stream.execute(http, body, key, text)))

    def bash(self, command: str, **options: Any) -> Execution:
        """Run a command in the session's shell; options as in execute."""
        return self.execute(SHELL + command, None, **options)

    def interrupt(self, number: int | None = None) -> None:
        """Stop an execution, by default the running one; its context keeps its variables.

        Raises:
            InvalidRequest: no execution runs.
            Conflict: the execution has ended.
            NotFound: the execution does not exist.
        """
        if number is None:
            number = self._connection.json("GET", "/health").get("running")
        if number is None:
            raise InvalidRequest("no execution runs.", "Give the number of the execution.")
        self._connection.json("DELETE", f"/executions/{number}")

    def sync(self, bucket: str, prefix: str, path: str | None = None) -> Json:
        """Copy an S3 prefix of the session or of its inputs to /app/data.

        Args:
            bucket: of the prefix.
            prefix: for example sessions/{id}/input/.
            path: folder, /app/data by default or one below it.

        Returns:
            files (count), bytes, durationMillis, retries, files_list.

        Raises:
            Forbidden: the prefix does not belong to the session.
            NotFound: the prefix has no objects.
        """
        body = {"action": "sync_data_from_s3", "bucket_name": bucket, "s3_key_prefix": prefix}
        body |= {} if path is None else {"local_path": path}
        return self._connection.json("POST", "/file-sync", body=body, read_seconds=SYNC_SECONDS)

    def contexts(self) -> list[Json]:
        """The running interpreters: name, executions, busy, ageSeconds, memoryBytes."""
        found: list[Json] = self._connection.json("GET", "/contexts")["contexts"]
        return found

    def drop_context(self, name: str) -> None:
        """Stop an interpreter; its variables are lost."""
        self._connection.json("DELETE", f"/contexts/{quote(name, safe='')}")

    def health(self) -> Json:
        """Health of the session: status, executions, running …."""
        return self._connection.json("GET", "/health")

    def end(self, reason: str = "", timeout: float | None = 300.0) -> Result:
        """End the session and wait until its artifacts and records are stored.

        Args:
            reason: a text for the log.
            timeout: seconds; None waits without limit.
        """
        self._request_end(reason)
        try:
            return self.run.wait(timeout)
        finally:
            self.close()

    def close(self) -> None:
        """Close the connection; the session continues until its idle timeout."""
        self._connection.close()

    def __enter__(self) -> "Session":
        return self.start()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if self._owned and not self.run.finished:
                self._request_end("")
        except NanoGridError as e:
            if error is None:
                raise
            error.add_note(f"the session could not be ended: {e}")
        finally:
            self.close()

    def _until_ready(self, timeout: float | None = None) -> None:
        """Wait until the session is ready or has ended."""
        seconds = self._ready_timeout if timeout is None else timeout
        if not self.run.until(lambda: self.run.finished or _is_ready(self.run), seconds):
            reason = _readiness(self.run).get("reason") or self.run.reason
            message = f"session {self.name} is not ready within {seconds} s: {reason}."
            raise WaitTimeout(message, "Call ready() again, or read the status of the job.")

    def _until_usable(self) -> None:
        """Wait until the session is ready, for its first request."""
        self._until_ready()
        result = self.run.result
        if result is None:
            return
        if not (self.run.status.get("session") or self._connection.reached):
            raise job_failed(result)
        message = f"session {self.name} has ended: {without_hint(result.reason, result.message)}"
        raise Expired(GONE, result.reason, message, hint_of(result.reason))

    def _request_end(self, reason: str) -> None:
        if not (self.run.status.get("session") or self.run.refresh().status.get("session")):
            self.run.cancel()  # no sandbox is there to store anything
            return
        body = {"reason": reason} if reason else {}
        try:
            self._connection.json("POST", "/end", body=body, wait=False)
        except Expired:
            return  # the session has already ended
        except Unreachable:
            self.run.cancel()  # the operator can still stop it

    def __repr__(self) -> str:
        head = f"<Session {self.run.namespace}/{self.name} {self.run.phase}"
        if self.run.finished:
            return f"{head}>"
        return f"{head}, ends after {self.idle_timeout} s without a request>"


def _readiness(run: Run) -> Json:
    """The condition Ready; empty before it is written."""
    conditions = run.status.get("conditions") or []
    return next((one for one in conditions if one["type"] == "Ready"), {})


def _is_ready(run: Run) -> bool:
    return bool(_readiness(run).get("status") == "True")
