"""From the keywords of a call to those of a job: what is on this machine goes to S3 first."""

import hashlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from nanogrid import names
from nanogrid.client import functions
from nanogrid.client.errors import InvalidRequest
from nanogrid.client.manifest import INLINE_BYTES, Source, Uploaded, build_job, job_name
from nanogrid.client.packing import zip_directory, zip_files
from nanogrid.client.storage import Storage

Json = dict[str, Any]
ARCHIVE_PREFIX: Final = "code/"
ZIP_BYTES: Final = 64 << 20  # a folder of inputs beyond that is not packed


class Preparing:
    """Uploads of one client."""

    def __init__(self, storage: Callable[[], Storage]) -> None:
        self._storage = storage

    def keywords(self, code: str | None, keywords: Mapping[str, Any]) -> Json:
        """The keywords of build_job: what is on this machine is in S3 now."""
        made = dict(keywords)
        file, directory = made.pop("file", None), made.pop("directory", None)
        sources = (code, file, directory, made.get("archive"), made.get("function"))
        if sum(one is not None for one in sources) > 1:
            cure = "Give one of code, file, directory, archive and function."
            raise InvalidRequest("the code is given twice.", cure)
        made = self._with_input(made)
        _known(made)
        if file is not None:
            code, packed = _script(Path(file))
            if packed is not None:
                made["archive"] = self.archive(packed)
        elif directory is not None:
            made["archive"] = self.archive(zip_directory(Path(directory)))
        if made.get("inputs"):
            made["inputs"] = {
                folder: self._sources(source) for folder, source in made["inputs"].items()
            }
        return made | {"code": code}

    def upload(self, path: Path, key: str | None = None) -> Uploaded:
        """Store a file, or a folder as a ZIP."""
        if path.is_dir():
            return replace(self.archive(zip_directory(path), key), unpack=True)
        return self._storage().upload(path, key)

    def archive(self, content: bytes, key: str | None = None) -> Uploaded:
        """Store a ZIP; the default key has its checksum."""
        where = key or f"{ARCHIVE_PREFIX}{hashlib.sha256(content).hexdigest()}.zip"
        return self._storage().put(where, content)

    def _sources(self, given: Any) -> Any:
        many = given if isinstance(given, list | tuple) else [given]
        found: Any = []
        for one in many:
            found += self._uploaded(one) if isinstance(one, Path) else [one]
        return found

    def _with_input(self, made: Json) -> Json:
        """``input`` as the code of a function reads it: on stdin, or a file when it is large."""
        if "input" not in made and made.get("function") is None:
            return made
        value = made.pop("input", None)
        if made.get("function") is None:
            raise InvalidRequest("input is of a function.", "Give function=; or stdin=, inputs=.")
        if made.get("stdin") is not None:
            raise InvalidRequest("input and stdin are both given.", "Give one of them.")
        text, path = functions.input_text(value), names.FUNCTION_INPUT_STDIN
        if functions.fits_stdin(text):
            made["stdin"] = text
        else:
            path = f"{names.FUNCTION_INPUT_DIR}/{names.FUNCTION_INPUT_FILE}"
            stored = self._storage().put(functions.input_key(text), text.encode())
            made["inputs"] = {**(made.get("inputs") or {}), names.FUNCTION_INPUT_DIR: stored}
        return made | {"env": {**(made.get("env") or {}), names.ENV_FUNCTION_INPUT: path}}

    def _uploaded(self, path: Path) -> Iterable[Source]:
        """A folder is one ZIP, as upload() makes it; a large one goes up file by file."""
        if not path.is_dir():
            return [self._storage().upload(path)]
        files = sorted(one for one in path.rglob("*") if one.is_file())
        if not files:
            raise InvalidRequest(f"{path} holds no files.", "Give a folder with files.")
        if sum(one.stat().st_size for one in files) <= ZIP_BYTES:
            return [self.upload(path)]
        stamp = f"uploads/{job_name(None, 'folder')}/"
        stored = [
            self._storage().upload(one, stamp + one.relative_to(path).as_posix()) for one in files
        ]
        bucket = stored[0].uri.removeprefix("s3://").partition("/")[0]
        return [f"s3://{bucket}/{stamp}"]


def _known(keywords: Mapping[str, Any]) -> None:
    known = inspect.signature(build_job).parameters
    unknown = sorted(set(keywords) - set(known))
    if unknown:
        raise InvalidRequest(
            f"unknown keywords: {', '.join(unknown)}.",
            f"Known are file, directory, {', '.join(known)}; spec= takes any field.",
        )


def _script(path: Path) -> tuple[str | None, bytes | None]:
    """A script as inline text, or as an archive when it is too large for that."""
    try:
        content = path.read_bytes()
    except OSError as e:
        raise InvalidRequest(f"{path} cannot be read: {e}.", "Check the path.") from e
    if len(content) > INLINE_BYTES:
        return None, zip_files({names.ENTRYPOINT: (content, False)})
    try:
        return content.decode(), None
    except UnicodeDecodeError as e:
        raise InvalidRequest(f"{path} is not UTF-8: {e}.", "Save it as UTF-8.") from e
