"""The ledger: an independent record of all jobs of a namespace, from start to end.

It watches jobs and pods at the API server directly, without a proxy, while a test injects faults.
At the end :meth:`Ledger.check` checks the operator's guarantees for each job:

- one terminal transition, and a result that never changes after it;
- one entry in the stream, and one key with an expiry, with the same bytes;
- the result in S3 equals both, and the status;
- at most one pod per attempt, and at most one start of the user's code per pod.

:meth:`Ledger.delete_jobs` deletes the jobs and waits until nothing of them is left.
"""

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from chaos.lab.kubeclient import KubeCallError, KubeClient, Watch, core_path, jobs_path
from nanogrid import names, pod_identity, wire
from nanogrid.tenancy import PLATFORM_STREAM, Area
from nanogrid.types import Json
from nanogrid_operator.status.job import for_status
from support.job_record import JobRecord

ORPHAN_SECONDS = 180.0
# Fields that are equal everywhere, even where a place keeps a shortened copy of the result.
CORE = ("requestId", "status", "reason", "exitCode", "attempt", "job", "stdoutBytes", "stderrBytes")


class Ledger:
    """See the module's docstring. A context manager; its threads end with it."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.client = KubeClient()
        self.jobs: dict[str, JobRecord] = {}
        self.pods: dict[str, dict[str, Json]] = {}  # pod name → uid → last version
        self.gone: set[str] = set()  # the uids of the pods that were deleted
        self._changed = threading.Condition()
        self._over = threading.Event()
        self._watches: dict[str, Watch] = {}
        self._threads = [
            threading.Thread(target=self._follow, args=args, name="ledger", daemon=True)
            for args in (
                (jobs_path(namespace), self._note_job),
                (core_path(namespace, "pods"), self._note_pod),
            )
        ]
        self._error: BaseException | None = None

    def __enter__(self) -> "Ledger":
        for thread in self._threads:
            thread.start()
        self.wait("the first LIST of the ledger", lambda: len(self._watches) == 2, 120)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for watch in list(self._watches.values()):
            with suppress(OSError):  # it has already ended
                watch.close()
        for thread in self._threads:
            thread.join(10)

    def _follow(self, path: str, note: Callable[[str, Json], None]) -> None:
        while not self._over.is_set():
            try:
                items, version = self.client.list(path)
                for item in items:
                    note("ADDED", item)
                self._watch(path, version, note)
            except (OSError, http.client.HTTPException, KubeCallError, ValueError):
                # The watch ended, here or at the server; a new LIST shows what was missed.
                self._over.wait(0.5)
            except BaseException as error:
                if self._over.is_set():
                    return  # the end of the ledger has closed the watch
                self._error = error
                raise

    def _watch(self, path: str, version: str, note: Callable[[str, Json], None]) -> None:
        watch = Watch(self.client, path, version)
        with self._changed:
            self._watches[path] = watch
            self._changed.notify_all()
        for event in watch:
            if event["type"] == "ERROR":
                return
            if event["type"] != "BOOKMARK":
                note(event["type"], event["object"])

    def _note_job(self, kind: str, body: Json) -> None:
        uid = body["metadata"]["uid"]
        with self._changed:
            if uid not in self.jobs:
                self.jobs[uid] = JobRecord.of(body)
            if kind == "DELETED":
                self.jobs[uid].deleted = True
            else:
                self.jobs[uid].update(body)
            self._changed.notify_all()

    def _note_pod(self, kind: str, body: Json) -> None:
        with self._changed:
            uids = self.pods.setdefault(body["metadata"]["name"], {})
            uids[body["metadata"]["uid"]] = body
            if kind == "DELETED":
                self.gone.add(body["metadata"]["uid"])
            self._changed.notify_all()

    def wait(self, what: str, check: Callable[[], Any], seconds: float) -> Any:
        """Wait until ``check`` is true; repeat it whenever a job or pod changes."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while not (found := check()):
                if self._error is not None:
                    raise AssertionError("the ledger failed") from self._error
                left = deadline - time.monotonic()
                assert left > 0, f"not within {seconds:g} s: {what}\n{self.unfinished()}"
                self._changed.wait(min(left, 1.0))
        return found

    def unfinished(self) -> str:
        """A message about the jobs that have not ended, with their last phase."""
        open_jobs = [j for j in self.jobs.values() if not j.finished and not j.deleted]
        listed = [f"{j.name}: {j.phases[-1][1:]}" for j in open_jobs[:20]]
        return f"{len(open_jobs)} of {len(self.jobs)} jobs have not ended: {', '.join(listed)}"

    def named(self, name: str) -> JobRecord | None:
        """The newest job with this name."""
        found = [j for j in self.jobs.values() if j.name == name]
        return found[-1] if found else None

    def wait_finished(self, jobs: Iterable[str], seconds: float) -> list[JobRecord]:
        """Wait until the jobs with these names have ended."""
        wanted = list(jobs)

        def ended() -> list[JobRecord] | None:
            known = {j.name: j for j in self.jobs.values()}
            found = [known[n] for n in wanted if n in known and known[n].finished]
            return found if len(found) == len(wanted) else None

        found: list[JobRecord] = self.wait(f"the end of {len(wanted)} jobs", ended, seconds)
        return found

    def wait_running(self, job: str, attempt: int, seconds: float = 180) -> None:
        """Wait until the sandbox container of a job's attempt runs."""

        def running() -> bool:
            return any(
                state["name"] == names.CONTAINER_SANDBOX and "running" in state["state"]
                for pod in self.pods_of(job)
                if pod_identity.attempt(pod) == attempt
                for state in pod["status"].get("containerStatuses", [])
            )

        self.wait(f"attempt {attempt} of {job} runs", running, seconds)

    def pods_of(self, job: str) -> list[Json]:
        """All pods of a job that were ever seen, by the job's name."""
        return [
            pod
            for uids in self.pods.values()
            for pod in uids.values()
            if pod_identity.job_name(pod) == job
        ]

    def check(
        self,
        redis: Any,
        s3: Any,
        area: Area,
        starts: Iterable[str] = (),
        *,
        stored: bool = True,
    ) -> None:
        """Check the guarantees in the module's docstring for all jobs.

        Args:
            redis: a client that decodes answers.
            s3: a boto3 client.
            area: where the data of the namespace is.
            starts: the pod's name for each start of user code.
            stored: False if nothing stores results in S3 (a simulated kubelet).
        """
        with self._changed:
            jobs = [j for j in self.jobs.values() if not j.deleted]
            duplicates = {name: list(uids) for name, uids in self.pods.items() if len(uids) > 1}
            attempts = Counter(
                attempt
                for uids in self.pods.values()
                for pod in uids.values()
                if (attempt := _attempt_of(pod))
            )
        wrong = [f"pod {n} was created {len(uids)} times" for n, uids in duplicates.items()]
        wrong += [f"{a} has {n} pods" for a, n in attempts.items() if n > 1]
        counted = Counter(starts)
        wrong += [f"the code of pod {p} was started {n} times" for p, n in counted.items() if n > 1]
        entries: dict[str, list[str]] = {}
        for _, entry in redis.xrange(PLATFORM_STREAM):
            entries.setdefault(entry["requestId"], []).append(entry["result"])
        for job in jobs:
            wrong += [f"{job.name}: {v}" for v in job.violations]
            wrong += [f"{job.name}: {v}" for v in _of_redis(job, area, redis, entries)]
            if stored:
                wrong += [f"{job.name}: {v}" for v in _of_s3(job, s3, area, entries)]
        assert not wrong, f"{len(wrong)} violations:\n" + "\n".join(wrong[:40])

    def delete_jobs(
        self, redis: Any, s3: Any, bucket: str, seconds: float = ORPHAN_SECONDS
    ) -> float:
        """Delete all jobs and wait until nothing of them is left; returns the seconds it took."""
        began = time.monotonic()
        self.client.delete_all(jobs_path(self.namespace))
        while left := self._orphans(redis, s3, bucket):
            if time.monotonic() - began > seconds:
                raise AssertionError(
                    f"left {seconds:g} s after the jobs' deletion: {'; '.join(left[:20])}"
                )
            time.sleep(0.5)
        return time.monotonic() - began

    def _orphans(self, redis: Any, s3: Any, bucket: str) -> list[str]:
        jobs, _ = self.client.list(jobs_path(self.namespace))
        pods, _ = self.client.list(core_path(self.namespace, "pods"), names.LABEL_JOB_UID)
        secrets, _ = self.client.list(core_path(self.namespace, "secrets"))
        found = [f"job {j['metadata']['name']}" for j in jobs]
        found += [f"pod {p['metadata']['name']}" for p in pods if pod_identity.job_uid(p)]
        # The copy of the S3 keys belongs to the namespace; a job's own Secret has an owner.
        found += [
            f"secret {s['metadata']['name']}"
            for s in secrets
            if s["metadata"].get("ownerReferences")
        ]
        uploads = s3.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
        found += [f"multipart upload {u['Key']}" for u in uploads]
        keys = [k for k in redis.scan_iter(count=1000) if not _is_stream(k)]
        return found + [f"key {key} without expiry" for key in keys if redis.ttl(key) == -1]


def _attempt_of(pod: Json) -> str:
    """The attempt that a pod belongs to; empty if it waits in a pool, or belongs to no job."""
    uid = pod_identity.job_uid(pod)
    if not uid:
        return ""
    return f"attempt {pod_identity.attempt(pod)} of {pod_identity.job_name(pod)} ({uid})"


def _is_stream(key: str) -> bool:
    return key == PLATFORM_STREAM or key.startswith(f"{PLATFORM_STREAM}:")


def _of_redis(job: JobRecord, area: Area, redis: Any, entries: dict[str, list[str]]) -> list[str]:
    if not job.finished:
        return ["has not ended"]
    published = entries.get(job.request_id, [])
    if len(published) != 1:
        return [f"{len(published)} entries in the stream (delivery: {job.status.get('delivery')})"]
    key = area.result_key(job.request_id)
    wrong = []
    if redis.get(key) != published[0]:
        wrong.append("key and stream differ")
    if redis.ttl(key) <= 0:
        wrong.append("the key does not expire")
    return wrong + _differences("status", job.status["result"], "Redis", json.loads(published[0]))


def _of_s3(job: JobRecord, s3: Any, area: Area, entries: dict[str, list[str]]) -> list[str]:
    if job.request_id not in entries:
        return []
    try:
        key = area.key(names.result_object(job.request_id))
        found = s3.get_object(Bucket=area.bucket, Key=key)
    except s3.exceptions.NoSuchKey:
        return [f"no result in S3 ({job.reason}; {job.status.get('message')})"]
    stored: Json = json.loads(found["Body"].read())
    return _differences("status", job.status.get("result", {}), "S3", stored)


def _differences(one: str, kept: Json, other: str, whole: Json) -> list[str]:
    """The fields in which the status's copy of a result differs from the whole result."""
    result = wire.loads(wire.Result, json.dumps(whole))
    expected = {k: v for k, v in for_status(result).items() if v is not None}
    full = not (result.stdout_truncated or result.stderr_truncated)
    # The API server drops nulls, also nested ones.
    known = wire.from_dict(wire.Result, kept)
    copy = {k: v for k, v in wire.to_dict(known).items() if v is not None}
    differing = [k for k in expected if (full or k in CORE) and copy.get(k) != expected[k]]
    return [
        f"{one} and {other} differ in {k}: {copy.get(k)!r} / {expected[k]!r}" for k in differing
    ]
