"""One job that was submitted: follow it, read its logs, stop it, run it again."""

from collections.abc import Callable, Iterator
from typing import Any, Final

from nanogrid import names
from nanogrid.client.cluster import Cluster, jobs, pods
from nanogrid.client.errors import Invalid, JobDeleted, NotFound, WaitTimeout
from nanogrid.client.manifest import job_name, stamped
from nanogrid.client.result import Result, finished
from nanogrid.client.storage import Storage
from nanogrid.client.submitting import submit

Json = dict[str, Any]
LOOK_SECONDS: Final = 5.0  # between two looks at the job while a pod is awaited
STARTED: Final = ("running", "terminated")


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
        self, timeout: float | None = None, on_change: Callable[["Run"], None] | None = None
    ) -> Result:
        """Wait for the end; the job's status has the last word.

        Args:
            timeout: seconds; None waits for ever.
            on_change: called with this run whenever the job has changed.

        Raises:
            WaitTimeout: it has not ended; it goes on.
            JobDeleted: somebody deleted it.
        """
        if not self.finished:
            self._follow(timeout, on_change)
        return Result.of_job(self.job, self._storage)

    def logs(self, follow: bool = True) -> Iterator[str]:
        """The lines that the code prints, stdout and stderr together, while they come.

        When the pods are gone: what the result has of them. Without ``follow``, those so far.
        """
        seen: set[str] = set()
        while True:
            pod = self._started_pod(seen, follow)
            if pod is None:
                break
            seen.add(pod)
            yield from self._lines(pod, follow)
            if not follow:
                break
        if not seen and (result := self.result) is not None:
            yield from (result.stdout + result.stderr).splitlines()

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

    def _started_pod(self, seen: set[str], wait: bool) -> str | None:
        """A pod not seen before whose sandbox has started; None when none will come."""
        path, labels = pods(self.namespace), f"{names.LABEL_JOB_UID}={self.uid}"
        while True:
            if not wait:
                for pod in self._cluster.list(path, labels):
                    if _started(pod):
                        return str(pod["metadata"]["name"])
                return None
            for event in self._cluster.watch(path, labels=labels, timeout_seconds=LOOK_SECONDS):
                name = str(event["object"]["metadata"]["name"])
                if name not in seen and _started(event["object"]):
                    return name
                if seen and self.refresh().finished:
                    return None
            if self.refresh().finished:
                return None

    def _lines(self, pod: str, follow: bool) -> Iterator[str]:
        lines = self._cluster.pod_log(self.namespace, pod, names.CONTAINER_SANDBOX, follow)
        try:
            for line in lines:
                yield line.decode(errors="replace")
        except (NotFound, Invalid):
            # The pod went between two looks; what it printed is in the result.
            return


def _started(pod: Json) -> bool:
    statuses = pod.get("status", {}).get("containerStatuses") or []
    return any(
        key in one.get("state", {})
        for one in statuses
        if one["name"] == names.CONTAINER_SANDBOX
        for key in STARTED
    )
