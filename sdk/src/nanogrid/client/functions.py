"""Functions of a namespace, by the API server: upload versions, read, delete; what input becomes.

A function's code is a ZIP below ``code/`` in the bucket, named by its checksum: no version can be
overwritten, and none is deleted with its function, because others may have the same code.
"""

import hashlib
import io
import json
import random
import re
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from nanogrid import names
from nanogrid.client import cluster as paths
from nanogrid.client.cluster import Cluster
from nanogrid.client.errors import Conflict, InvalidRequest, NotFound
from nanogrid.client.manifest import Uploaded, limits_of, split_uri
from nanogrid.client.packing import zip_directory, zip_files
from nanogrid.spec_function import MAX_VERSIONS, FunctionRef, FunctionSpec

Json = dict[str, Any]
Objects = list[Json]
TRIES: Final = 5
PAUSE_SECONDS: Final = 0.2
STDIN_BYTES: Final = 60 * 1024  # of input as the pod's environment holds it, quoted once more
CURE: Final = "`nanogrid function list` shows what there is."


class Functions:
    """The functions of one namespace; objects are plain dicts as Kubernetes has them."""

    def __init__(self, cluster: Cluster, put_archive: Callable[[bytes], Uploaded]) -> None:
        self._cluster = cluster
        self._put_archive = put_archive

    def list(self, all_namespaces: bool = False) -> Objects:
        """All functions, by name."""
        where = None if all_namespaces else self._cluster.namespace
        found = self._cluster.list(paths.functions(where))
        return sorted(found, key=lambda one: str(one["metadata"]["name"]))

    def get(self, name: str) -> Json:
        """One function.

        Raises:
            NotFound: there is none of that name.
        """
        try:
            return self._cluster.get(f"{self._path}/{name}")
        except NotFound as e:
            said = f"there is no function {name} in namespace {self._cluster.namespace}."
            raise NotFound(e.status, e.reason, said, CURE) from e

    def upload(
        self,
        path: str | Path,
        name: str,
        *,
        image: str | None = None,
        memory: str | None = None,
        cpu: str | None = None,
        timeout: int | None = None,
        env: Mapping[str, str] | None = None,
        command: Sequence[str] | None = None,
    ) -> Json:
        """Store code as the next version of a function, or as a new function.

        The same code once more is no new version. Settings hold for all versions.

        Args:
            path: a folder with main.py, a ZIP, or a Python file.
            name: of the function.
            image: image of the sandbox.
            memory: limit, for example 256Mi.
            cpu: limit in cores, for example 500m.
            timeout: seconds that a run may take.
            env: environment variables of the code.
            command: of this version, instead of python3 main.py.

        Returns:
            The function, whose newest version has this code.

        Raises:
            InvalidRequest: there is no code, or a setting is wrong.
            Conflict: it has 100 versions, or others change it all the time.
        """
        _check_name(name)
        settings = _settings(image, memory, cpu, timeout, env)
        stored = self._put_archive(archive_of(Path(path), command is None))
        for attempt in range(TRIES):
            try:
                return self._store(name, stored, settings, command)
            except Conflict as e:
                if e.reason == TOO_MANY or attempt == TRIES - 1:
                    raise
            time.sleep(PAUSE_SECONDS * 2**attempt * random.uniform(0.7, 1.3))  # noqa: S311 jitter
        raise AssertionError("the loop returns or raises")

    def set_memory(self, function: Json, memory: str) -> Json:
        """Change a function's memory limit, if it still is as it was read.

        Raises:
            Conflict: it was changed meanwhile.
        """
        metadata = function["metadata"]
        body = {
            "metadata": {key: metadata[key] for key in ("uid", "resourceVersion")},
            "spec": {"resources": {"limits": {"memory": memory}}},
        }
        path = paths.functions(metadata["namespace"])
        return self._cluster.patch(path, metadata["name"], body)

    def delete(self, name: str) -> None:
        """Delete a function; its code stays in S3, and runs that have begun go on."""
        uid = self.get(name)["metadata"]["uid"]
        self._cluster.delete(self._path, name, uid)

    @property
    def _path(self) -> str:
        return paths.functions(self._cluster.namespace)

    def _store(
        self, name: str, stored: Uploaded, settings: Json, command: Sequence[str] | None
    ) -> Json:
        try:
            there = self._cluster.get(f"{self._path}/{name}")
        except NotFound:
            spec = settings | {"versions": [_version(1, stored, command)]}
            body = {
                "apiVersion": names.API_VERSION,
                "kind": names.FUNCTION_KIND,
                "metadata": {"name": name},
                "spec": _valid(spec),
            }
            return self._cluster.create(self._path, body)
        versions = there["spec"]["versions"]
        newest = max(versions, key=lambda one: int(one["version"]))
        fresh = _version(newest["version"] + 1, stored, command)
        if all(newest.get(key) == fresh.get(key) for key in ("s3", "command")):
            if not settings:
                return there
        elif len(versions) >= MAX_VERSIONS:
            said = f"function {name} has {MAX_VERSIONS} versions, the most that it can have."
            raise Conflict(409, TOO_MANY, said, "Upload it under another name.")
        else:
            versions = [*versions, fresh]
        version = there["metadata"]["resourceVersion"]
        spec = _valid(settings | {"versions": versions})
        body = {"metadata": {"resourceVersion": version}, "spec": spec}
        return self._cluster.patch(self._path, name, body)


TOO_MANY: Final = "VersionLimit"


def newest_of(function: Json) -> int:
    """The number of a function's newest version."""
    return max(int(one["version"]) for one in function["spec"]["versions"])


def archive_of(path: Path, needs_main: bool = True) -> bytes:
    """The ZIP of a folder, a Python file, or a ZIP as it is.

    Raises:
        InvalidRequest: it is none, holds no files, or has no main.py where one is needed.
    """
    if path.is_dir():
        content = zip_directory(path)
    elif not path.is_file():
        raise InvalidRequest(f"there is no file or folder {path}.", "Check the path.")
    elif zipfile.is_zipfile(path):
        content = path.read_bytes()
    elif path.suffix == ".zip":
        raise InvalidRequest(f"{path} is no readable ZIP.", "Pack it anew.")
    else:
        content = zip_files({names.ENTRYPOINT: (path.read_bytes(), False)})
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = [one for one in archive.namelist() if not one.endswith("/")]
    if not files:
        raise InvalidRequest(f"{path} holds no files.", f"Put {names.ENTRYPOINT} into it.")
    # As the sync does it: at the top level, or in the only folder.
    tops = {one.partition("/")[0] for one in files}
    at = {names.ENTRYPOINT, f"{next(iter(tops))}/{names.ENTRYPOINT}" if len(tops) == 1 else ""}
    if needs_main and not at.intersection(files):
        cure = f"Put {names.ENTRYPOINT} at its top level, or give the command."
        raise InvalidRequest(f"{path} has no {names.ENTRYPOINT}.", cure)
    return content


def name_of(path: Path) -> str:
    """A function's name from that of its file or folder."""
    clean = re.sub(r"[^a-z0-9]+", "-", path.resolve().stem.lower()).strip("-")[:63].strip("-")
    return clean or "function"


def input_text(value: Any) -> str:
    """Input as the code reads it: compact JSON.

    Raises:
        InvalidRequest: it is no JSON value.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which only an escape can say
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as e:
        raise InvalidRequest(f"input is no JSON: {e}.", "Give dicts, lists, texts …") from e
    return text


def fits_stdin(text: str) -> bool:
    """Whether input can be the code's standard input, rather than a file from S3."""
    return len(json.dumps(text, ensure_ascii=False).encode()) <= STDIN_BYTES


def input_key(text: str) -> str:
    """The key of input that is no standard input."""
    return f"uploads/{hashlib.sha256(text.encode()).hexdigest()}/{names.FUNCTION_INPUT_FILE}"


def _version(number: int, stored: Uploaded, command: Sequence[str] | None) -> Json:
    bucket, key = split_uri(stored.uri)
    where = {"bucket": bucket} if bucket else {}
    found: Json = {"version": number, "s3": where | {"key": key, "sha256": stored.sha256}}
    found |= {} if command is None else {"command": list(command)}
    return found | {"createdAt": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}


def _settings(
    image: str | None,
    memory: str | None,
    cpu: str | None,
    timeout: int | None,
    env: Mapping[str, str] | None,
) -> Json:
    limits = limits_of(memory, cpu)
    fields: Json = {
        "runtime": {"image": image} if image else None,
        "resources": {"limits": limits} if limits else None,
        "timeouts": {"executionSeconds": timeout} if timeout else None,
        "env": [{"name": key, "value": value} for key, value in (env or {}).items()] or None,
    }
    return {key: value for key, value in fields.items() if value is not None}


def _check_name(name: str) -> None:
    try:
        FunctionRef(name=name)
    except ValidationError:
        cure = "Use up to 63 of a-z, 0-9 and -, a letter or digit at both ends."
        raise InvalidRequest(f"{name!r} is no name of a function.", cure) from None


def _valid(spec: Json) -> Json:
    try:
        FunctionSpec.model_validate(spec)
    except ValidationError as e:
        wrong = "; ".join(
            f"spec.{'.'.join(str(part) for part in one['loc'])}: {one['msg']}"
            for one in e.errors()[:5]
        )
        cure = "`kubectl explain fn.spec --recursive` describes every field."
        raise InvalidRequest(f"the function is not valid: {wrong}.", cure) from e
    return spec
