"""Uploads: a ZIP or a Python file becomes a new function, or the next version of one."""

import contextlib
import hashlib
import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any, Final

from nanogrid import names
from nanogrid.api.function_spec import MAX_VERSIONS, FunctionCode, FunctionSpec, FunctionVersion
from nanogrid.api.runtime import ResourceLimits, Resources, Runtime, Timeouts
from nanogrid.kube.conventions import KubeError
from nanogrid.reasons import Reason
from nanogrid.threads import Threads
from nanogrid.types import Json
from nanogrid_gateway.api.async_objects import AsyncObjects
from nanogrid_gateway.api.errors import ApiError, cluster_unavailable, invalid
from nanogrid_gateway.api.functions import archive
from nanogrid_gateway.api.functions.functions import Functions
from nanogrid_gateway.api.functions.view import DEFAULT_RUNTIME, model_of, runtime_of
from nanogrid_gateway.api.job_fields import plain
from nanogrid_gateway.api.requests import UploadForm
from nanogrid_gateway.kube.client import Kube

log = logging.getLogger("nanogrid.gateway.functions")

TRIES: Final = 5


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

    async def upload(self, file: IO[bytes], filename: str, form: UploadForm) -> Json:
        """Check and store code, as a new function or as the next version of one; closes the file.

        Args:
            file: a ZIP, or a Python file.
            filename: a Python file has a name that ends with ``.py``.
            form: the other fields.

        Raises:
            ApiError: 422 for the archive or the form, 404, 409, 503.
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
            if form.function_id is not None:
                body, version = await self._extend(form.function_id, code, form)
            elif form.name is not None:
                body, version = await self._create_or_extend(form.name, code, form)
            else:
                body, version = await self._create(f"f-{uuid.uuid4().hex[:20]}", code, form)
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

    async def _create_or_extend(
        self, name: str, code: _Code, form: UploadForm
    ) -> tuple[Json, FunctionVersion]:
        if await self.functions.exists(name):
            return await self._extend(name, code, form)
        try:
            return await self._create(name, code, form)
        except ApiError as e:
            if e.reason is not Reason.FUNCTION_IN_USE:
                raise
            return await self._extend(name, code, form)  # another upload came first

    async def _create(
        self, function_id: str, code: _Code, form: UploadForm
    ) -> tuple[Json, FunctionVersion]:
        """Create a function; 409 FunctionInUse if there is one with this name."""
        version = await self._store(function_id, 1, code)
        runtime = form.runtime or DEFAULT_RUNTIME
        spec = FunctionSpec(versions=[version], **self._settings(form, runtime))
        body = {
            "apiVersion": names.API_VERSION,
            "kind": names.FUNCTION_KIND,
            "metadata": {"name": function_id, "annotations": {names.ANNOTATION_RUNTIME: runtime}},
            "spec": plain(spec),
        }
        try:
            return await self.kube.create(self.kube.functions, body), version
        except KubeError as e:
            raise _refused_by(e) from e

    async def _extend(
        self, function_id: str, code: _Code, form: UploadForm
    ) -> tuple[Json, FunctionVersion]:
        version = None
        for _ in range(TRIES):
            body = await self.functions.body(function_id)
            spec = model_of(body).spec
            if len(spec.versions) >= MAX_VERSIONS:
                message = f"{function_id} has {MAX_VERSIONS} versions, which is the maximum. "
                raise ApiError(409, Reason.VERSION_LIMIT, message + "Upload it as a new function.")
            if version is None or version.version <= spec.newest.version:
                version = await self._store(function_id, spec.newest.version + 1, code)
            patch = self._patch(body, [*spec.versions, version], form)
            try:
                patched = await self.kube.patch(self.kube.functions, function_id, patch)
            except KubeError as e:
                if e.code != 409:
                    raise _refused_by(e) from e
                continue  # another upload came first
            return patched, version
        message = f"Other requests change {function_id} at the same time. Try again."
        raise ApiError(409, Reason.FUNCTION_IN_USE, message, retry_after=1)

    def _patch(self, body: Json, versions: list[FunctionVersion], form: UploadForm) -> Json:
        """The change of a function; it fails when the function has changed since it was read."""
        metadata: Json = {"resourceVersion": body["metadata"]["resourceVersion"]}
        spec: Json = {"versions": [plain(v) for v in versions]}
        spec |= {key: plain(value) for key, value in self._settings(form, form.runtime).items()}
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


def _refused_by(error: KubeError) -> ApiError:
    """The answer when the API server refuses a function."""
    if error.code == 409:
        return ApiError(409, Reason.FUNCTION_IN_USE, f"The function exists: {error}. Try again.")
    if error.code in (400, 422):
        return ApiError(422, Reason.INVALID_SPEC, f"The API server refuses it: {error}.")
    if error.code == 403:
        return ApiError(503, Reason.CLUSTER_UNAVAILABLE, f"The gateway may not do this: {error}.")
    return cluster_unavailable(str(error))
