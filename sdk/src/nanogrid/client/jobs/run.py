"""A submitted job: follow it, read its logs, stop it, run it again."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from nanogrid import pod_identity
from nanogrid.client import exact_text
from nanogrid.client.callbacks import OutputCallbacks, TextCallback
from nanogrid.client.errors import JobDeleted, NotFound, WaitTimeout
from nanogrid.client.kube.cluster import Cluster
from nanogrid.client.kube.paths import jobs
from nanogrid.lifecycle import finished, phase_of
from nanogrid.repeat import repeated
from nanogrid.shown_memory import shown_memory
from nanogrid.types import Json

# What only some calls need is imported by them: most programs read more jobs than they follow.
if TYPE_CHECKING:
    from nanogrid.client.jobs.live_output import LiveOutput
    from nanogrid.client.jobs.result import Result
    from nanogrid.client.storage import Storage


class Run:
    """A job as the client last read it; ``refresh`` and ``wait`` read it again.

    All methods raise ApiError when the API server refuses a request.
    """

    def __init__(self, cluster: Cluster, job: Json, storage: Callable[[], "Storage"]) -> None:
        self._cluster = cluster
        self._storage = storage
        self.job = job

    @property
    def name(self) -> str:
        """Name of the job."""
        return str(self.job["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """Namespace of the job."""
        return str(self.job["metadata"]["namespace"])

    @property
    def uid(self) -> str:
        """Uid of the job; a later job with the same name has another one."""
        return str(self.job["metadata"]["uid"])

    @property
    def status(self) -> Json:
        """Status of the job, as the operator wrote it."""
        found: Json = self.job.get("status") or {}
        return found

    @property
    def request_id(self) -> str:
        """The id of the result in S3 and Redis."""
        return str(self.status.get("requestId") or self.job["spec"].get("requestId") or self.uid)

    @property
    def phase(self) -> str:
        """Pending, Suspended, Syncing, Running, Succeeded or Failed."""
        return phase_of(self.job)

    @property
    def reason(self) -> str:
        """Reason of the phase, for example Unschedulable; see docs/reasons.md."""
        return str(self.status.get("reason") or "")

    @property
    def memory_bytes(self) -> int | None:
        """Memory of the running code, about 10 s old at most times; None if it is not known."""
        return shown_memory(self.status).current

    @property
    def finished(self) -> bool:
        """Whether the job has ended; it never starts again."""
        return finished(self.job)

    @property
    def result(self) -> "Result | None":
        """The result; None until the job has ended."""
        return self._result() if self.finished else None

    def refresh(self) -> "Run":
        """Read the job again.

        Raises:
            JobDeleted: the job is gone, or another job has its name.
        """
        try:
            found = self._cluster.get(f"{jobs(self.namespace)}/{self.name}")
        except NotFound as e:
            raise self._deleted() from e
        self._update(found)
        return self

    def wait(
        self,
        timeout: float | None = None,
        on_change: Callable[["Run"], None] | None = None,
        *,
        on_stdout: TextCallback | None = None,
        on_stderr: TextCallback | None = None,
        on_output: TextCallback | None = None,
        on_note: TextCallback | None = None,
        exact: bool = False,
    ) -> "Result":
        """Wait until the job ends and return its result.

        Args:
            timeout: seconds; None waits without limit.
            on_change: called with this run after each change of the job.
            on_stdout: called with text of stdout: live if the API server can split the log's
                streams, otherwise at the end. Other threads call it, one call at a time.
            on_stderr: the same for stderr.
            on_output: called with text of both streams, live and in the order of the log; replaces
                the other two.
            on_note: called with a sentence about missing text, or about a new attempt.
            exact: bytes that are not UTF-8 reach the callbacks as lone surrogates (PEP 383), not as
                U+FFFD.

        Raises:
            WaitTimeout: the job has not ended and continues. The next wait passes its text on from
                the beginning.
            JobDeleted: the job was deleted.
        """
        live = self.live(OutputCallbacks(on_stdout, on_stderr, on_output, on_note, exact))
        try:
            if not self.finished:
                self._follow(timeout, on_change)
            result = self._result()
            live.finish(result)
        finally:
            live.close()
        return result

    def live(self, callbacks: OutputCallbacks) -> "LiveOutput":
        """Start to pass on output; the caller must call finish or close."""
        from nanogrid.client.jobs.live_output import LiveOutput

        return LiveOutput(self._cluster, self.job, callbacks).start()

    def logs(self, follow: bool = True, on_note: TextCallback | None = None) -> Iterator[str]:
        """Lines of stdout and stderr together, as the code prints them.

        The result adds lines that the log lacks at its end.

        Args:
            follow: until the job ends; otherwise only the lines so far.
            on_note: called with a sentence about lines that are missing.
        """
        texts = self.exact_logs(follow, on_note)
        return _lines(exact_text.readable(text) for text in texts)

    def exact_logs(self, follow: bool = True, on_note: TextCallback | None = None) -> Iterator[str]:
        """As :meth:`logs`, in pieces of any length, as :mod:`nanogrid.client.exact_text`."""
        return self._output(follow, OutputCallbacks(note=on_note))

    def cancel(self) -> "Run":
        """Stop the job and keep its output; a finished job stays unchanged."""
        # The uid causes a conflict if another job has the name now.
        body = {"metadata": {"uid": self.uid}, "spec": {"cancel": True}}
        self._update(self._cluster.patch(jobs(self.namespace), self.name, body))
        return self

    def retry(self) -> "Run":
        """Create a new job that runs the same, with a name and a requestId of its own.

        It has the labels of this one, except those by which Argo CD, Flux, Helm and similar tools
        find what they have applied: they would delete it.
        """
        from nanogrid.client.jobs.manifest import job_name, stamped
        from nanogrid.client.jobs.submit import submit
        from nanogrid.client.tracing import submitting, traced

        body = stamped(repeated(self.job, job_name(None, self.name)))
        with submitting("nanogrid.retry"):
            return Run(self._cluster, submit(self._cluster, traced(body)), self._storage)

    def delete(self) -> None:
        """Delete the job, and stop it if it runs. A missing job is not an error."""
        try:
            self._cluster.delete(jobs(self.namespace), self.name, self.uid)
        except NotFound:
            return

    def until(
        self,
        done: Callable[[], bool],
        timeout: float | None = None,
        on_change: Callable[["Run"], None] | None = None,
    ) -> bool:
        """Follow the job until ``done()``; False after ``timeout`` seconds."""
        if done():
            return True
        events = self._cluster.watch(
            jobs(self.namespace),
            fields=f"metadata.name={self.name}",
            resource_version=self.job["metadata"]["resourceVersion"],
            timeout_seconds=timeout,
        )
        for event in events:
            self._update(event["object"])
            if on_change is not None:
                on_change(self)
            if done():
                return True
            if event["type"] == "DELETED":
                raise self._deleted()
        return False

    def __repr__(self) -> str:
        return f"<Run {self.namespace}/{self.name} {self.phase} {self.reason}>"

    def _result(self) -> "Result":
        from nanogrid.client.jobs.result import Result

        return Result.of_job(self.job, self._storage)

    def _update(self, job: Json) -> None:
        if job["metadata"]["uid"] != self.uid:
            raise self._deleted()
        self.job = job

    def _deleted(self) -> JobDeleted:
        return JobDeleted(f"job {self.namespace}/{self.name} was deleted.")

    def _follow(self, timeout: float | None, on_change: Callable[["Run"], None] | None) -> None:
        if self.until(lambda: self.finished, timeout, on_change):
            return
        # The watch may have missed the last event.
        if not self.refresh().finished:
            raise WaitTimeout(
                f"job {self.namespace}/{self.name} has not ended within {timeout} s: "
                f"{self.phase} {self.reason}."
            )

    def _output(self, follow: bool, callbacks: OutputCallbacks) -> Iterator[str]:
        """Text of the logs, then the rest from the result."""
        from nanogrid.client.jobs.remaining_output import LogText, remaining_of_both
        from nanogrid.client.kube.pod_log import log_of, started_pods

        def over() -> bool:
            return not follow or self.finished or self.refresh().finished

        log, attempt = LogText(), 0
        for pod in started_pods(self._cluster, self.namespace, self.uid, over):
            log, attempt = LogText(), pod_identity.attempt(pod)
            for piece in log_of(self._cluster, pod, over, follow):
                yield log.add(piece)
        result = self.result
        if result is not None:
            last = log if attempt == result.raw.get("attempt", 0) else LogText()
            for _, text in remaining_of_both(result, last, callbacks.add_note):
                yield text


def _lines(texts: Iterator[str]) -> Iterator[str]:
    """Complete lines without line ends; the last line may be incomplete."""
    pending = ""
    for text in texts:
        *whole, pending = (pending + text).split("\n")
        yield from whole
    if pending:
        yield pending
