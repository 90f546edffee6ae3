"""From a job to what its pod must know and may use: the wire.Task and the resources. Pure."""

from decimal import Decimal

from nanogrid import names, wire
from nanogrid.job import ExecutionJob, Spec
from nanogrid.quantity import quantity
from nanogrid.spec_data import Logs, Outputs, S3Location
from nanogrid.spec_run import Timeouts
from nanogrid_operator.settings import Settings


class InvalidSpecError(ValueError):
    """The spec passed the CRD's schema and still cannot be run; the message says why."""


def _amount(text: str | int) -> Decimal:
    try:
        return quantity(text)
    except ValueError as e:
        raise InvalidSpecError(f"resources: {e}") from None


def base_memory_limit(spec: Spec, settings: Settings) -> int:
    """The memory limit in bytes that a job's first attempt has."""
    return int(_amount(resources(spec, settings, None)[0]["memory"]))


def task_for(
    job: ExecutionJob, attempt: int, settings: Settings, memory_limit: int | None = None
) -> wire.Task:
    """What the pod's trusted containers need to know.

    Raises:
        InvalidSpecError: the spec needs a bucket and there is none, or it is too large.
    """
    spec = job.spec
    uid = job.metadata["uid"]
    request_id = spec.request_id or uid
    timeouts = spec.timeouts or Timeouts()
    limits, _ = resources(spec, settings, memory_limit)
    logs = spec.logs or Logs()
    task = wire.Task(
        namespace=job.metadata["namespace"],
        job=job.metadata["name"],
        uid=uid,
        attempt=attempt,
        request_id=request_id,
        function_id=spec.function_id,
        execution_timeout_seconds=float(timeouts.execution_seconds),
        termination_grace_seconds=_grace(spec, settings),
        input_sync_timeout_seconds=float(timeouts.input_sync_seconds),
        upload_timeout_seconds=float(timeouts.upload_seconds),
        command=(spec.command or ["python3", names.ENTRYPOINT]) + (spec.args or []),
        env=installed_env(job, attempt, settings) | {e.name: e.value for e in spec.env},
        stdin=spec.stdin or "",
        code_inline=spec.code.inline if spec.code else None,
        code_s3=_code_source(spec, settings),
        inputs=[
            wire.Input(
                name=i.name,
                s3=_source(i.s3, settings),
                mount_path=i.mount_path,
                required=i.required,
                min_files=i.min_files,
                max_bytes=i.max_bytes,
                unpack=i.unpack,
            )
            for i in spec.inputs
        ],
        bucket=settings.s3_bucket,
        outputs=_output_rules(spec, request_id, settings),
        log_cap_bytes=logs.max_bytes if logs.archive else 0,
        memory_limit_bytes=int(_amount(limits["memory"])),
        session=_session_rules(spec),
    )
    size = len(task_json(task).encode())
    if size > wire.TASK_CAP_BYTES:
        raise InvalidSpecError(
            f"code, stdin, env and args together have {size} bytes, at most "
            f"{wire.TASK_CAP_BYTES} fit into a pod: put the code into a ZIP in S3 (spec.code.s3)"
        )
    return task


def _grace(spec: Spec, settings: Settings) -> float:
    given = spec.termination_grace_period_seconds
    return settings.termination_grace_seconds if given is None else float(given)


def installed_env(job: ExecutionJob, attempt: int, settings: Settings) -> dict[str, str]:
    """The installation's variables of user code, with this job's own names filled in."""
    uid = job.metadata["uid"]
    known = {
        "namespace": job.metadata["namespace"],
        "job": job.metadata["name"],
        "uid": uid,
        "requestId": job.spec.request_id or uid,
        "attempt": str(attempt),
    }
    given = settings.objects("sandbox_env")
    for name, value in known.items():
        given = {k: v.replace(f"{{{name}}}", value) for k, v in given.items()}
    return given


def _session_rules(spec: Spec) -> wire.SessionRules | None:
    if not spec.is_session:
        return None
    rules = spec.session_rules
    return wire.SessionRules(
        idle_timeout_seconds=float(rules.idle_timeout_seconds),
        max_lifetime_seconds=float(rules.max_lifetime_seconds),
        execution_timeout_seconds=float(rules.execution_timeout_seconds),
        max_executions=rules.max_executions or 0,
        concurrency_policy=rules.concurrency_policy,
    )


def _output_rules(spec: Spec, request_id: str, settings: Settings) -> wire.OutputRules:
    outputs = spec.outputs or Outputs()
    target = outputs.s3
    path, default = outputs.path, names.outputs_prefix(request_id)
    if spec.is_session:
        default = names.session_prefix(request_id) + names.SESSION_ARTIFACTS
        if "path" not in outputs.model_fields_set:
            path = names.SESSION_ARTIFACTS_DIR
    prefix = (target and target.prefix) or default
    presigned = outputs.url_format == "Presigned"
    return wire.OutputRules(
        bucket=(target and target.bucket) or settings.s3_bucket,
        prefix=prefix if prefix.endswith("/") else prefix + "/",
        path=path,
        include=outputs.include or [],
        exclude=outputs.exclude or [],
        max_files=outputs.max_files,
        max_file_bytes=outputs.max_file_bytes,
        max_bytes=outputs.max_bytes,
        upload_policy=outputs.upload_policy,
        presigned_expiry_seconds=outputs.presigned_expiry_seconds if presigned else None,
    )


def _source(s3: S3Location, settings: Settings) -> wire.S3Source:
    return wire.S3Source(
        bucket=_bucket(s3.bucket, settings),
        key=s3.key,
        prefix=s3.prefix,
        sha256=s3.sha256,
        version_id=s3.version_id,
    )


def _code_source(spec: Spec, settings: Settings) -> wire.S3Source | None:
    s3 = spec.code.s3 if spec.code else None
    if s3 is None:
        return None
    return wire.S3Source(
        bucket=_bucket(s3.bucket, settings),
        key=s3.key,
        sha256=s3.sha256,
        version_id=s3.version_id,
    )


def _bucket(named: str | None, settings: Settings) -> str:
    bucket = named or settings.s3_bucket
    if not bucket:
        raise InvalidSpecError(
            "the spec names no bucket and the operator has no default one: set s3.bucket in the "
            "chart's values, or bucket in the spec"
        )
    return bucket


def task_json(task: wire.Task) -> str:
    """The task as the environment carries it.

    The kubelet expands $(NAME) in environment values; an escaped dollar is no dollar to it.
    """
    return wire.dumps(task).replace("$", "\\u0024")


def resources(
    spec: Spec, settings: Settings, memory_limit: int | None
) -> tuple[dict[str, str], dict[str, str]]:
    """Limits and requests of the sandbox container."""
    given = spec.resources
    limits = {"cpu": settings.cpu_limit, "memory": settings.memory_limit}
    requests: dict[str, str] = {}
    if given and given.limits:
        limits |= given.limits.amounts()
        requests |= given.limits.amounts()
    if given and given.requests:
        requests |= given.requests.amounts()
    if "cpu" not in requests:
        small = min((limits["cpu"], settings.cpu_request), key=_amount)
        requests["cpu"] = small
    requests.setdefault("memory", limits["memory"])
    if memory_limit is not None:
        if requests["memory"] == limits["memory"]:
            requests["memory"] = str(memory_limit)
        limits["memory"] = str(memory_limit)
    for name in ("cpu", "memory"):
        if _amount(requests[name]) > _amount(limits[name]):
            raise InvalidSpecError(
                f"resources.requests.{name} {requests[name]} exceeds the limit {limits[name]}: "
                f"raise resources.limits.{name}"
            )
    return limits, requests
