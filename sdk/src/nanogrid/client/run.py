"""One job that was submitted: follow it, read its logs, stop it, run it again."""

from collections.abc import Callable, Iterator
from typing import Any

from nanogrid import names
from nanogrid.client.cluster import Cluster, jobs
from nanogrid.client.ending import Shown, rest_of_both
from nanogrid.client.errors import JobDeleted, NotFound, WaitTimeout
from nanogrid.client.live import Heard, Live, Told
from nanogrid.client.manifest import job_name, stamped
from nanogrid.client.podlog import attempt_of, log_of, started_pods
from nanogrid.client.result import Result, finished
from nanogrid.client.storage import Storage
from nanogrid.client.submitting import submit

Json = dict[str, Any]


class Run:
    """A job as it was when last seen; ``refresh`` and ``wait`` look again."""

    def __init__(self, cluster: Cluster, job: Json, storage: Callable[[], Storage]) -> None:
        self._cluster = cluster
        self._storage = storage
        self.job = job

    @property
    def name(self) -> str:
        """The job's name."""
        return str(self.job["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """The job's namespace."""
        return str(self.job["metadata"]["namespace"])

    @property
    def uid(self) -> str:
        """What tells the job from another of its name."""
        return str(self.job["metadata"]["uid"])

    @property
    def status(self) -> Json:
        """The job's status as the operator wrote it."""
        found: Json = self.job.get("status") or {}
        return found

    @property
    def request_id(self) -> str:
        """Names the result in S3 and Redis."""
        return str(self.status.get("requestId") or self.job["spec"].get("requestId") or self.uid)

    @property
    def phase(self) -> str:
        """Pending, Suspended, Syncing, Running, Succeeded or Failed."""
        return str(self.status.get("phase") or "Pending")

    @property
    def reason(self) -> str:
        """Why it is in that phase, in one word."""
        return str(self.status.get("reason") or "")

    @property
    def finished(self) -> bool:
        """Whether it has ended for good."""
        return finished(self.job)

    @property
    def result(self) -> Result | None:
        """What came out of it; None while it has not ended."""
        return Result.of_job(self.job, self._storage) if self.finished else None

    def refresh(self) -> "Run":
        """Look again.

        Raises:
            JobDeleted: it is gone, or another one has its name.
            ApiError: see :mod:`nanogrid.client.errors`; so for all methods.
        """
        try:
            found = self._cluster.get(f"{jobs(self.namespace)}/{self.name}")
        except NotFound as e:
            raise self._deleted() from e
        self._take(found)
        return self

    def wait(
        self,
        timeout: float | None = None,
        on_change: Callable[["Run"], None] | None = None,
        *,
        on_stdout: Heard | None = None,
        on_stderr: Heard | None = None,
        on_output: Heard | None = None,
        on_note: Heard | None = None,
    ) -> Result:
        """Wait for the end; the job's status has the last word.

        Args:
            timeout: seconds; None waits for ever.
            on_change: called with this run whenever the job has changed.
            on_stdout: called with text that the code prints: live where the API server can tell
                the log's streams apart, else at the end. From other threads, one call at a time.
            on_stderr: the same for stderr.
            on_output: called with the text of both, live and in the order of the log; instead.
            on_note: called with a sentence about text that is missing, or about a new attempt.

        Raises:
            WaitTimeout: it has not ended; it goes on. Waiting again tells the text from its
                beginning.
            JobDeleted: somebody deleted it.
        """
        live = self.live(Told(on_stdout, on_stderr, on_output, on_note))
        try:
            if not self.finished:
                self._follow(timeout, on_change)
            result = Result.of_job(self.job, self._storage)
            live.finish(result)
        finally:
            live.close()
        return result

    def live(self, told: Told) -> Live:
        """Begin to tell what the code prints; whoever calls this ends it by finish or close."""
        return Live(self._cluster, self.job, told).start()

    def logs(self, follow: bool = True, on_note: Heard | None = None) -> Iterator[str]:
        """The lines that the code prints, stdout and stderr together, while they come.

        What the log lacks at its end comes from the result. Without ``follow``, those so far.

        Args:
            follow: until the job has ended.
            on_note: called with a sentence about lines that are missing.
        """
        return _lines(self._output(follow, Told(note=on_note)))

    def cancel(self) -> "Run":
        """Stop it; what it has written is kept. A job that has ended stays as it is."""
        # The uid makes it a conflict should another job have the name by now.
        body = {"metadata": {"uid": self.uid}, "spec": {"cancel": True}}
        self._take(self._cluster.patch(jobs(self.namespace), self.name, body))
        return self

    def retry(self) -> "Run":
        """Run the same again as a new job, with a name and a requestId of its own."""
        left_out = ("requestId", "cancel", "suspend")
        spec = {key: value for key, value in self.job["spec"].items() if key not in left_out}
        metadata = {
            "name": job_name(None, self.name[:45]),
            "namespace": self.namespace,
            "labels": dict(self.job["metadata"].get("labels") or {}),
        }
        head = {"apiVersion": names.API_VERSION, "kind": names.KIND}
        body = stamped(head | {"metadata": metadata, "spec": spec})
        return Run(self._cluster, submit(self._cluster, body), self._storage)

    def delete(self) -> None:
        """Delete the job; a running one is stopped. Gone already is well, too."""
        try:
            self._cluster.delete(jobs(self.namespace), self.name, self.uid)
        except NotFound:
            return

    def __repr__(self) -> str:
        return f"<Run {self.namespace}/{self.name} {self.phase} {self.reason}>"

    def _take(self, job: Json) -> None:
        if job["metadata"]["uid"] != self.uid:
            raise self._deleted()
        self.job = job

    def _deleted(self) -> JobDeleted:
        return JobDeleted(f"job {self.namespace}/{self.name} was deleted.")

    def until(
        self,
        done: Callable[[], bool],
        timeout: float | None = None,
        on_change: Callable[["Run"], None] | None = None,
    ) -> bool:
        """Follow the job until ``done()``; False when the time has passed."""
        if done():
            return True
        events = self._cluster.watch(
            jobs(self.namespace),
            fields=f"metadata.name={self.name}",
            resource_version=self.job["metadata"]["resourceVersion"],
            timeout_seconds=timeout,
        )
        for event in events:
            self._take(event["object"])
            if on_change is not None:
                on_change(self)
            if done():
                return True
            if event["type"] == "DELETED":
                raise self._deleted()
        return False

    def _follow(self, timeout: float | None, on_change: Callable[["Run"], None] | None) -> None:
        if self.until(lambda: self.finished, timeout, on_change):
            return
        # A watch may have been cut off from what happened last.
        if not self.refresh().finished:
            raise WaitTimeout(
                f"job {self.namespace}/{self.name} has not ended within {timeout} s: "
                f"{self.phase} {self.reason}."
            )

    def _output(self, follow: bool, told: Told) -> Iterator[str]:
        """Text of the logs, then what the result has more."""

        def over() -> bool:
            return not follow or self.finished or self.refresh().finished

        shown, attempt = Shown(), 0
        for pod in started_pods(self._cluster, self.namespace, self.uid, over):
            shown, attempt = Shown(), attempt_of(pod)
            for piece in log_of(self._cluster, pod, over, follow):
                yield shown.take(piece)
        result = self.result
        if result is not None:
            last = shown if attempt == result.raw.get("attempt", 0) else Shown()
            for _, text in rest_of_both(result, last, told.remark):
                yield text


def _lines(texts: Iterator[str]) -> Iterator[str]:
    """Whole lines without their ends; the last one may have had none."""
    pending = ""
    for text in texts:
        *whole, pending = (pending + text).split("\n")
        yield from whole
    if pending:
        yield pending
