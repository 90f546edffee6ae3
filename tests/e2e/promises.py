"""What the operator promises of every job, held over a whole suite: one end, and one delivery.

A watch of all jobs of the cluster, through kubectl, so with whatever credentials the user has. The
tests of single features need not think of it.
"""

import json
import subprocess
import threading
from collections import Counter
from collections.abc import Iterable
from typing import Any

from e2e.jobrecord import JobRecord
from e2e.support import KubectlError, kubectl
from nanogrid import names

Json = dict[str, Any]
JOBS = f"/apis/{names.GROUP}/{names.VERSION}/{names.PLURAL}"
AGAIN_SECONDS = 1.0


def broken(records: Iterable[JobRecord], told: Iterable[Json]) -> list[str]:
    """The promises that were broken.

    Args:
        records: of the jobs that were seen.
        told: the results in the stream; of jobs before these as well.
    """
    entries = Counter(result["job"]["uid"] for result in told)
    wrong = [f"{uid} has {n} entries in the stream" for uid, n in entries.items() if n > 1]
    for job in records:
        wrong += [f"{job.name}: {violation}" for violation in job.violations]
        state = (job.status.get("delivery") or {}).get("state")
        if job.watched and state == "Delivered" and entries[job.uid] == 0:
            wrong.append(f"{job.name} ({job.uid}) is Delivered, and not in the stream")
    return wrong


class Promises:
    """Watches from :meth:`start` to :meth:`stop`; ``records`` by uid."""

    def __init__(self) -> None:
        self.records: dict[str, JobRecord] = {}
        self.listed = threading.Event()
        self._over = threading.Event()
        self._watch: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._follow, name="promises", daemon=True)

    def start(self) -> None:
        """Returns when all jobs that there are have been seen."""
        self._thread.start()
        if not self.listed.wait(30):
            raise AssertionError("kubectl cannot list the cluster's ExecutionJobs")

    def stop(self) -> None:
        """No more is seen."""
        self._over.set()
        if self._watch is not None:
            self._watch.terminate()
        self._thread.join(10)

    def _follow(self) -> None:
        while not self._over.is_set():
            try:
                found = json.loads(kubectl("get", "--raw", JOBS))
            except (KubectlError, subprocess.TimeoutExpired):
                self._over.wait(AGAIN_SECONDS)  # a fault test has taken the API server away
                continue
            for body in found["items"]:
                self._note(body)
            self.listed.set()
            self._stream(found["metadata"]["resourceVersion"])

    def _stream(self, version: str) -> None:
        """Take in events until the API server ends the watch."""
        url = f"{JOBS}?watch=true&resourceVersion={version}"
        with subprocess.Popen(
            ["kubectl", "get", "--raw", url],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        ) as self._watch:  # fmt: skip
            assert self._watch.stdout is not None
            for line in self._watch.stdout:
                if self._over.is_set():
                    break
                if line.endswith("\n"):  # the last one of a watch that is cut is none
                    event = json.loads(line)
                    if event["type"] != "ERROR":
                        self._note(event["object"])
            self._watch.terminate()

    def _note(self, body: Json) -> None:
        record = self.records.setdefault(body["metadata"]["uid"], JobRecord.of(body))
        record.note(body)
