"""Functions of a namespace in the Kubernetes API: upload versions, read, delete.

The code of a function is a ZIP below ``code/`` in the bucket; its key is its checksum. So no upload
overwrites a version. The ZIP stays when the function is deleted, because another function may have
the same code.
"""

import io
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from nanogrid import archive, names
from nanogrid.api.function_spec import MAX_VERSIONS, FunctionRef, FunctionSpec
from nanogrid.backoff import exponential, jitter
from nanogrid.client import source_file
from nanogrid.client.errors import Conflict, InvalidRequest, NotFound, hint_of, refused_for
from nanogrid.client.jobs.manifest import env_fields, runtime_fields
from nanogrid.client.jobs.packing import zip_directory, zip_files
from nanogrid.client.kube.cluster import Cluster
from nanogrid.client.kube.paths import functions, named
from nanogrid.client.local_files import read_file
from nanogrid.client.s3_uri import Uploaded, split_uri
from nanogrid.client.validation import check_spec
from nanogrid.reasons import Reason
from nanogrid.types import Json

Objects = list[Json]
TRIES: Final = 5
PAUSE_SECONDS: Final = 0.2
TOO_MANY_VERSIONS: Final = "VersionLimit"


class Functions:
    """The functions of one namespace; objects are dicts as in the Kubernetes API."""

    def __init__(self, cluster: Cluster, put_archive: Callable[[bytes], Uploaded]) -> None:
        self._cluster = cluster
        self._put_archive = put_archive

    def list(self, all_namespaces: bool = False) -> Objects:
        """All functions, sorted by name."""
        namespace = None if all_namespaces else self._cluster.namespace
        found = self._cluster.list(functions(namespace))
        return sorted(found, key=lambda one: str(one["metadata"]["name"]))

    def get(self, name: str) -> Json:
        """One function.

        Raises:
            NotFound: the function does not exist.
            InvalidRequest: no function can have this name.
        """
        try:
            return self._cluster.get(named(self._path, name))
        except NotFound as e:
            message = f"there is no function {name} in namespace {self._cluster.namespace}."
            reason = Reason.FUNCTION_NOT_FOUND.value
            raise NotFound(e.status, reason, message, hint_of(reason)) from e

    def upload(
        self,
        path: str | Path,
        name: str,
        *,
        image: str | None = None,
        pool: str | None = None,
        memory: str | None = None,
        cpu: str | None = None,
        timeout: int | None = None,
        env: Mapping[str, str] | None = None,
        env_secrets: Mapping[str, str] | None = None,
        command: Sequence[str] | None = None,
    ) -> Json:
        """Store code as the next version of a function, or as a new function.

        An upload of the newest version's code adds no version. Settings apply to all versions.

        Args:
            path: a folder with main.py, a ZIP, or a Python file.
            name: of the function.
            image: image of the sandbox.
            pool: the ExecutionPool of the namespace that gives runs a waiting pod.
            memory: limit, for example 256Mi.
            cpu: limit in cores, for example 500m.
            timeout: longest duration of a run in seconds.
            env: environment variables of the code.
            env_secrets: variables from Secrets: SECRET:KEY by name.
            command: command of this version; default is python3 main.py.

        Returns:
            The function, whose newest version has this code.

        Raises:
            InvalidRequest: there is no code, or a setting is wrong.
            Conflict: the function has 100 versions, or other clients change it all the time.
        """
        _check_name(name)
        settings = runtime_fields(image or None, memory, cpu, timeout or None)
        settings |= {"env": env_fields(env, env_secrets)}
        settings |= {"poolRef": None if pool is None else {"name": pool}}
        settings = _given(settings)
        stored = self._put_archive(archive_of(Path(path), command))
        for attempt in range(TRIES):
            try:
                return self._store(name, stored, settings, command)
            except Conflict as e:
                if e.reason == TOO_MANY_VERSIONS or attempt == TRIES - 1:
                    raise
            self._cluster.timing.sleep(jitter(exponential(attempt, PAUSE_SECONDS), 0.7, 1.3))
        raise AssertionError("the loop returns or raises")

    def set_memory(self, function: Json, memory: str) -> Json:
        """Change the memory limit of a function, unless it changed since it was read.

        Raises:
            Conflict: the function was changed or replaced.
        """
        metadata = function["metadata"]
        body = {
            "metadata": {key: metadata[key] for key in ("uid", "resourceVersion")},
            "spec": {"resources": {"limits": {"memory": memory}}},
        }
        path = functions(metadata["namespace"])
        return self._cluster.patch(path, metadata["name"], body)

    def delete(self, name: str) -> None:
        """Delete a function; its code stays in S3, and runs in progress continue."""
        uid = self.get(name)["metadata"]["uid"]
        self._cluster.delete(self._path, name, uid)

    @property
    def _path(self) -> str:
        return functions(self._cluster.namespace)

    def _store(
        self, name: str, stored: Uploaded, settings: Json, command: Sequence[str] | None
    ) -> Json:
        try:
            function = self._cluster.get(f"{self._path}/{name}")
        except NotFound:
            spec = settings | {"versions": [_version(1, stored, command)]}
            body = {
                "apiVersion": names.API_VERSION,
                "kind": names.FUNCTION_KIND,
                "metadata": {"name": name},
                "spec": _valid(spec),
            }
            return self._cluster.create(self._path, body)
        versions = function["spec"]["versions"]
        newest = max(versions, key=lambda one: int(one["version"]))
        new = _version(newest["version"] + 1, stored, command)
        if all(newest.get(key) == new.get(key) for key in ("s3", "command")):
            if not settings:
                return function
        elif len(versions) >= MAX_VERSIONS:
            message = f"function {name} has {MAX_VERSIONS} versions, the most that it can have."
            raise Conflict(409, TOO_MANY_VERSIONS, message, "Upload it under another name.")
        else:
            versions = [*versions, new]
        version = function["metadata"]["resourceVersion"]
        spec = _valid(settings | {"versions": versions})
        body = {"metadata": {"resourceVersion": version}, "spec": spec}
        return self._cluster.patch(self._path, name, body)


def newest_of(function: Json) -> int:
    """The number of a function's newest version."""
    return max(int(one["version"]) for one in function["spec"]["versions"])


def archive_of(path: Path, command: Sequence[str] | None = None) -> bytes:
    """The ZIP of a folder or a Python file; a ZIP stays unchanged.

    Args:
        path: the folder or the file.
        command: what runs it; None is python3 main.py.

    Raises:
        InvalidRequest: the path does not exist, lacks the file that the command runs, or breaks a
            rule for archives.
    """
    if path.is_dir():
        content = zip_directory(path)
    elif not path.exists():
        raise InvalidRequest(f"there is no file or folder {path}.", "Check the path.")
    else:
        content = read_file(path)
        if not zipfile.is_zipfile(io.BytesIO(content)):
            if path.suffix.lower() == ".zip":
                raise InvalidRequest(f"{path} is not a readable ZIP.", "Create the ZIP again.")
            if command is None:  # otherwise the user says what starts it
                source_file.refuse_other_kind(path)
                source_file.refuse_other_text(content.decode("utf-8", "replace"), path)
            content = zip_files({names.ENTRYPOINT: (content, False)})
    entry = archive.entry_point_of(command or ["python3", names.ENTRYPOINT])
    try:
        with archive.opened(io.BytesIO(content)) as opened:
            opened.locate(entry)
    except archive.ArchiveError as error:
        if error.reason is Reason.ENTRYPOINT_NOT_FOUND:
            hint = "Put it at the top level or into the only folder, or give the command."
            raise InvalidRequest(f"{path} has no {entry.files[0]}.", hint) from error
        message = f"{path} is refused ({error.reason}): {error}."
        raise refused_for(error.reason, message) from error
    return content


def guesses_of(path: Path) -> str:
    """Which names in a ZIP of the user were read in a guessed encoding; empty if none."""
    if not path.is_file() or not zipfile.is_zipfile(path):
        return ""
    with path.open("rb") as file, archive.opened(file) as opened:
        return opened.guesses


def name_of(path: Path) -> str:
    """A function's name, made from the name of its file or folder."""
    clean = re.sub(r"[^a-z0-9]+", "-", path.resolve().stem.lower()).strip("-")[:63].strip("-")
    return clean or "function"


def _version(number: int, stored: Uploaded, command: Sequence[str] | None) -> Json:
    bucket, key = split_uri(stored.uri)
    source = {"bucket": bucket} if bucket else {}
    found: Json = {"version": number, "s3": source | {"key": key, "sha256": stored.sha256}}
    found |= {} if command is None else {"command": list(command)}
    return found | {"createdAt": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}


def _given(fields: Json) -> Json:
    return {key: value for key, value in fields.items() if value is not None}


def _check_name(name: str) -> None:
    try:
        FunctionRef(name=name)
    except ValidationError:
        hint = "Use up to 63 of a-z, 0-9 and -. Begin and end with a letter or a digit."
        raise InvalidRequest(f"{name!r} is not a valid name of a function.", hint) from None


def _valid(spec: Json) -> Json:
    hint = "docs/function.md describes every field."
    check_spec(FunctionSpec, spec, "function", hint)
    return spec
