"""``cleanup``: finds leftovers of deleted jobs and removes them after confirmation."""

import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Final

import typer

from nanogrid import names, pod_identity
from nanogrid.cli.app.command import CommandContext, command
from nanogrid.cli.app.errors import CliError, UsageError
from nanogrid.cli.app.exits import Exit
from nanogrid.cli.app.formatting import parse_time
from nanogrid.cli.app.options import AllNamespaces
from nanogrid.cli.app.output import TABLE, Format, Output, columns, emit, note
from nanogrid.controller_class import NO_CLASS, label_selector
from nanogrid.plurals import counted
from nanogrid.s3.errors import S3Error
from nanogrid.types import Json

if TYPE_CHECKING:
    from nanogrid.client import Cluster
    from nanogrid.client.storage import Storage

UPLOAD_AGE_SECONDS: Final = 3600.0
# The operator removes the entry points of an ended session; after this time they are leftovers.
ENDED_AGE_SECONDS: Final = 600.0
S3_PREFIXES: Final = ("outputs/", "results/", "sessions/")
UPLOAD: Final = "MultipartUpload"
# Kind: (base path of the API, plural).
KINDS: Final = {
    "Pod": ("/api/v1", "pods"),
    "Service": ("/api/v1", "services"),
    "Secret": ("/api/v1", "secrets"),
    "Ingress": ("/apis/networking.k8s.io/v1", "ingresses"),
    "TargetGroupBinding": ("/apis/elbv2.k8s.aws/v1beta1", "targetgroupbindings"),
}
ENTRY_POINTS: Final = ("Service", "Ingress", "TargetGroupBinding")


@dataclass(frozen=True)
class Leftover:
    """An object or upload that is no longer needed.

    Attributes:
        kind: a Kubernetes kind, or MultipartUpload.
        namespace: of the object; the bucket of an upload.
        name: of the object; the key of an upload.
        uid: of the object; the upload id of an upload.
        why: the cause, as part of a sentence.
    """

    kind: str
    namespace: str
    name: str
    uid: str
    why: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"

    def to_json(self) -> Json:
        """The leftover for -o json."""
        return asdict(self)


def leftover_objects(
    kind: str, objects: Iterable[Json], jobs: dict[str, Json], now: float
) -> list[Leftover]:
    """Objects of deleted jobs, and entry points of ended sessions. Pure.

    Args:
        kind: of the objects.
        objects: objects with the job-uid label. List them BEFORE the jobs; otherwise the pod of
            a new job looks like a pod without a job.
        jobs: by uid.
        now: seconds since the epoch.
    """
    leftovers = []
    for one in objects:
        metadata = one["metadata"]
        uid = pod_identity.job_uid(one)
        if not uid or metadata.get("deletionTimestamp"):
            continue
        if why := _why(kind, one, jobs.get(uid), now):
            leftovers.append(
                Leftover(kind, metadata["namespace"], metadata["name"], metadata["uid"], why)
            )
    return leftovers


def _why(kind: str, found: Json, job: Json | None, now: float) -> str:
    if job is None:
        return f"its job {pod_identity.job_name(found)} is deleted"
    ended = parse_time((job.get("status") or {}).get("completionTime"))
    if kind in ENTRY_POINTS and ended is not None and now - ended > ENDED_AGE_SECONDS:
        return f"its session {job['metadata']['name']} has ended"
    return ""


def leftover_uploads(
    bucket: str, uploads: Iterable[Json], now: float, root: str | None, installation: str = ""
) -> list[Leftover]:
    """Multipart uploads below the prefixes of results that are over an hour old. Pure.

    Args:
        bucket: the bucket of the uploads.
        uploads: as S3 lists them: Key, UploadId, Initiated (a datetime).
        now: seconds since the epoch.
        root: of the namespace; None is every namespace.
        installation: prefix of its roots. What is elsewhere in the bucket may be another one's.
    """
    return [
        Leftover(UPLOAD, bucket, one["Key"], one["UploadId"], "started over an hour ago")
        for one in uploads
        if _of_results(one["Key"], root, installation)
        and now - one["Initiated"].timestamp() > UPLOAD_AGE_SECONDS
    ]


def _of_results(key: str, root: str | None, installation: str) -> bool:
    if root is not None and key.startswith(root):
        return key.removeprefix(root).startswith(S3_PREFIXES)
    if not key.startswith(installation):
        return False
    below = key.removeprefix(installation)
    if root is None:
        return any(f"/{prefix}" in f"/{below}" for prefix in S3_PREFIXES)
    # The root of the compatibility namespace.
    return below.startswith(S3_PREFIXES)


def to_text(leftovers: Sequence[Leftover]) -> str:
    """A table of leftovers."""
    rows = [["KIND", "NAMESPACE", "NAME", "WHY"]]
    rows += [[one.kind, one.namespace, one.name, one.why] for one in leftovers]
    return columns(rows)


def find_objects(
    cluster: "Cluster",
    namespace: str | None,
    now: float,
    notes: list[str],
    controller_class: str = NO_CLASS,
) -> list[Leftover]:
    """Find leftover objects; a kind that cannot be listed is skipped with a note.

    Without a class, those of all installations: no object is a leftover while its job exists, of
    whatever class it is.
    """
    from nanogrid.client import errors
    from nanogrid.client.kube.paths import jobs

    labels = names.LABEL_JOB_UID
    if controller_class:
        labels += f",{label_selector(controller_class)}"
    objects: dict[str, list[Json]] = {}
    for kind, (base, plural) in KINDS.items():
        path = f"{base}/namespaces/{namespace}/{plural}" if namespace else f"{base}/{plural}"
        try:
            objects[kind] = cluster.list(path, labels=labels)
        except errors.NotFound:
            continue  # a cluster without the AWS Load Balancer Controller lacks this kind
        except errors.Forbidden as error:
            notes.append(f"skipped {plural}: {error.message}")
    known = {job["metadata"]["uid"]: job for job in cluster.list(jobs(namespace))}
    return [
        one
        for kind, listed in objects.items()
        for one in leftover_objects(kind, listed, known, now)
    ]


def find_uploads(
    storage: "Storage", now: float, notes: list[str], all_namespaces: bool
) -> list[Leftover]:
    """Find incomplete multipart uploads; an error of S3 becomes a note."""
    if storage.bucket is None:
        return []
    try:
        uploads = storage.s3.uploads(storage.bucket)
    except S3Error as error:
        notes.append(f"skipped S3: {error.message}")
        return []
    root = None if all_namespaces else storage.root
    return leftover_uploads(storage.bucket, uploads, now, root, storage.prefix)


def remove(cluster: "Cluster", storage: "Storage | None", one: Leftover, notes: list[str]) -> None:
    """Remove a leftover; one that is already gone becomes a note."""
    from nanogrid.client import errors

    if one.kind == UPLOAD:
        if storage is not None:
            storage.s3.abort_upload(one.namespace, one.name, one.uid)
        return
    base, plural = KINDS[one.kind]
    try:
        cluster.delete(f"{base}/namespaces/{one.namespace}/{plural}", one.name, uid=one.uid)
    except (errors.NotFound, errors.Conflict):
        notes.append(f"{one} is already gone")


def cleanup(
    ctx: CommandContext,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List leftovers; remove nothing.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", "--force", help="Do not ask for confirmation.")
    ] = False,
    all_namespaces: AllNamespaces = False,
    output: Output = TABLE,
) -> None:
    """Remove leftovers of deleted jobs. These are pods, entry points and incomplete uploads."""
    if dry_run and yes:
        raise UsageError("--dry-run and --yes exclude each other", "Use only one of them.")
    client = ctx.client()
    now = time.time()
    notes: list[str] = []
    namespace = None if all_namespaces else client.cluster.namespace
    leftovers = find_objects(client.cluster, namespace, now, notes, client.controller_class)
    storage = open_storage(client.cluster, notes)
    try:
        if storage is not None:
            leftovers += find_uploads(storage, now, notes, all_namespaces)
        confirm = bool(leftovers) and not (dry_run or yes)
        removing = bool(leftovers) and (yes or (confirm and _confirmed(leftovers, output)))
        failed = _remove_all(client.cluster, storage, leftovers, notes) if removing else []
    finally:
        if storage is not None:
            storage.close()
    items = [one.to_json() | {"removed": removing and one not in failed} for one in leftovers]
    # The confirmation has already shown the table.
    table = to_text(leftovers) if leftovers and not confirm else ""
    found_names = [one.name for one in leftovers]
    emit({"items": items, "notes": notes}, output, lambda: table, lambda: found_names)
    if output.for_people:
        for text in notes:
            note(text)
        verb = "removed" if removing else "found"
        done = counted(len(leftovers) - len(failed), "leftover")
        note(f"{verb} {done}" if leftovers else "no leftovers")
    if failed:
        raise typer.Exit(Exit.FAILED)


def open_storage(cluster: "Cluster", notes: list[str]) -> "Storage | None":
    """Open S3 if it is configured and responds; otherwise add a note."""
    from nanogrid.client import errors
    from nanogrid.client.storage import Storage

    try:
        return Storage.find(cluster)
    except errors.NanoGridError as error:
        notes.append(f"skipped S3: {error.message}")
        return None


def _confirmed(leftovers: list[Leftover], output_format: Format) -> bool:
    """Ask for confirmation, on a terminal only."""
    if not sys.stdin.isatty() or output_format is not Format.TABLE:
        message = f"found {counted(len(leftovers), 'leftover')}; no terminal to confirm"
        raise CliError(message, "Use --dry-run to list them, or --yes to remove them.")
    note(to_text(leftovers).rstrip("\n"))
    return typer.confirm(f"Remove {counted(len(leftovers), 'leftover')}?", err=True)


def _remove_all(
    cluster: "Cluster", storage: "Storage | None", leftovers: list[Leftover], notes: list[str]
) -> list[Leftover]:
    """Remove all leftovers; returns those that remain."""
    from nanogrid.client import errors

    failed = []
    for one in leftovers:
        try:
            remove(cluster, storage, one, notes)
        except (errors.ApiError, S3Error) as error:
            failed.append(one)
            notes.append(f"{one} was not removed: {error}")
    return failed


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "cleanup", "nanogrid cleanup --dry-run -A")(cleanup)
