"""From a job to the pod's task (wire.PodTask) and its resources. Pure."""

from decimal import Decimal

from nanogrid import names, source_encoding, wire
from nanogrid.api.inputs_outputs import Input, Logs, Outputs
from nanogrid.api.job import ExecutionJob, Spec
from nanogrid.api.runtime import ResourceLimits, ResourceRequests, Timeouts
from nanogrid.quantity import quantity
from nanogrid.traces.settings import Sampler
from nanogrid_operator.manifests.egress import proxy_env
from nanogrid_operator.manifests.exposure import drain_seconds
from nanogrid_operator.model.errors import InvalidSpecError
from nanogrid_operator.model.execution_time import execution_seconds
from nanogrid_operator.model.keys import Keys
from nanogrid_operator.model.tenant import Tenant
from nanogrid_operator.model.trace import code_env
from nanogrid_operator.settings import Settings


def _amount(text: str | int) -> Decimal:
    try:
        return quantity(text)
    except ValueError as e:
        raise InvalidSpecError(f"resources: {e}") from None


def base_memory_limit(spec: Spec, settings: Settings) -> int:
    """The memory limit of a job's first attempt, in bytes."""
    return int(_amount(resources(spec, settings, None)[0]["memory"]))


def task_for(
    job: ExecutionJob,
    attempt: int,
    settings: Settings,
    tenant: Tenant,
    memory_limit: int | None = None,
    gate_port: int | None = None,
    now: float = 0.0,
    sampler: Sampler | None = None,
) -> wire.PodTask:
    """The task for the pod's trusted containers.

    Args:
        job: The job, with what is pinned of its function.
        attempt: The number of the attempt.
        settings: The operator's settings.
        tenant: What the job's namespace has and may do.
        memory_limit: Overrides the spec's limit; in bytes.
        gate_port: The operator's port that must be closed to the pod before any code has a network.
        now: Seconds since the epoch, for the expiry of credentials.
        sampler: Decides which traces are recorded; None: traces are off.

    Raises:
        InvalidSpecError: The spec needs a bucket and there is none, it names a key that the
            namespace may not use, it is too large, or its code cannot be written in the encoding
            that it declares.
    """
    spec = job.spec
    uid = job.metadata["uid"]
    request_id = spec.request_id or uid
    timeouts = spec.timeouts or Timeouts()
    limits, _ = resources(spec, settings, memory_limit)
    logs = spec.logs or Logs()
    keys = Keys(tenant=tenant, request_id=request_id, session=spec.is_session)
    task = wire.PodTask(
        namespace=job.metadata["namespace"],
        job=job.metadata["name"],
        uid=uid,
        attempt=attempt,
        request_id=request_id,
        function_id=spec.function_id,
        execution_timeout_seconds=float(execution_seconds(spec, tenant, settings)),
        termination_grace_seconds=_grace(spec, settings),
        input_sync_timeout_seconds=float(timeouts.input_sync_seconds),
        upload_timeout_seconds=float(timeouts.upload_seconds),
        command=(spec.command or ["python3", names.ENTRYPOINT]) + (spec.args or []),
        env=installed_env(job, attempt, settings)
        | proxy_env(job, attempt, settings, now)
        | code_env(job.metadata, attempt, sampler)
        | _plain_env(spec),
        stdin=spec.stdin or "",
        code_inline=spec.code.inline if spec.code else None,
        code_s3=_code_source(spec, keys),
        inputs=[
            _input(f"inputs[{number}].s3", item, keys) for number, item in enumerate(spec.inputs)
        ],
        root=tenant.area.root,
        bucket=tenant.area.bucket,
        outputs=_output_rules(spec, request_id, keys),
        log_cap_bytes=logs.max_bytes if logs.archive else 0,
        memory_limit_bytes=int(_amount(limits["memory"])),
        session=_session_rules(spec, tenant, settings),
        gate_port=gate_port,
        inputs_by_agent=_agent_syncs(spec),
    )
    _check_encoding(task.code_inline or "")
    size = len(task_json(task).encode())
    if size > wire.TASK_CAP_BYTES:
        raise InvalidSpecError(
            f"code, stdin, env and args together have {size} bytes, at most "
            f"{wire.TASK_CAP_BYTES} fit into a pod: put the code into a ZIP in S3 (spec.code.s3)"
        )
    return task


def _agent_syncs(spec: Spec) -> bool:
    """Whether the agent syncs what an init container would sync. A session has one always."""
    synced = bool(spec.inputs) or (spec.code is not None and spec.code.s3 is not None)
    return synced and spec.agent_syncs and not spec.is_session


def _check_encoding(code: str) -> None:
    """Refuse code that cannot be written in the encoding that it declares."""
    try:
        source_encoding.encode(code)
    except source_encoding.EncodingError as e:
        raise InvalidSpecError(f"code.inline: {e}. {source_encoding.HINT}") from None


def _plain_env(spec: Spec) -> dict[str, str]:
    """The variables whose values the spec has; the agent alone gets those from Secrets."""
    return {e.name: e.value or "" for e in spec.env if e.value_from is None}


def _grace(spec: Spec, settings: Settings) -> float:
    given = spec.termination_grace_period_seconds
    return settings.termination_grace_seconds if given is None else float(given)


def installed_env(job: ExecutionJob, attempt: int, settings: Settings) -> dict[str, str]:
    """The installation's variables for user code, with the names of this job filled in."""
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


def _session_rules(spec: Spec, tenant: Tenant, settings: Settings) -> wire.SessionRules | None:
    if not spec.is_session:
        return None
    rules = spec.session_rules
    return wire.SessionRules(
        idle_timeout_seconds=float(rules.idle_seconds),
        max_lifetime_seconds=float(rules.lifetime_seconds),
        execution_timeout_seconds=float(execution_seconds(spec, tenant, settings)),
        max_executions=rules.max_executions or 0,
        concurrency_policy=rules.concurrency_policy,
        drain_seconds=float(drain_seconds(rules, settings)),
    )


def _output_rules(spec: Spec, request_id: str, keys: Keys) -> wire.OutputRules:
    outputs = spec.outputs or Outputs()
    path, default = outputs.path, names.outputs_prefix(request_id)
    if spec.is_session:
        default = names.session_prefix(request_id) + names.SESSION_ARTIFACTS
        if "path" not in outputs.model_fields_set:
            path = names.SESSION_ARTIFACTS_DIR
    bucket, prefix = keys.target("outputs.s3", outputs.s3, keys.tenant.area.key(default))
    presigned = outputs.url_format == "Presigned"
    return wire.OutputRules(
        bucket=bucket,
        prefix=prefix,
        path=path,
        include=outputs.include or [],
        exclude=outputs.exclude or [],
        max_files=outputs.max_files,
        max_file_bytes=outputs.max_file_bytes,
        max_bytes=outputs.total_bytes,
        upload_policy=outputs.upload_policy,
        presigned_expiry_seconds=outputs.presigned_expiry_seconds if presigned else None,
    )


def _input(field: str, item: Input, keys: Keys) -> wire.Input:
    return wire.Input(
        name=item.name,
        s3=wire.S3Source(
            bucket=keys.source(field, item.s3),
            key=item.s3.key,
            prefix=item.s3.prefix,
            sha256=item.s3.sha256,
            version_id=item.s3.version_id,
        ),
        mount_path=item.mount_path,
        required=item.required,
        min_files=item.min_files,
        max_bytes=item.max_bytes,
        unpack=item.unpack,
    )


def _code_source(spec: Spec, keys: Keys) -> wire.S3Source | None:
    s3 = spec.code.s3 if spec.code else None
    if s3 is None:
        return None
    return wire.S3Source(
        bucket=keys.code("code.s3", s3.bucket, s3.key),
        key=s3.key,
        sha256=s3.sha256,
        version_id=s3.version_id,
    )


def task_json(task: wire.PodTask) -> str:
    """The task as JSON for an environment variable.

    The kubelet expands $(NAME) in environment values. It does not expand an escaped dollar.
    """
    return wire.dumps(task).replace("$", "\\u0024")


def _cpu_and_memory(given: ResourceLimits | ResourceRequests) -> dict[str, str]:
    return {name: amount for name, amount in given.amounts().items() if name in ("cpu", "memory")}


def resources(
    spec: Spec, settings: Settings, memory_limit: int | None
) -> tuple[dict[str, str], dict[str, str]]:
    """Limits and requests of the sandbox container for CPU and memory."""
    given = spec.resources
    limits = {"cpu": settings.cpu_limit, "memory": settings.memory_limit}
    requests: dict[str, str] = {}
    if given and given.requests:
        requests = _cpu_and_memory(given.requests)
        # A default limit is not smaller than what the job requests.
        limits |= {n: max(limits[n], requests[n], key=_amount) for n in requests}
    if given and given.limits:
        limits |= _cpu_and_memory(given.limits)
        requests = _cpu_and_memory(given.limits) | requests
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
