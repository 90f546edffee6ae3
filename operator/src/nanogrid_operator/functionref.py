"""A function as the source of a job's code: what is pinned of it, and what runs then. Pure.

The function gives defaults, the job's own fields win; docs/functions.md says it field by field.
"""

import json
from typing import Any

from pydantic import ValidationError

from nanogrid import names
from nanogrid.job import Spec
from nanogrid.pinned import PinnedFunction
from nanogrid.reasons import Reason
from nanogrid.spec_data import Code, EnvVar, S3Object
from nanogrid.spec_function import FunctionRef, FunctionSpec
from nanogrid.spec_run import ResourceList, Resources, Runtime
from nanogrid_operator.settings import Settings

Json = dict[str, Any]

PIN_CAP_BYTES = 64 * 1024  # of JSON on the job's status


class FunctionRefused(Exception):
    """The function cannot be run; the message says why."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def pin(ref: FunctionRef, function: Json | None, settings: Settings) -> PinnedFunction:
    """What a job runs that refers to this function.

    Args:
        ref: the job's spec.functionRef.
        function: the object as the API server gives it; None when there is none.
        settings: for the bucket of versions that name none.

    Raises:
        FunctionRefused: there is no such function or version, or it cannot be read.
    """
    if function is None:
        said = f"there is no function {ref.name} in the job's namespace"
        raise FunctionRefused(Reason.FUNCTION_NOT_FOUND, said)
    if function["metadata"].get("deletionTimestamp"):
        said = f"function {ref.name} is being deleted"
        raise FunctionRefused(Reason.FUNCTION_NOT_FOUND, said)
    try:
        spec = FunctionSpec.model_validate(function.get("spec"))
    except ValidationError as e:
        first = e.errors()[0]
        where = ".".join(map(str, first["loc"]))
        said = f"function {ref.name} cannot be read: spec.{where}: {first['msg']}"
        raise FunctionRefused(Reason.INVALID_SPEC, said) from e
    version = spec.newest if ref.version is None else spec.numbered(ref.version)
    if version is None:
        there = ", ".join(str(n) for n in sorted(v.version for v in spec.versions)[-10:])
        said = f"function {ref.name} has no version {ref.version}; the newest are {there}"
        raise FunctionRefused(Reason.VERSION_NOT_FOUND, said)
    bucket = version.s3.bucket or settings.s3_bucket or None
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
        outputs=spec.outputs,
    )
    size = len(json.dumps(stored(pinned), ensure_ascii=False).encode())
    if size > PIN_CAP_BYTES:
        said = (
            f"command, env and outputs of function {ref.name} have {size} bytes, at most "
            f"{PIN_CAP_BYTES} fit: put large values into the version's ZIP"
        )
        raise FunctionRefused(Reason.INVALID_SPEC, said)
    return pinned


def stored(pinned: PinnedFunction) -> Json:
    """A pin as status.function keeps it."""
    data: Json = pinned.model_dump(mode="json", by_alias=True, exclude_none=True)
    return data


def effective(spec: Spec, pinned: PinnedFunction | None) -> Spec:
    """The spec in force: the job's own fields, then the pinned function's.

    Timeouts and outputs count as a whole: the API server fills in the defaults of a block that is
    there, so that nobody can tell which of its fields the user wrote.
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
        "timeouts": spec.timeouts or pinned.timeouts,
        "outputs": spec.outputs or pinned.outputs,
    }
    return spec.model_copy(update=changes)


def _env(function: list[EnvVar], job: list[EnvVar]) -> list[EnvVar]:
    """By name; where the input is says the job, and its standard input is the default.

    So a function reads its input in the same way whether the gateway runs it or a job of its own.
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


def _resources(function: Resources | None, job: Resources | None) -> Resources | None:
    """Each amount by itself; a limit of the job's sets the function's request aside.

    That request was made for another limit, and might exceed the new one.
    """
    if function is None or job is None:
        return job or function
    limits, requests = _amounts(job.limits), _amounts(job.requests)
    kept = {name: v for name, v in _amounts(function.requests).items() if name not in limits}
    return Resources(
        limits=ResourceList.model_validate(_amounts(function.limits) | limits),
        requests=ResourceList.model_validate(kept | requests),
    )


def _amounts(given: ResourceList | None) -> dict[str, str]:
    return given.amounts() if given else {}
