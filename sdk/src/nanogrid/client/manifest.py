"""From the keywords of ``Client.run`` to an ExecutionJob: pure, nothing is sent or read."""

import hashlib
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from nanogrid import names
from nanogrid.client.errors import InvalidRequest
from nanogrid.job import Spec
from nanogrid.quantity import quantity

Json = dict[str, Any]
ANNOTATION_SPEC_HASH: Final = f"{names.GROUP}/spec-hash"
NAME_PREFIX: Final = "run"
INLINE_BYTES: Final = 64 * 1024


@dataclass(frozen=True)
class Uploaded:
    """An object that was stored: where, its SHA-256 in hex, its size.

    ``unpack`` says that it is the ZIP of a folder: as an input it becomes the folder again.
    """

    uri: str
    sha256: str
    bytes: int
    unpack: bool = False


Source = str | Uploaded
Sources = Source | Sequence[Source]


def build_job(
    code: str | None = None,
    *,
    archive: Source | None = None,
    function: str | None = None,
    version: int | None = None,
    name: str | None = None,
    namespace: str | None = None,
    inputs: Mapping[str, Sources] | None = None,
    outputs: str | Json | None = None,
    env: Mapping[str, str] | None = None,
    command: Sequence[str] | None = None,
    args: Sequence[str] | None = None,
    stdin: str | None = None,
    image: str | None = None,
    memory: str | int | None = None,
    cpu: str | float | None = None,
    timeout: int | None = None,
    retries: int = 0,
    function_id: str | None = None,
    request_id: str | None = None,
    ttl_seconds: int | None = None,
    labels: Mapping[str, str] | None = None,
    session: Json | None = None,
    spec: Json | None = None,
) -> Json:
    """An ExecutionJob.

    Args:
        code: Python source text, up to 64 KiB.
        archive: a ZIP in S3 with main.py at its top, instead of code.
        function: name of a Function of the namespace, instead of code.
        version: of the function; default is its newest.
        name: default is made from request_id, or random.
        namespace: goes into the metadata if given.
        inputs: from a folder (relative to /app, or absolute below it) to ``s3://bucket/key`` or,
            ending in a slash, ``s3://bucket/prefix/``; a list gives several. ``s3:///key`` is in
            the operator's own bucket.
        outputs: folder relative to /app whose files are stored (default output), or the whole
            spec.outputs.
        env: environment variables of the code.
        command: instead of python3 main.py.
        args: arguments after the command.
        stdin: text on standard input.
        image: image of the sandbox.
        memory: limit, for example 256Mi.
        cpu: limit in cores, for example 0.5 or 500m.
        timeout: seconds that the code may run.
        retries: how many failed attempts are tried again.
        function_id: echoed in the result.
        request_id: names the result in S3 and Redis; use it once. Submitting the same again finds
            the same job.
        ttl_seconds: deletes the finished job after so long.
        labels: of the job.
        session: not None makes a session, with this spec.session.
        spec: more fields of the spec, as they are in YAML; keywords win over it.

    Raises:
        InvalidRequest: a field is wrong; the message names it.
    """
    if sum(one is not None for one in (code, archive, function)) > 1:
        said = "two of code, archive and function are both given."
        raise InvalidRequest(said, "Give one of them.")
    if version is not None and function is None:
        raise InvalidRequest("version is of a function.", "Give function=, too.")
    fields: Json = {
        "mode": None if session is None else names.MODE_SESSION,
        "session": session or None,
        "requestId": request_id,
        "functionId": function_id,
        "code": _code(code, archive),
        "functionRef": _function(function, version),
        "command": None if command is None else list(command),
        "args": None if args is None else list(args),
        "stdin": stdin,
        "env": [{"name": key, "value": value} for key, value in (env or {}).items()] or None,
        "inputs": _inputs(inputs or {}) or None,
        "outputs": {"path": outputs} if isinstance(outputs, str) else outputs,
        "runtime": None if image is None else {"image": image},
        "resources": _resources(memory, cpu),
        "timeouts": None if timeout is None else {"executionSeconds": timeout},
        "backoffLimit": retries or None,
        "ttlSecondsAfterFinished": ttl_seconds,
    }
    body = dict(spec or {}) | {key: value for key, value in fields.items() if value is not None}
    validate(body)
    metadata: Json = {"name": name or job_name(request_id)}
    metadata |= {"namespace": namespace} if namespace else {}
    ours = {} if function is None else {names.LABEL_FUNCTION: function}
    metadata |= {"labels": ours | dict(labels or {})} if labels or ours else {}
    return stamped(
        {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": metadata,
            "spec": body,
        }
    )


def stamped(manifest: Json) -> Json:
    """The manifest with a name, and with what makes a repeated create recognizable."""
    metadata = dict(manifest.get("metadata") or {})
    spec = manifest.get("spec") or {}
    if not metadata.get("name"):
        prefix = str(metadata.pop("generateName", "")).rstrip("-") or NAME_PREFIX
        metadata["name"] = job_name(spec.get("requestId"), prefix)
    annotations = dict(metadata.get("annotations") or {})
    metadata["annotations"] = annotations | {ANNOTATION_SPEC_HASH: spec_hash(spec)}
    return dict(manifest) | {"metadata": metadata}


def spec_hash(spec: Json) -> str:
    """SHA-256 in hex of a spec, whatever the order of its keys."""
    text = json.dumps(spec, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def job_name(request_id: str | None = None, prefix: str = NAME_PREFIX) -> str:
    """A name: always the same one for a requestId, else one that nobody has."""
    if request_id is None:
        return f"{prefix[:45]}-{secrets.token_hex(5)}"
    slug = re.sub(r"[^a-z0-9]+", "-", request_id.lower()).strip("-")[:45].rstrip("-")
    return f"{slug or prefix}-{names.short_digest(request_id)}"


def validate(spec: Json) -> None:
    """Check types, bounds and unknown fields as far as that is possible without the API server.

    Raises:
        InvalidRequest: the message names every wrong field.
    """
    try:
        Spec.model_validate(spec)
    except ValidationError as e:
        wrong = "; ".join(
            f"spec.{'.'.join(str(part) for part in one['loc'])}: {one['msg']}"
            for one in e.errors()[:5]
        )
        cure = "docs/executionjob.md describes every field."
        raise InvalidRequest(f"the job is not valid: {wrong}.", cure) from e


def split_uri(uri: str) -> tuple[str | None, str]:
    """Bucket (None: the operator's) and key of ``s3://bucket/key``.

    Raises:
        InvalidRequest: it is no such URI.
    """
    found = re.fullmatch(r"s3://([^/]*)/(.+)", uri, re.DOTALL)
    if found is None:
        raise InvalidRequest(
            f"{uri!r} is no S3 URI.",
            "Write s3://bucket/key, s3://bucket/prefix/ for a folder, or a pathlib.Path for files "
            "of this machine.",
        )
    return found[1] or None, found[2]


def _code(code: str | None, archive: Source | None) -> Json | None:
    if code is not None:
        if len(code.encode()) > INLINE_BYTES:
            raise InvalidRequest(
                f"the code has more than {INLINE_BYTES} bytes.", "Give directory= or archive=."
            )
        return {"inline": code}
    return None if archive is None else {"s3": _object(archive)}


def _function(name: str | None, version: int | None) -> Json | None:
    if name is None:
        return None
    return {"name": name} | ({} if version is None else {"version": version})


def _object(source: Source) -> Json:
    uri = source if isinstance(source, str) else source.uri
    bucket, key = split_uri(uri)
    found: Json = {"bucket": bucket} if bucket else {}
    if key.endswith("/"):
        return found | {"prefix": key}
    checked = {} if isinstance(source, str) else {"sha256": source.sha256}
    return found | {"key": key} | checked


def _inputs(inputs: Mapping[str, Sources]) -> list[Json]:
    found: list[Json] = []
    for folder, given in inputs.items():
        path = folder if folder.startswith("/") else f"{names.WORKSPACE}/{folder.rstrip('/')}"
        for source in [given] if isinstance(given, str | Uploaded) else given:
            name = f"input-{len(found) + 1}"
            item: Json = {"name": name, "s3": _object(source), "mountPath": path}
            unpack = isinstance(source, Uploaded) and source.unpack
            found.append(item | ({"unpack": True} if unpack else {}))
    return found


def _resources(memory: str | int | None, cpu: str | float | None) -> Json | None:
    limits = limits_of(
        memory, cpu if cpu is None or isinstance(cpu, str) else f"{round(cpu * 1000)}m"
    )
    return {"limits": limits} if limits else None


def limits_of(memory: str | int | None, cpu: str | None) -> Json:
    """Limits of memory and cpu, as far as they are given.

    Raises:
        InvalidRequest: one is no quantity above zero.
    """
    given = {"memory": memory, "cpu": cpu}
    limits = {key: value for key, value in given.items() if value is not None}
    for key, value in limits.items():
        try:
            positive = quantity(value) > 0
        except ValueError:
            positive = False
        if not positive:
            cure = "Give memory as 256Mi or 2Gi, cpu as 1 or 500m."
            raise InvalidRequest(f"{key} {value!r} is no such limit.", cure)
    return limits
