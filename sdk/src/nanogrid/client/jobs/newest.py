"""Reads the newest jobs of a namespace without the specs and results of all others.

The API server lists objects by name, so the newest job can be on any page. A list of metadata finds
it: a job has up to 100 KB, its metadata some hundred bytes. Then each chosen job is one GET.
"""

import time
from typing import Final

from nanogrid.client.errors import Forbidden, NotFound
from nanogrid.client.jobs.selection import Selection, newest_first
from nanogrid.client.kube.cluster import Cluster
from nanogrid.client.kube.paths import jobs, named
from nanogrid.types import Json

MOST: Final = 20  # jobs; more GETs take longer than a list of everything


def newest(
    cluster: Cluster, namespace: str | None, labels: str, selection: Selection, limit: int | None
) -> list[Json]:
    """The selected jobs, the newest first.

    Args:
        cluster: the API server.
        namespace: of the jobs; None is all.
        labels: a label selector.
        selection: which jobs; one that needs only metadata makes a small limit cheap.
        limit: only this number of jobs; None is all.
    """
    if limit is not None and limit <= MOST and selection.by_metadata:
        try:
            return _by_metadata(cluster, namespace, labels, selection, limit)
        except Forbidden:
            pass  # these credentials may list jobs and not get one
    now = time.time()
    found = cluster.list(jobs(namespace), labels)
    return newest_first(job for job in found if selection.accepts(job, now))[:limit]


def _by_metadata(
    cluster: Cluster, namespace: str | None, labels: str, selection: Selection, limit: int
) -> list[Json]:
    now = time.time()
    found = cluster.list_metadata(jobs(namespace), labels)
    chosen: list[Json] = []
    for one in newest_first(job for job in found if selection.accepts(job, now)):
        if len(chosen) == limit:
            break
        metadata = one["metadata"]
        try:
            chosen.append(cluster.get(named(jobs(metadata["namespace"]), metadata["name"])))
        except NotFound:
            continue  # deleted since the list: the next newest takes its place
    return chosen
