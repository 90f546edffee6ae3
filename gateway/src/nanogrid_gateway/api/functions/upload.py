"""Uploads: a ZIP or a Python file becomes a new function, or the next version of one."""

import asyncio
import contextlib
import hashlib
import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any, Final

from pydantic.alias_generators import to_camel

from nanogrid import names
from nanogrid.api.function_spec import MAX_VERSIONS, FunctionCode, FunctionSpec, FunctionVersion
from nanogrid.api.runtime import PoolRef, ResourceLimits, Resources, Runtime, Timeouts
from nanogrid.kube.conventions import KubeError
from nanogrid.reasons import Reason
from nanogrid.threads import Threads
from nanogrid.types import Json
from nanogrid_gateway.api.async_objects import AsyncObjects
from nanogrid_gateway.api.errors import ApiError, cluster_unavailable, invalid
from nanogrid_gateway.api.functions import archive
from nanogrid_gateway.api.functions.functions import (
    CHANGED,
    GONE,
    TRIES,
    Functions,
    contended,
    deleting,
    pause,
)
from nanogrid_gateway.api.functions.view import DEFAULT_RUNTIME, model_of, runtime_of
from nanogrid_gateway.api.job_fields import plain
from nanogrid_gateway.api.requests import UploadForm
from nanogrid_gateway.kube.client import Kube

log = logging.getLogger("nanogrid.gateway.functions")

NO_ANSWER: Final = 0
REFUSED, FAILED = 400, 500  # codes from the first to below the second: nothing was changed

Permit = Callable[[str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class _Code:
    """A checked ZIP, and what becomes part of its version."""

    file: IO[bytes]
    files: int
    sha256: str
    command: list[str] | None
    warnings: list[str]


@dataclass(frozen=True, slots=True)
class Uploads:
    """Stores code as versions of functions.

    Args:
        kube: where the functions are.
        objects: where the ZIPs are.
        functions: reads functions.
        runtimes: names of runtimes and their images.
        threads: check archives.
    """

    kube: Kube
    objects: AsyncObjects
    functions: Functions
    runtimes: Mapping[str, str]
    threads: Threads

    async def upload(
        self, file: IO[bytes], filename: str, form: UploadForm, permit: Permit
    ) -> Json:
        """Check and store code, as a new function or as the next version of one; closes the file.

        Args:
            file: a ZIP, or a Python file.
            filename: a Python file has a name that ends with ``.py``.
            form: the other fields.
            permit: raises ApiError unless the caller has this verb on functions.

        Raises:
            ApiError: 422 for the archive or the form, 403, 404, 409, 503.
        """
        with contextlib.ExitStack() as files:
            files.enter_context(file)
            if form.runtime is not None and form.runtime not in self.runtimes:
                known = ", ".join(sorted(self.runtimes))
                raise invalid(f"runtime: {form.runtime!r} is unknown here; use one of: {known}.")
            if archive.is_script(filename):
                file = await self.threads.call(archive.packed, file, form.entry_point)
                files.enter_context(file)
            code = await self.threads.call(_checked, file, form.entry_point)
            function_id = form.function_id or form.name or f"f-{uuid.uuid4().hex[:20]}"
            body, version = await self._save(function_id, code, form, permit)
        log.info("stored %s: %d files, sha256 %s", version.s3.key, code.files, code.sha256)
        return {
            "functionId": body["metadata"]["name"],
            "version": version.version,
            "s3Key": version.s3.key,
            "runtime": runtime_of(body),
            "sha256": code.sha256,
            "files": code.files,
            "warnings": code.warnings,
        }

    async def _save(
        self, function_id: str, code: _Code, form: UploadForm, permit: Permit
    ) -> tuple[Json, FunctionVersion]:
        """Create the function, or add a version to it, while others may do the same.

        An upload owns its ZIP until a function names it, and deletes it if none will. If that is
        unknown, because there was no answer, the ZIP stays. A later deletion of the function
        deletes it then.
        """
        version: FunctionVersion | None = None
        error: KubeError | None = None
        for attempt in range(TRIES + 1):
            body = await self.functions.find(function_id)
            if body is not None and version is not None and _has(body, version):
                return body, version  # only the answer to the last try was lost
            if error is not None and error.code == NO_ANSWER:
                version = None  # a function may have named it, and may be deleted with it
            if attempt == TRIES:
                break
            try:
                # Before the 404: a caller who may only create does not learn what exists.
                await permit("create" if body is None and not form.function_id else "patch")
                newest = _newest(function_id, body, form)
            except ApiError:
                await self._discard(version)
                raise
            if version is None or version.version <= newest:
                await self._discard(version)
                version = await self._store(function_id, newest + 1, code)
            try:
                return await self._write(function_id, body, version, form), version
            except KubeError as e:
                error = e
            if not _is_race(error, body):
                if REFUSED <= error.code < FAILED:
                    await self._discard(version)
                raise _refused_by(error) from error
            await asyncio.sleep(pause(attempt))
        await self._discard(version)
        raise contended(function_id)

    async def _write(
        self, function_id: str, body: Json | None, version: FunctionVersion, form: UploadForm
    ) -> Json:
        """Create the function, or add the version to it; returns the function.

        Raises:
            KubeError: among others 409: the function exists, or has changed since it was read.
        """
        if body is not None:
            versions = [*model_of(body).spec.versions, version]
            patch = self._patch(body, versions, form)
            return await self.kube.patch(self.kube.functions, function_id, patch)
        runtime = form.runtime or DEFAULT_RUNTIME
        spec = FunctionSpec(versions=[version], **self._settings(form, runtime))
        return await self.kube.create(
            self.kube.functions,
            {
                "apiVersion": names.API_VERSION,
                "kind": names.FUNCTION_KIND,
                "metadata": {
                    "name": function_id,
                    "annotations": {names.ANNOTATION_RUNTIME: runtime},
                },
                "spec": plain(spec),
            },
        )

    async def _discard(self, version: FunctionVersion | None) -> None:
        """Delete the ZIP of a version that no function names."""
        if version is None:
            return
        try:
            await self.objects.delete([version.s3.key])
        except ApiError as e:
            log.warning("%s stays although no function names it: %s", version.s3.key, e)

    def _patch(self, body: Json, versions: list[FunctionVersion], form: UploadForm) -> Json:
        """The change of a function; it fails when the function has changed since it was read."""
        metadata: Json = {"resourceVersion": body["metadata"]["resourceVersion"]}
        spec: Json = {"versions": [plain(v) for v in versions]}
        settings = self._settings(form, form.runtime)
        spec |= {to_camel(key): plain(value) for key, value in settings.items()}
        if form.runtime is not None:
            metadata["annotations"] = {names.ANNOTATION_RUNTIME: form.runtime}
            spec.setdefault("runtime", None)
        return {"metadata": metadata, "spec": spec}

    async def _store(self, function_id: str, number: int, code: _Code) -> FunctionVersion:
        """Store the ZIP under the next free number."""
        for candidate in range(number, number + MAX_VERSIONS):
            key = self.objects.key(names.function_object(function_id, candidate))
            code.file.seek(0)
            if await self.objects.put_new(key, code.file, "application/zip"):
                return FunctionVersion(
                    version=candidate,
                    s3=FunctionCode(key=key, sha256=code.sha256),
                    command=code.command,
                    created_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                )
        message = f"{function_id} has no free version number from {number} on. "
        raise ApiError(409, Reason.VERSION_LIMIT, message + "Upload it as a new function.")

    def _settings(self, form: UploadForm, runtime: str | None) -> dict[str, Any]:
        """The fields of the spec that the form sets."""
        found: dict[str, Any] = {}
        if runtime is not None and (image := self.runtimes.get(runtime)):
            found["runtime"] = Runtime(image=image)
        if form.memory is not None:
            found["resources"] = Resources(limits=ResourceLimits(memory=form.memory))
        if form.timeout is not None:
            found["timeouts"] = Timeouts(execution_seconds=form.timeout)
        if form.pool is not None:
            found["pool_ref"] = PoolRef(name=form.pool)
        return found


def _checked(file: IO[bytes], entry_point: str) -> _Code:
    """Check an archive; blocks.

    Raises:
        ApiError: 422 with the reason that the job would have failed with.
    """
    checked = archive.check(file, entry_point)
    digest = hashlib.sha256()
    for chunk in archive.iter_chunks(file):
        digest.update(chunk)
    command = ["python3", entry_point] if entry_point != names.ENTRYPOINT else None
    warnings = [checked.guesses] if checked.guesses else []
    return _Code(file, len(checked.files), digest.hexdigest(), command, warnings)


def _newest(function_id: str, body: Json | None, form: UploadForm) -> int:
    """The number of the newest version; 0 for a function that is to be created.

    Raises:
        ApiError: 404, 409 or 422: it gets no version.
    """
    if body is None:
        if form.function_id is not None:
            raise ApiError(404, Reason.FUNCTION_NOT_FOUND)
        return 0
    if deleting(body):
        message = f"{function_id} is being deleted. Wait until it is gone, or use another name. "
        message += f"`kubectl get fn {function_id} -o yaml` shows its finalizers."
        raise ApiError(409, Reason.FUNCTION_IN_USE, message, retry_after=5)
    spec = model_of(body).spec
    if len(spec.versions) >= MAX_VERSIONS:
        message = f"{function_id} has {MAX_VERSIONS} versions, which is the maximum. "
        raise ApiError(409, Reason.VERSION_LIMIT, message + "Upload it as a new function.")
    return spec.newest.version


def _has(body: Json, version: FunctionVersion) -> bool:
    """Whether a function has this version. No other upload stores under its key."""
    return any(v["s3"]["key"] == version.s3.key for v in body["spec"]["versions"])


def _is_race(error: KubeError, body: Json | None) -> bool:
    """Whether a read shows what to do next: another request came first, or the answer was lost."""
    return error.code in (NO_ANSWER, CHANGED) or (error.code == GONE and body is not None)


def _refused_by(error: KubeError) -> ApiError:
    """The answer when the API server refuses a function."""
    if error.code in (400, 422):
        return ApiError(422, Reason.INVALID_SPEC, f"The API server refuses it: {error}.")
    if error.code == 403:
        return ApiError(503, Reason.CLUSTER_UNAVAILABLE, f"The gateway may not do this: {error}.")
    return cluster_unavailable(str(error))
