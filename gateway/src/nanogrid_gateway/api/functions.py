"""Functions: uploads become versions of them, and they are read, listed and deleted."""

import hashlib
import logging
import uuid
from datetime import UTC, datetime
from typing import IO, Any, Final

from pydantic import ValidationError

from nanogrid import names
from nanogrid.function import Function
from nanogrid.reasons import Reason
from nanogrid.spec_function import MAX_VERSIONS, FunctionCode, FunctionSpec, FunctionVersion
from nanogrid.spec_run import ResourceList, Resources, Runtime, Timeouts
from nanogrid_gateway.api import archive
from nanogrid_gateway.api.errors import ApiError, cluster_away, invalid
from nanogrid_gateway.api.jobs import Json, ended, function_of, plain, request_id_of
from nanogrid_gateway.api.kube import Kube
from nanogrid_gateway.api.objects import Objects
from nanogrid_gateway.api.requests import UploadForm
from nanogrid_gateway.router.cluster import KubeError

log = logging.getLogger("nanogrid.gateway.functions")

DEFAULT_RUNTIME: Final = "python"
TRIES: Final = 5
PAGE: Final = "500"


class Functions:
    """All functions of the gateway's namespace."""

    def __init__(self, kube: Kube, objects: Objects, runtimes: dict[str, str]) -> None:
        self._kube = kube
        self._objects = objects
        self._runtimes = runtimes

    def upload(self, file: IO[bytes], form: UploadForm) -> Json:
        """Check and store a ZIP, as a new function or as the next version of one.

        Raises:
            ApiError: 422 for the archive or the form, 404, 409, 503.
        """
        if form.runtime is not None and form.runtime not in self._runtimes:
            known = ", ".join(sorted(self._runtimes))
            raise invalid(f"runtime: {form.runtime!r} is not known here; take one of: {known}.")
        checked = archive.check(file, form.entry_point)
        digest = _sha256(file)
        command = None
        if form.entry_point != names.ENTRYPOINT:
            command = ["python3", form.entry_point]
        if form.function_id is None:
            body, version = self._create(file, digest, command, form)
        else:
            body, version = self._extend(form.function_id, file, digest, command, form)
        key = version.s3.key
        log.info("stored %s: %d files, sha256 %s", key, len(checked.files), digest)
        return {
            "functionId": body["metadata"]["name"],
            "version": version.version,
            "s3Key": key,
            "runtime": _runtime_of(body),
            "sha256": digest,
            "files": len(checked.files),
        }

    def get(self, function_id: str) -> Function:
        """A function.

        Raises:
            ApiError: 404.
        """
        return _model(self._body(function_id))

    def show(self, function_id: str) -> Json:
        """A function as the API shows it."""
        return _shown(self._body(function_id))

    def versions(self, function_id: str) -> list[Json]:
        """All versions, the newest first."""
        spec = self.get(function_id).spec
        return [_version(v) for v in sorted(spec.versions, key=lambda v: -v.version)]

    def page(self, limit: int, token: str | None) -> Json:
        """One page of all functions."""
        query = {"limit": str(limit)} | ({"continue": token} if token else {})
        page = listed(self._kube, self._kube.functions, query)
        more = page["metadata"].get("continue")
        return {"functions": [_shown(b) for b in page["items"]]} | (
            {"continue": more} if more else {}
        )

    def delete(self, function_id: str) -> Json:
        """Delete a function and its objects in S3.

        Raises:
            ApiError: 404, or 409 while runs of it have not ended.
        """
        body = self._body(function_id)
        self._refuse_active(function_id)
        try:
            self._kube.delete(self._kube.functions, function_id, body["metadata"]["uid"])
        except KubeError as e:
            raise cluster_away(str(e)) from e
        # A run may have begun since; its code must stay until it ends.
        try:
            self._refuse_active(function_id)
        except ApiError as e:
            log.warning("functions/%s is deleted, its code is kept: %s", function_id, e)
            return {"functionId": function_id, "deletedObjects": 0}
        count = self._objects.delete(names.function_prefix(function_id))
        return {"functionId": function_id, "deletedObjects": count}

    def _refuse_active(self, function_id: str) -> None:
        token = ""
        active: list[str] = []
        while True:
            # All jobs: those that say functionRef have no label of ours.
            query = {"limit": PAGE} | ({"continue": token} if token else {})
            page = listed(self._kube, self._kube.jobs, query)
            mine = (job for job in page["items"] if function_of(job) == function_id)
            active += [request_id_of(job) for job in mine if not ended(job)]
            token = page["metadata"].get("continue") or ""
            if not token:
                break
        if active:
            said = f"{len(active)} runs of {function_id} have not ended, {active[0]} for one. "
            said += "Wait for them, or cancel them with DELETE /runs/ID."
            raise ApiError(409, Reason.FUNCTION_IN_USE, said, found={"active": active[:20]})

    def _body(self, function_id: str) -> Json:
        try:
            body = self._kube.get(self._kube.functions, function_id)
        except KubeError as e:
            raise cluster_away(str(e)) from e
        if body is None or body["metadata"].get("deletionTimestamp"):
            raise ApiError(404, Reason.FUNCTION_NOT_FOUND)
        return body

    def _create(
        self, file: IO[bytes], digest: str, command: list[str] | None, form: UploadForm
    ) -> tuple[Json, FunctionVersion]:
        function_id = f"f-{uuid.uuid4().hex[:20]}"
        version = self._store(function_id, 1, file, digest, command)
        runtime = form.runtime or DEFAULT_RUNTIME
        spec = FunctionSpec(versions=[version], **self._settings(form, runtime))
        body = {
            "apiVersion": names.API_VERSION,
            "kind": names.FUNCTION_KIND,
            "metadata": {"name": function_id, "annotations": {names.ANNOTATION_RUNTIME: runtime}},
            "spec": plain(spec),
        }
        try:
            return self._kube.create(self._kube.functions, body), version
        except KubeError as e:
            raise _refused_by(e) from e

    def _extend(
        self,
        function_id: str,
        file: IO[bytes],
        digest: str,
        command: list[str] | None,
        form: UploadForm,
    ) -> tuple[Json, FunctionVersion]:
        version = None
        for _ in range(TRIES):
            body = self._body(function_id)
            spec = _model(body).spec
            if len(spec.versions) >= MAX_VERSIONS:
                said = f"{function_id} has {MAX_VERSIONS} versions, the most that it can have. "
                raise ApiError(409, Reason.VERSION_LIMIT, said + "Upload it as a new function.")
            if version is None or version.version <= spec.newest.version:
                number = spec.newest.version + 1
                version = self._store(function_id, number, file, digest, command)
            changed: Json = {"versions": [plain(v) for v in [*spec.versions, version]]}
            patch: Json = {"metadata": {"resourceVersion": body["metadata"]["resourceVersion"]}}
            given = self._settings(form, form.runtime)
            changed |= {key: plain(value) for key, value in given.items()}
            if form.runtime is not None:
                patch["metadata"]["annotations"] = {names.ANNOTATION_RUNTIME: form.runtime}
                changed.setdefault("runtime", None)
            try:
                patched = self._kube.patch(
                    self._kube.functions, function_id, patch | {"spec": changed}
                )
            except KubeError as e:
                if e.code != 409:
                    raise _refused_by(e) from e
                continue  # somebody else uploaded at the same time
            return patched, version
        said = f"{function_id} is being changed by others all the time. Try again."
        raise ApiError(409, Reason.FUNCTION_IN_USE, said, retry_after=1)

    def _store(
        self,
        function_id: str,
        number: int,
        file: IO[bytes],
        digest: str,
        command: list[str] | None,
    ) -> FunctionVersion:
        """Store the ZIP below the next number that is free."""
        for step in range(MAX_VERSIONS):
            key = names.function_object(function_id, number + step)
            file.seek(0)
            if self._objects.put_new(key, file, "application/zip"):
                return FunctionVersion(
                    version=number + step,
                    s3=FunctionCode(key=key, sha256=digest),
                    command=command,
                    created_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                )
        said = f"No number of {function_id} is free from {number} on. Upload it as a new function."
        raise ApiError(409, Reason.VERSION_LIMIT, said)

    def _settings(self, form: UploadForm, runtime: str | None) -> dict[str, Any]:
        """Fields of the spec that the form speaks of."""
        found: dict[str, Any] = {}
        if runtime is not None and (image := self._runtimes.get(runtime)):
            found["runtime"] = Runtime(image=image)
        if form.memory is not None:
            found["resources"] = Resources(limits=ResourceList(memory=form.memory))
        if form.timeout is not None:
            found["timeouts"] = Timeouts(execution_seconds=form.timeout)
        return found


def listed(kube: Kube, collection: str, query: dict[str, str]) -> Json:
    """One page of a collection; a token that is too old is the caller's to mend."""
    try:
        return kube.list(collection, query)
    except KubeError as e:
        if e.code == 410:
            said = "The continue token is too old. Start again without it."
            raise ApiError(410, Reason.BAD_REQUEST, said) from None
        if e.code == 400 and "continue" in query:
            said = "continue is no token of this listing. Start again without it."
            raise ApiError(400, Reason.BAD_REQUEST, said) from None
        raise cluster_away(str(e)) from e


def _refused_by(error: KubeError) -> ApiError:
    """What the API server has against a Function or a job."""
    if error.code in (400, 422):
        return ApiError(422, Reason.INVALID_SPEC, f"The API server refuses it: {error}.")
    if error.code == 403:
        return ApiError(503, Reason.CLUSTER_UNAVAILABLE, f"The gateway may not do this: {error}.")
    return cluster_away(str(error))


def _model(body: Json) -> Function:
    try:
        return Function.model_validate({k: v for k, v in body.items() if k != "status"})
    except ValidationError as e:
        name = body["metadata"]["name"]
        raise ApiError(
            422, Reason.INVALID_SPEC, f"Function {name} cannot be read: {e.errors()[0]}"
        ) from None


def _runtime_of(body: Json) -> str:
    annotations = body["metadata"].get("annotations") or {}
    image = (body["spec"].get("runtime") or {}).get("image")
    return str(annotations.get(names.ANNOTATION_RUNTIME) or image or DEFAULT_RUNTIME)


def _version(version: FunctionVersion) -> Json:
    found = {
        "version": version.version,
        "s3Key": version.s3.key,
        "sha256": version.s3.sha256,
        "createdAt": version.created_at,
    }
    return found | ({"command": version.command} if version.command else {})


def _shown(body: Json) -> Json:
    newest = _model(body).spec.newest
    status = body.get("status") or {}
    limits = (body["spec"].get("resources") or {}).get("limits") or {}
    found = {
        "functionId": body["metadata"]["name"],
        "version": newest.version,
        "s3Key": newest.s3.key,
        "sha256": newest.s3.sha256,
        "runtime": _runtime_of(body),
        "createdAt": body["metadata"].get("creationTimestamp"),
        "memory": limits.get("memory"),
        "timeout": (body["spec"].get("timeouts") or {}).get("executionSeconds"),
        "runs": status.get("runs"),
        "lastRun": status.get("lastRun"),
        "recommendation": status.get("recommendation"),
    }
    return {key: value for key, value in found.items() if value is not None}


def _sha256(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in archive.iter_chunks(file):
        digest.update(chunk)
    return digest.hexdigest()
