"""A function as the source of a job's code: what is pinned of it, and what then runs. Pure.

The function gives defaults; the job's own fields win. docs/functions.md describes each field.
"""

from pydantic import ValidationError

from nanogrid import names
from nanogrid.api.environment import EnvVar
from nanogrid.api.faults import faults
from nanogrid.api.function_spec import FunctionRef, FunctionSpec
from nanogrid.api.inputs_outputs import Code, S3Object
from nanogrid.api.job import Spec
from nanogrid.api.pinned_function import PinnedFunction
from nanogrid.api.runtime import ResourceLimits, ResourceRequests, Resources, Runtime, Timeouts
from nanogrid.reasons import Reason
from nanogrid.result_copy import json_bytes
from nanogrid.types import Json
from nanogrid_operator.model.errors import InvalidSpecError
from nanogrid_operator.model.keys import Keys
from nanogrid_operator.model.tenant import Tenant

PIN_CAP_BYTES = 64 * 1024  # of JSON on the job's status


class FunctionRefused(Exception):
    """The function cannot be run; the message says why."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def pin(ref: FunctionRef, function: Json | None, tenant: Tenant) -> PinnedFunction:
    """The part of a function that a job runs.

    Args:
        ref: The job's spec.functionRef.
        function: The object from the API server; None if it does not exist.
        tenant: Of the namespace: has the bucket of versions that name none, and the keys that
            versions may name.

    Raises:
        FunctionRefused: The function or version does not exist, cannot be read, or is at a key
            that the namespace may not use.
    """
    if function is None:
        detail = f"there is no function {ref.name} in the job's namespace"
        raise FunctionRefused(Reason.FUNCTION_NOT_FOUND, detail)
    if function["metadata"].get("deletionTimestamp"):
        detail = f"function {ref.name} is being deleted"
        raise FunctionRefused(Reason.FUNCTION_NOT_FOUND, detail)
    try:
        spec = FunctionSpec.model_validate(function.get("spec"))
    except ValidationError as e:
        detail = f"function {ref.name} cannot be read: {faults(e, FunctionSpec, 'spec')}"
        raise FunctionRefused(Reason.INVALID_SPEC, detail) from e
    version = spec.newest if ref.version is None else spec.numbered(ref.version)
    if version is None:
        newest = ", ".join(str(n) for n in sorted(v.version for v in spec.versions)[-10:])
        detail = f"function {ref.name} has no version {ref.version}; the newest are {newest}"
        raise FunctionRefused(Reason.VERSION_NOT_FOUND, detail)
    try:
        field = f"function {ref.name}: version {version.version}: s3"
        bucket = Keys(tenant=tenant).code(field, version.s3.bucket, version.s3.key)
    except InvalidSpecError as e:
        raise FunctionRefused(Reason.INVALID_SPEC, str(e)) from e
    pinned = PinnedFunction(
        name=ref.name,
        uid=function["metadata"]["uid"],
        version=version.version,
        s3=version.s3.model_copy(update={"bucket": bucket}),
        command=version.command or spec.command,
        env=spec.env,
        runtime=spec.runtime,
        resources=spec.resources,
        timeouts=spec.timeouts,
        network=spec.network,
        pool_ref=spec.pool_ref,
        input_strategy=spec.input_strategy,
        outputs=spec.outputs,
    )
    size = json_bytes(to_status(pinned))
    if size > PIN_CAP_BYTES:
        detail = (
            f"command, env and outputs of function {ref.name} have {size} bytes, at most "
            f"{PIN_CAP_BYTES} fit: put large values into the version's ZIP"
        )
        raise FunctionRefused(Reason.INVALID_SPEC, detail)
    return pinned


def to_status(pinned: PinnedFunction) -> Json:
    """A pinned function as status.function keeps it."""
    data: Json = pinned.model_dump(mode="json", by_alias=True, exclude_none=True)
    return data


def effective(spec: Spec, pinned: PinnedFunction | None) -> Spec:
    """The spec in force: the job's own fields, then the pinned function's.

    Timeouts (except executionSeconds), network and outputs are taken as a whole. The API server
    fills in the defaults of a block that is set, so the operator cannot tell which of its fields
    the user wrote.
    """
    if spec.function_ref is None:
        return spec
    if pinned is None:
        return spec.model_copy(update={"function_id": spec.function_ref.name})
    code = S3Object(bucket=pinned.s3.bucket, key=pinned.s3.key, sha256=pinned.s3.sha256)
    changes = {
        "function_id": pinned.name,
        "code": Code(s3=code),
        "command": spec.command or pinned.command,
        "env": _env(pinned.env, spec.env),
        "runtime": _runtime(pinned.runtime, spec.runtime),
        "resources": _resources(pinned.resources, spec.resources),
        "timeouts": _timeouts(pinned.timeouts, spec.timeouts),
        "network": spec.network or pinned.network,
        "pool_ref": spec.pool_ref or pinned.pool_ref,
        "input_strategy": spec.input_strategy or pinned.input_strategy,
        "outputs": spec.outputs or pinned.outputs,
    }
    return spec.model_copy(update=changes)


def _env(function: list[EnvVar], job: list[EnvVar]) -> list[EnvVar]:
    """Variables by name. The job says where its input is; standard input is the default.

    So a function reads its input in the same way in a run of the gateway and in any other job.
    """
    by_name = {variable.name: variable for variable in function}
    standard = EnvVar(name=names.ENV_FUNCTION_INPUT, value=names.FUNCTION_INPUT_STDIN)
    by_name[names.ENV_FUNCTION_INPUT] = standard
    by_name |= {variable.name: variable for variable in job}
    return list(by_name.values())


def _runtime(function: Runtime | None, job: Runtime | None) -> Runtime | None:
    if function is None or job is None:
        return job or function
    return Runtime(
        image=job.image or function.image,
        runtime_class_name=job.runtime_class_name or function.runtime_class_name,
    )


def _timeouts(function: Timeouts | None, job: Timeouts | None) -> Timeouts | None:
    if function is None or job is None or job.execution_seconds is not None:
        return job or function
    return job.model_copy(update={"execution_seconds": function.execution_seconds})


def _resources(function: Resources | None, job: Resources | None) -> Resources | None:
    """Each amount by itself. A limit of the job replaces the function's request.

    That request was chosen for another limit, and could exceed the new one.
    """
    if function is None or job is None:
        return job or function
    limits, requests = _amounts(job.limits), _amounts(job.requests)
    kept = {name: v for name, v in _amounts(function.requests).items() if name not in limits}
    # All amounts have been checked where they were read.
    return Resources(
        limits=ResourceLimits.model_construct(None, **(_amounts(function.limits) | limits)),
        requests=ResourceRequests.model_construct(None, **(kept | requests)),
    )


def _amounts(given: ResourceLimits | ResourceRequests | None) -> dict[str, str]:
    return given.amounts() if given else {}
