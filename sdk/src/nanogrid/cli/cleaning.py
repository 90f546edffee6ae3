"""What is left of jobs that are gone, in the cluster and in S3. Pure: it names, others delete."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from nanogrid import names
from nanogrid.cli.output import columns
from nanogrid.cli.times import parse_time

Json = dict[str, Any]
UPLOAD_AGE_SECONDS: Final = 3600.0
# The operator removes a session's ways in itself; what it is late for is left over.
ENDED_AGE_SECONDS: Final = 600.0
S3_PREFIXES: Final = ("outputs/", "results/", "sessions/")
# (kind, base path of the API, plural); only pods and ways in cost anything, Secrets go as well.
KINDS: Final = (
    ("Pod", "/api/v1", "pods"),
    ("Service", "/api/v1", "services"),
    ("Secret", "/api/v1", "secrets"),
    ("Ingress", "/apis/networking.k8s.io/v1", "ingresses"),
    ("TargetGroupBinding", "/apis/elbv2.k8s.aws/v1beta1", "targetgroupbindings"),
)
WAYS_IN: Final = ("Service", "Ingress", "TargetGroupBinding")


@dataclass(frozen=True)
class Leftover:
    """One thing that nobody needs.

    Attributes:
        kind: a Kubernetes kind, or MultipartUpload.
        namespace: of the object; the bucket of an upload.
        name: of the object; the key of an upload.
        uid: of the object; the upload id of an upload.
        why: a sentence's end.
    """

    kind: str
    namespace: str
    name: str
    uid: str
    why: str

    def to_json(self) -> Json:
        """For -o json."""
        return asdict(self)


def of_objects(
    kind: str, objects: Iterable[Json], jobs: dict[str, Json], now: float
) -> list[Leftover]:
    """Objects whose job is gone, and ways into sessions that have ended.

    Args:
        kind: of the objects.
        objects: those with the job-uid label; read BEFORE the jobs, so that a new job's pod is
            not taken for one without a job.
        jobs: by uid.
        now: seconds since the epoch.
    """
    found = []
    for one in objects:
        metadata = one["metadata"]
        uid = metadata.get("labels", {}).get(names.LABEL_JOB_UID, "")
        if not uid or metadata.get("deletionTimestamp"):
            continue
        why = _why(kind, metadata, jobs.get(uid), now)
        if why:
            found.append(
                Leftover(kind, metadata["namespace"], metadata["name"], metadata["uid"], why)
            )
    return found


def _why(kind: str, metadata: Json, job: Json | None, now: float) -> str:
    if job is None:
        name = metadata["labels"].get(names.LABEL_JOB, "")
        return f"its job {name} is gone"
    ended = parse_time((job.get("status") or {}).get("completionTime"))
    if kind in WAYS_IN and ended is not None and now - ended > ENDED_AGE_SECONDS:
        return f"its session {job['metadata']['name']} has ended"
    return ""


def of_uploads(bucket: str, uploads: Iterable[Json], now: float) -> list[Leftover]:
    """Uploads in parts that were begun over an hour ago, below the prefixes of results.

    Args:
        bucket: where they are.
        uploads: S3's: Key, UploadId, Initiated (a datetime).
        now: seconds since the epoch.
    """
    return [
        Leftover("MultipartUpload", bucket, one["Key"], one["UploadId"], "begun over an hour ago")
        for one in uploads
        if one["Key"].startswith(S3_PREFIXES)
        and now - one["Initiated"].timestamp() > UPLOAD_AGE_SECONDS
    ]


def to_text(found: Sequence[Leftover]) -> str:
    """What people read."""
    rows = [["KIND", "NAMESPACE", "NAME", "WHY"]]
    rows += [[one.kind, one.namespace, one.name, one.why] for one in found]
    return columns(rows)
