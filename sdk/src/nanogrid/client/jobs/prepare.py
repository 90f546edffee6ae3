"""Keywords of a call become keywords of a job: local code, inputs and data go to S3 first."""

import hashlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from nanogrid import names, source_encoding
from nanogrid.client import source_file
from nanogrid.client.errors import InvalidRequest
from nanogrid.client.jobs.manifest import INLINE_BYTES, Source, build_job, job_name
from nanogrid.client.jobs.packing import zip_directory, zip_files
from nanogrid.client.local_files import members, read_file
from nanogrid.client.s3_uri import Uploaded
from nanogrid.client.storage import UPLOAD_PREFIX, Storage
from nanogrid.function_input import fits_stdin, input_text
from nanogrid.types import Json

ARCHIVE_PREFIX: Final = "code/"
MAX_ZIP_BYTES: Final = 64 << 20


class JobPreparer:
    """Uploads the local files of jobs.

    Args:
        storage: gives S3; called for the first upload.
        max_zip_bytes: a larger folder of inputs is uploaded file by file.
    """

    def __init__(self, storage: Callable[[], Storage], max_zip_bytes: int = MAX_ZIP_BYTES) -> None:
        self._storage = storage
        self._max_zip_bytes = max_zip_bytes

    def keywords(self, code: str | None, keywords: Mapping[str, Any]) -> Json:
        """The keywords of build_job; local files are uploaded first.

        Raises:
            InvalidRequest: the keywords contradict each other, or a file cannot be used.
        """
        made = dict(keywords)
        file, directory = made.pop("file", None), made.pop("directory", None)
        sources = (code, file, directory, made.get("archive"), made.get("function"))
        if sum(one is not None for one in sources) > 1:
            hint = "Give one of code, file, directory, archive and function."
            raise InvalidRequest("the code is given twice.", hint)
        namespace = made.get("namespace")
        made = self._with_input(made)
        _refuse_unknown(made)
        if file is not None:
            code, packed = _script(Path(file))
            if packed is not None:
                made["archive"] = self.archive(packed, namespace=namespace)
        elif directory is not None:
            made["archive"] = self.archive(zip_directory(Path(directory)), namespace=namespace)
        if made.get("inputs"):
            made["inputs"] = {
                folder: self._sources(source, namespace)
                for folder, source in made["inputs"].items()
            }
        return made | {"code": code}

    def upload(self, path: Path, key: str | None = None, namespace: str | None = None) -> Uploaded:
        """Store a file, or a folder as a ZIP, for jobs of a namespace."""
        if path.is_dir():
            return replace(self.archive(zip_directory(path), key, namespace), unpack=True)
        return self._storage().upload(path, key, namespace)

    def archive(
        self, content: bytes, key: str | None = None, namespace: str | None = None
    ) -> Uploaded:
        """Store a ZIP; the default key contains its checksum."""
        name = f"{ARCHIVE_PREFIX}{hashlib.sha256(content).hexdigest()}.zip"
        return self._storage().put(key or self._root(namespace) + name, content)

    def _root(self, namespace: str | None) -> str:
        return self._storage().root_of(namespace)

    def _sources(self, given: Any, namespace: str | None) -> Any:
        many = given if isinstance(given, list | tuple) else [given]
        found: Any = []
        for one in many:
            found += self._uploaded(one, namespace) if isinstance(one, Path) else [one]
        return found

    def _with_input(self, made: Json) -> Json:
        """Turn ``input`` into the function's standard input, or into a file when it is large."""
        if "input" not in made and made.get("function") is None:
            return made
        value = made.pop("input", None)
        if made.get("function") is None:
            raise InvalidRequest(
                "input needs a function.", "Give function=, or use stdin= or inputs=."
            )
        if made.get("stdin") is not None:
            raise InvalidRequest("input and stdin are both given.", "Give one of them.")
        text, path = _input_json(value), names.FUNCTION_INPUT_STDIN
        if fits_stdin(text):
            made["stdin"] = text
        else:
            path = f"{names.FUNCTION_INPUT_DIR}/{names.FUNCTION_INPUT_FILE}"
            key = self._root(made.get("namespace")) + _input_key(text)
            stored = self._storage().put(key, text.encode())
            made["inputs"] = {**(made.get("inputs") or {}), names.FUNCTION_INPUT_DIR: stored}
        return made | {"env": {**(made.get("env") or {}), names.ENV_FUNCTION_INPUT: path}}

    def _uploaded(self, path: Path, namespace: str | None) -> Iterable[Source]:
        """A folder becomes one ZIP, as upload() makes it; a large one is uploaded file by file."""
        if not path.is_dir():
            return [self._storage().upload(path, None, namespace)]
        found = members(path)
        files = [one for one in found if not one.is_dir]
        if not files:
            raise InvalidRequest(f"{path} has no files.", "Give a folder with files.")
        if sum(one.path.stat().st_size for one in files) <= self._max_zip_bytes:
            return [self.upload(path, None, namespace)]
        if empty := [one.path for one in found if one.is_dir]:
            message = f"{path} is uploaded file by file, and {empty[0]} is an empty folder."
            raise InvalidRequest(message, "Put a file into it, or give client.upload(path).")
        prefix = f"{self._root(namespace)}{UPLOAD_PREFIX}{job_name(None, 'folder')}/"
        stored = [self._storage().upload(one.path, prefix + one.name) for one in files]
        bucket = stored[0].uri.removeprefix("s3://").partition("/")[0]
        return [f"s3://{bucket}/{prefix}"]


def _refuse_unknown(keywords: Mapping[str, Any]) -> None:
    known = inspect.signature(build_job).parameters
    unknown = sorted(set(keywords) - set(known))
    if unknown:
        raise InvalidRequest(
            f"unknown keywords: {', '.join(unknown)}.",
            f"Known keywords are file, directory, {', '.join(known)}; spec= takes any field.",
        )


def _script(path: Path) -> tuple[str | None, bytes | None]:
    """A script as inline text, or as an archive when it is too large for that."""
    source_file.refuse_other_kind(path)
    content = read_file(path)
    try:
        text = source_encoding.decode(content)
    except source_encoding.EncodingError as e:
        hint = "Save it as UTF-8, or declare its encoding: # -*- coding: NAME -*-"
        raise InvalidRequest(f"{path}: {e}.", hint) from e
    source_file.refuse_other_text(text, path)
    if len(text.encode()) > INLINE_BYTES:
        return None, zip_files({names.ENTRYPOINT: (content, False)})
    return text, None


def _input_json(value: Any) -> str:
    try:
        return input_text(value)
    except (TypeError, ValueError) as e:
        raise InvalidRequest(f"input is not JSON: {e}.", "Use dicts, lists, strings …") from e


def _input_key(text: str) -> str:
    """The key of an input that is too large for standard input, below the root."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"{UPLOAD_PREFIX}{digest}/{names.FUNCTION_INPUT_FILE}"
