"""An ExecutionJob from the keywords of ``Client.run``. Pure: nothing is sent or read."""

import hashlib
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Final

from nanogrid import names, source_encoding
from nanogrid.client.errors import InvalidRequest
from nanogrid.client.s3_uri import Uploaded, split_uri
from nanogrid.client.tracing import trace_annotations
from nanogrid.controller_class import FIELD
from nanogrid.controller_class import problem as class_problem
from nanogrid.sandbox_limits import CPU, LIMITS, MEMORY, problem
from nanogrid.types import Json

ANNOTATION_SPEC_HASH: Final = f"{names.GROUP}/spec-hash"
NAME_PREFIX: Final = "run"
INLINE_BYTES: Final = 64 * 1024
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")

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
    env_secrets: Mapping[str, str] | None = None,
    command: Sequence[str] | None = None,
    args: Sequence[str] | None = None,
    stdin: str | None = None,
    image: str | None = None,
    pool: str | None = None,
    memory: str | int | None = None,
    cpu: str | float | None = None,
    timeout: int | None = None,
    retries: int = 0,
    function_id: str | None = None,
    request_id: str | None = None,
    ttl_seconds: int | None = None,
    keep: bool = False,
    labels: Mapping[str, str] | None = None,
    traceparent: str | None = None,
    tracestate: str | None = None,
    session: Json | None = None,
    spec: Json | None = None,
) -> Json:
    """An ExecutionJob; docs/python.md ("Keywords") describes each argument.

    ``code`` (Python source, up to 64 KiB), ``archive`` (a ZIP in S3) or ``function`` gives the
    code. ``memory`` is like 256Mi, ``cpu`` is in cores, ``timeout`` is in seconds. ``session``
    makes a session with this spec.session. Keywords override the fields of ``spec``.

    Raises:
        InvalidRequest: a field is wrong; the message names it.
    """
    fields = {
        "mode": None if session is None else names.MODE_SESSION,
        "session": session or None,
        "requestId": request_id,
        "functionId": function_id,
        "backoffLimit": retries or None,
        "ttlSecondsAfterFinished": ttl_seconds,
        **_code_fields(code, archive, function, version),
        **_process_fields(command, args, stdin),
        "env": env_fields(env, env_secrets),
        **_data_fields(inputs, outputs),
        **runtime_fields(image, memory, cpu, timeout),
        "poolRef": None if pool is None else {"name": pool},
    }
    body = dict(spec or {}) | {key: value for key, value in fields.items() if value is not None}
    validate(body)
    metadata = _metadata(name or job_name(request_id), namespace, function, labels)
    annotations = trace_annotations(traceparent, tracestate)
    annotations |= {names.ANNOTATION_KEEP: "true"} if keep else {}
    if annotations:
        metadata["annotations"] = annotations
    return stamped(
        {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": metadata,
            "spec": body,
        }
    )


def stamped(manifest: Json) -> Json:
    """The manifest with a fixed name and the hash of its spec.

    With them, a repeated create finds the job of the first one.

    Raises:
        InvalidRequest: the name is not a name of Kubernetes, or too long.
    """
    metadata = dict(manifest.get("metadata") or {})
    spec = manifest.get("spec") or {}
    if not metadata.get("name"):
        prefix = str(metadata.pop("generateName", "")).rstrip("-") or NAME_PREFIX
        metadata["name"] = job_name(spec.get("requestId"), prefix)
    _check_name(str(metadata["name"]))
    annotations = dict(metadata.get("annotations") or {})
    metadata["annotations"] = annotations | {ANNOTATION_SPEC_HASH: spec_hash(spec)}
    return dict(manifest) | {"metadata": metadata}


def in_class(manifest: Json, controller_class: str) -> Json:
    """The manifest for the installation of a class; a class that it names stays.

    Raises:
        InvalidRequest: no installation can have this class.
    """
    spec = manifest.get("spec") or {}
    if not controller_class or FIELD in spec:
        return manifest
    if wrong := class_problem(controller_class):
        hint = f"Give the value of controllerClass of the installation: {wrong}."
        raise InvalidRequest(f"{controller_class!r} is not a controller class.", hint)
    return stamped(dict(manifest) | {"spec": dict(spec) | {FIELD: controller_class}})


def _check_name(name: str) -> None:
    if len(name) <= names.JOB_NAME_MAX and _NAME.fullmatch(name):
        return
    hint = f"Use up to {names.JOB_NAME_MAX} of a-z, 0-9, - and dots. Begin and end with a letter "
    raise InvalidRequest(f"{name!r} is not a valid name of a job.", f"{hint}or a digit.")


def spec_hash(spec: Json) -> str:
    """SHA-256 of a spec in hex; the order of its keys does not matter."""
    text = json.dumps(spec, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def job_name(request_id: str | None = None, prefix: str = NAME_PREFIX) -> str:
    """The name of a job: fixed for a requestId, otherwise random."""
    if request_id is None:
        return _with_suffix(prefix, secrets.token_hex(5))
    slug = re.sub(r"[^a-z0-9]+", "-", request_id.lower()).strip("-")
    return _with_suffix(slug or prefix, names.short_digest(request_id))


def _with_suffix(stem: str, suffix: str) -> str:
    """A name that ends with the suffix and is not too long for a job."""
    return f"{stem[: names.JOB_NAME_MAX - len(suffix) - 1].rstrip('-.')}-{suffix}"


def validate(spec: Json) -> None:
    """Check types, bounds and unknown fields of a job's spec without the API server.

    Raises:
        InvalidRequest: the message names the wrong fields.
    """
    # Late, because most programs read jobs more often than they create one.
    from nanogrid.api.job import Spec
    from nanogrid.client.validation import check_spec

    check_spec(Spec, spec, "job", "docs/executionjob.md describes every field.")


def limits_of(memory: str | int | None, cpu: str | None) -> Json:
    """The limits of memory and cpu that are given.

    Raises:
        InvalidRequest: a value is not a quantity, or is outside of the bounds.
    """
    given = {MEMORY: memory, CPU: cpu}
    limits = {key: value for key, value in given.items() if value is not None}
    for key, value in limits.items():
        if wrong := problem(value, LIMITS[key]):
            hint = "Give memory as 256Mi or 2Gi, cpu as 1 or 500m."
            raise InvalidRequest(f"{key} {value!r} is not a valid limit: {wrong}.", hint)
    return limits


def runtime_fields(
    image: str | None, memory: str | int | None, cpu: str | float | None, timeout: int | None
) -> Json:
    """Image and limits of the sandbox; None for what is not given.

    Raises:
        InvalidRequest: a limit is wrong.
    """
    cores = cpu if cpu is None or isinstance(cpu, str) else f"{round(cpu * 1000)}m"
    limits = limits_of(memory, cores)
    return {
        "runtime": None if image is None else {"image": image},
        "resources": {"limits": limits} if limits else None,
        "timeouts": None if timeout is None else {"executionSeconds": timeout},
    }


def env_fields(
    env: Mapping[str, str] | None, env_secrets: Mapping[str, str] | None
) -> list[Json] | None:
    """The list spec.env; None if it has no item.

    Args:
        env: values by name.
        env_secrets: ``SECRET:KEY`` by name: a key of a Secret in the job's namespace.

    Raises:
        InvalidRequest: a variable is in both, or a value of env_secrets has another form.
    """
    found: list[Json] = [{"name": key, "value": value} for key, value in (env or {}).items()]
    for name, text in (env_secrets or {}).items():
        secret, _, key = text.partition(":")
        if not (secret and key):
            message = f"env_secrets: {name} is {text!r}, not a Secret and a key."
            raise InvalidRequest(message, "Give SECRET:KEY, for example database:password.")
        if name in (env or {}):
            raise InvalidRequest(f"{name} is in env and in env_secrets.", "Give it in one of them.")
        source = {"secretKeyRef": {"name": secret, "key": key}}
        found.append({"name": name, "valueFrom": source})
    return found or None


def _code_fields(
    code: str | None, archive: Source | None, function: str | None, version: int | None
) -> Json:
    """The source of the code; at most one may be given."""
    if sum(one is not None for one in (code, archive, function)) > 1:
        raise InvalidRequest("two of code, archive and function are both given.", "Give one.")
    if version is not None and function is None:
        raise InvalidRequest("version needs a function.", "Give function=, too.")
    try:
        source_encoding.encode(code or "")
    except source_encoding.EncodingError as e:
        raise InvalidRequest(f"{e}.", source_encoding.HINT) from e
    if code is not None and len(code.encode()) > INLINE_BYTES:
        raise InvalidRequest(
            f"the code has more than {INLINE_BYTES} bytes.", "Give directory= or archive=."
        )
    if function is not None:
        number = {} if version is None else {"version": version}
        return {"functionRef": {"name": function} | number}
    if code is not None:
        return {"code": {"inline": code}}
    return {} if archive is None else {"code": {"s3": _object(archive)}}


def _process_fields(
    command: Sequence[str] | None, args: Sequence[str] | None, stdin: str | None
) -> Json:
    """Arguments and standard input of the process."""
    return {
        "command": None if command is None else list(command),
        "args": None if args is None else list(args),
        "stdin": stdin,
    }


def _data_fields(inputs: Mapping[str, Sources] | None, outputs: str | Json | None) -> Json:
    """Files that the code reads and writes."""
    found: list[Json] = []
    for folder, given in (inputs or {}).items():
        path = folder if folder.startswith("/") else f"{names.WORKSPACE}/{folder.rstrip('/')}"
        for source in [given] if isinstance(given, str | Uploaded) else given:
            name = f"input-{len(found) + 1}"
            item: Json = {"name": name, "s3": _object(source), "mountPath": path}
            unpack = isinstance(source, Uploaded) and source.unpack
            found.append(item | ({"unpack": True} if unpack else {}))
    return {
        "inputs": found or None,
        "outputs": {"path": outputs} if isinstance(outputs, str) else outputs,
    }


def _metadata(
    name: str, namespace: str | None, function: str | None, labels: Mapping[str, str] | None
) -> Json:
    """Name, namespace and labels; a job of a function has its label."""
    ours = {} if function is None else {names.LABEL_FUNCTION: function}
    all_labels = ours | dict(labels or {})
    found: Json = {"name": name}
    found |= {"namespace": namespace} if namespace else {}
    return found | ({"labels": all_labels} if labels or ours else {})


def _object(source: Source) -> Json:
    uri = source if isinstance(source, str) else source.uri
    bucket, key = split_uri(uri)
    found: Json = {"bucket": bucket} if bucket else {}
    if key.endswith("/"):
        return found | {"prefix": key}
    checked = {} if isinstance(source, str) else {"sha256": source.sha256}
    return found | {"key": key} | checked
