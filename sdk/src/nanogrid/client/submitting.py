"""Create a job exactly once, however often the request has to be sent."""

import random
import time
from typing import Any, Final

from nanogrid.client.cluster import Cluster, jobs
from nanogrid.client.errors import ApiError, Conflict, NotFound
from nanogrid.client.manifest import ANNOTATION_SPEC_HASH

Json = dict[str, Any]
TRIES: Final = 5
PAUSE_SECONDS: Final = 0.3


def submit(cluster: Cluster, manifest: Json) -> Json:
    """Create the job, or find the one that the same request has made before.

    The manifest is stamped (:func:`nanogrid.client.manifest.stamped`): its name is fixed, so a
    repetition after a lost answer meets the first job; its annotation tells whether that has the
    same spec.

    Raises:
        Conflict: another job has the name.
        Unreachable: no answer came for all tries; the job may exist.
        ApiError: the API server refuses the job.
    """
    metadata = manifest["metadata"]
    path = jobs(metadata.get("namespace") or cluster.namespace)
    for attempt in range(TRIES):
        try:
            return cluster.create(path, manifest)
        except Conflict:
            found = _ours(cluster, path, manifest)
            if found is not None:
                return found
        except ApiError as e:
            if attempt == TRIES - 1 or not (e.status == 0 or e.status >= 500):
                raise
        time.sleep(PAUSE_SECONDS * 2**attempt * random.uniform(0.7, 1.3))  # noqa: S311 jitter
    said = f"a job {metadata['name']} is being deleted."
    raise Conflict(409, "AlreadyExists", said, "Wait until it is gone, or use another name.")


def _ours(cluster: Cluster, path: str, manifest: Json) -> Json | None:
    """The job of that name if it has our spec; None when it is just going away."""
    name = manifest["metadata"]["name"]
    try:
        found = cluster.get(f"{path}/{name}")
    except NotFound:
        return None
    if "deletionTimestamp" in found["metadata"]:
        return None
    wanted = manifest["metadata"]["annotations"][ANNOTATION_SPEC_HASH]
    if (found["metadata"].get("annotations") or {}).get(ANNOTATION_SPEC_HASH) == wanted:
        return found
    raise Conflict(
        409,
        "AlreadyExists",
        f"a job {name} exists, with another spec.",
        "Use another name or requestId; names and requestIds are for one job each.",
    )
