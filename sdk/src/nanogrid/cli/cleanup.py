"""``cleanup``: finds what jobs left behind and, when told so, removes it."""

import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nanogrid.cli import cleaning
from nanogrid.cli.cleaning import KINDS, Leftover
from nanogrid.cli.exits import Exit
from nanogrid.cli.faults import Fault, UsageFault
from nanogrid.cli.link import Link, command
from nanogrid.cli.output import Format, Output, emit, say

if TYPE_CHECKING:
    from nanogrid.client import Cluster
    from nanogrid.client.storage import Storage

Json = dict[str, Any]
PATHS = {kind: (base, plural) for kind, base, plural in KINDS}


def find_objects(
    cluster: "Cluster", namespace: str | None, now: float, notes: list[str]
) -> list[Leftover]:
    """Objects of jobs that are gone; a kind that may not be listed is noted and left out."""
    from nanogrid import names
    from nanogrid.client import errors, jobs

    seen: dict[str, list[Json]] = {}
    for kind, base, plural in KINDS:
        where = f"{base}/namespaces/{namespace}/{plural}" if namespace else f"{base}/{plural}"
        try:
            seen[kind] = cluster.list(where, labels=names.LABEL_JOB_UID)
        except errors.NotFound:
            continue  # a cluster without the AWS Load Balancer Controller has no such kind
        except errors.Forbidden as error:
            notes.append(f"{plural} are left out: {error.message}")
    known = {job["metadata"]["uid"]: job for job in cluster.list(jobs(namespace))}
    return [
        one
        for kind, objects in seen.items()
        for one in cleaning.of_objects(kind, objects, known, now)
    ]


def find_uploads(storage: "Storage", now: float) -> list[Leftover]:
    """Uploads in parts that nobody will complete."""
    if storage.bucket is None:
        return []
    pages = storage.s3.get_paginator("list_multipart_uploads").paginate(Bucket=storage.bucket)
    uploads = [dict(one) for page in pages for one in page.get("Uploads", [])]
    return cleaning.of_uploads(storage.bucket, uploads, now)


def remove(cluster: "Cluster", storage: "Storage | None", one: Leftover, notes: list[str]) -> None:
    """Remove one; that it is gone already is as good."""
    from nanogrid.client import errors

    if one.kind == "MultipartUpload":
        if storage is not None:
            storage.s3.abort_multipart_upload(Bucket=one.namespace, Key=one.name, UploadId=one.uid)
        return
    base, plural = PATHS[one.kind]
    try:
        cluster.delete(f"{base}/namespaces/{one.namespace}/{plural}", one.name, uid=one.uid)
    except (errors.NotFound, errors.Conflict):
        notes.append(f"{one.kind} {one.namespace}/{one.name} has gone by itself")


def cleanup(
    link: Link,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is left.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Remove without asking.")] = False,
    all_namespaces: Annotated[
        bool, typer.Option("--all-namespaces", "-A", help="Of all namespaces.")
    ] = False,
    output: Output = Format.TABLE,
) -> None:
    """Remove what is left of jobs that are gone: pods, ways into sessions, half-done uploads."""
    if dry_run and force:
        raise UsageFault("--dry-run and --force contradict each other", "Leave one out.")
    client = link.client()
    now = time.time()
    notes: list[str] = []
    namespace = None if all_namespaces else client.cluster.namespace
    found = find_objects(client.cluster, namespace, now, notes)
    storage = open_storage(client.cluster, notes)
    try:
        if storage is not None:
            found += _uploads(storage, now, notes)
        asked = bool(found) and not (dry_run or force)
        act = bool(found) and (force or (asked and _agreed(found, output)))
        failed = _remove_all(client.cluster, storage, found, notes) if act else []
    finally:
        if storage is not None:
            storage.close()
    items = [one.to_json() | {"removed": act and one not in failed} for one in found]
    names = [one.name for one in found]
    table = cleaning.to_text(found) if found and not asked else ""  # the question showed it
    emit({"items": items, "notes": notes}, output, lambda: table, lambda: names)
    if output.for_people:
        for note in notes:
            say(note)
        said = "removed" if act else "left over"
        say(f"{len(found) - len(failed)} {said}" if found else "nothing is left over")
    if failed:
        raise typer.Exit(Exit.FAILED)


def open_storage(cluster: "Cluster", notes: list[str]) -> "Storage | None":
    """S3, if it is configured and answers; otherwise that is noted."""
    from nanogrid.client import errors
    from nanogrid.client.storage import Storage

    try:
        return Storage.find(cluster)
    except errors.NanoGridError as error:
        notes.append(f"S3 is left out: {error.message}")
        return None


def _uploads(storage: "Storage", now: float, notes: list[str]) -> list[Leftover]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return find_uploads(storage, now)
    except (BotoCoreError, ClientError) as error:
        notes.append(f"S3 is left out: {error}")
        return []


def _agreed(found: list[Leftover], form: Format) -> bool:
    """Ask, on a terminal only."""
    if not sys.stdin.isatty() or form is not Format.TABLE:
        cure = "nanogrid cleanup --dry-run shows them, --force removes them."
        raise Fault(f"{len(found)} are left over and nobody can be asked here", cure)
    say(cleaning.to_text(found).rstrip("\n"))
    return typer.confirm(f"Remove these {len(found)}?", err=True)


def _remove_all(
    cluster: "Cluster", storage: "Storage | None", found: list[Leftover], notes: list[str]
) -> list[Leftover]:
    """Remove all; those that could not be removed."""
    from botocore.exceptions import BotoCoreError, ClientError

    from nanogrid.client import errors

    failed = []
    for one in found:
        try:
            remove(cluster, storage, one, notes)
        except (errors.ApiError, BotoCoreError, ClientError) as error:
            failed.append(one)
            notes.append(f"{one.kind} {one.namespace}/{one.name} stays: {error}")
    return failed


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "cleanup", "nanogrid cleanup --dry-run -A")(cleanup)
