"""The operator's guarantees for every job, checked over a whole suite: one end, one delivery.

A watch of all jobs in the cluster through kubectl, with the user's credentials. The tests of single
features do not need to check this.
"""

from collections import Counter
from collections.abc import Iterable

from nanogrid import names
from nanogrid.controller_class import class_of
from nanogrid.types import Json
from support.job_record import JobRecord
from support.object_watcher import ObjectWatcher

JOBS = f"/apis/{names.GROUP}/{names.VERSION}/{names.PLURAL}"


def find_violations(records: Iterable[JobRecord], results: Iterable[Json]) -> list[str]:
    """The violations of the guarantees, one line each.

    Args:
        records: the observed jobs.
        results: the results in the stream, also of earlier jobs.
    """
    entries = Counter(result["job"]["uid"] for result in results)
    wrong = [f"{uid} has {n} entries in the stream" for uid, n in entries.items() if n > 1]
    for job in records:
        wrong += [f"{job.name}: {violation}" for violation in job.violations]
        state = (job.status.get("delivery") or {}).get("state")
        if job.end_observed and state == "Delivered" and entries[job.uid] == 0:
            wrong.append(f"{job.name} ({job.uid}) is Delivered but not in the stream")
    return wrong


class JobWatcher(ObjectWatcher):
    """Watches all jobs from :meth:`start` to :meth:`stop`; ``records`` has them by uid.

    Jobs of another controller class are of another installation, with a stream of its own.
    """

    def __init__(self) -> None:
        super().__init__(JOBS, self._record)
        self.records: dict[str, JobRecord] = {}

    def _record(self, body: Json) -> None:
        if class_of(body):
            return
        record = self.records.setdefault(body["metadata"]["uid"], JobRecord.of(body))
        record.update(body)
