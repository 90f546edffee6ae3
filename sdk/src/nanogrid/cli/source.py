"""Parses the arguments of ``run`` into a job: code, inputs, environment, limits.

Pure, except that it reads files. Local files that must be in S3 first (a folder, a local input)
are paths in :class:`RunRequest`; the caller uploads them and passes the result to ``to_job``.
"""

import os
import re
import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nanogrid import names, source_encoding
from nanogrid.cli.app.errors import UsageError
from nanogrid.cli.app.formatting import DURATION_HINT, parse_duration
from nanogrid.file_names import kind_of
from nanogrid.types import Json

if TYPE_CHECKING:
    from nanogrid.client.s3_uri import Uploaded

INLINE_BYTES: Final = 64 * 1024  # limit of spec.code.inline
# A job of `run` is deleted this long after its end, unless --keep is set.
RUN_TTL_SECONDS: Final = 3600
_MOUNT: Final = re.compile(r"^(?P<source>.+?)(?::(?P<mount>/(?!/)[^:]*))?$")
_NAME: Final = re.compile(r"^(?P<name>[a-z0-9][a-z0-9-]{0,62})=(?P<rest>.+)$")
_ENV_SECRET: Final = re.compile(
    r"^(?P<name>[A-Za-z_][A-Za-z0-9_]*)=(?P<source>[a-z0-9][a-z0-9.-]*:[-._a-zA-Z0-9]+)$"
)
_S3: Final = re.compile(r"^s3://(?P<bucket>[^/]*)/(?P<key>.*)$")


@dataclass(frozen=True)
class InputSource:
    """The source of an input, and its mount path."""

    name: str
    mount: str
    bucket: str = ""  # "" is the operator's bucket
    key: str = ""  # a prefix ends with a slash
    path: Path | None = None  # a local file or folder, instead of S3

    def to_spec(self) -> Json:
        """The item of spec.inputs for an input in S3."""
        where: Json = {"bucket": self.bucket} if self.bucket else {}
        where |= {"prefix" if self.key.endswith("/") else "key": self.key}
        return {"name": self.name, "s3": where, "mountPath": self.mount}


@dataclass(frozen=True)
class RunRequest:
    """The code to run and its options."""

    inline: str | None = None
    folder: Path | None = None  # code with main.py, instead of inline
    inputs: tuple[InputSource, ...] = ()
    args: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    env_secrets: dict[str, str] = field(default_factory=dict)
    memory: str | None = None
    cpu: str | None = None
    timeout_seconds: int | None = None
    image: str | None = None
    pool: str | None = None
    request_id: str | None = None
    name: str = "run"
    keep: bool = False

    def to_job(self, archive: "Uploaded | None", inputs: Sequence[Json]) -> Json:
        """The manifest of the job.

        Args:
            archive: the uploaded folder.
            inputs: the items of spec.inputs.

        Raises:
            InvalidRequest: a field is invalid; the message names it.
        """
        from nanogrid.client.jobs.manifest import build_job

        return build_job(
            self.inline,
            archive=archive,
            name=self.name,
            args=self.args or None,
            env=self.env,
            env_secrets=self.env_secrets,
            image=self.image,
            pool=self.pool,
            memory=self.memory,
            cpu=self.cpu,
            timeout=self.timeout_seconds,
            request_id=self.request_id,
            ttl_seconds=None if self.keep else RUN_TTL_SECONDS,
            keep=self.keep,
            spec={"inputs": list(inputs)} if inputs else None,
        )


def unique_name(stem: str) -> str:
    """A unique job name, made from the name of a file or folder."""
    clean = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")[:40].strip("-") or "run"
    return f"{clean}-{secrets.token_hex(3)}"


def read_code(
    file: str | None, text: str | None, stdin: str
) -> tuple[str | None, Path | None, str]:
    """Read the code: returns its text or its folder, and a stem for the job's name.

    Args:
        file: a path, "-" for ``stdin``, or None.
        text: the code of -c, or None.
        stdin: the code for "-".

    Raises:
        UsageError: none or both are set, or the path contains no code.
        InvalidRequest: it is another kind of file.
    """
    from nanogrid.client import source_file

    if (file is None) == (text is None):
        hint = "nanogrid run FILE.py | FOLDER | -   or   nanogrid run -c 'print(1)'"
        raise UsageError("exactly one of FILE, FOLDER, - and -c is required", hint)
    if text is not None:
        return _checked(text, source_file.INLINE), None, "run"
    if file == "-":
        return _checked(stdin, source_file.STDIN), None, "run"
    path = Path(str(file))
    if path.is_dir():
        if not _has_entry_point(path):
            hint = f"Put {names.ENTRYPOINT} at its top level or into its only folder."
            raise UsageError(f"{path} has no {names.ENTRYPOINT}", hint)
        return None, path, path.resolve().name
    if not path.exists():
        raise UsageError(f"no file {path}", "Use the path of a Python file or a folder.")
    if not path.is_file():
        kind = kind_of(path.stat().st_mode)
        raise UsageError(f"{path} is {kind}", "Use a regular file, or - for standard input.")
    source_file.refuse_other_kind(path)
    return _checked(_text(path), path), None, path.stem


def _has_entry_point(folder: Path) -> bool:
    """Whether the job finds main.py in a folder, by the rule of the job."""
    from nanogrid import archive
    from nanogrid.client.local_files import members

    files = [member.name for member in members(folder) if not member.is_dir]
    entry = archive.entry_point_of(["python3", names.ENTRYPOINT])
    return archive.folder_of(files, entry) is not None


def decoded(content: bytes, what: str) -> str:
    """The text of code, in the encoding that it declares.

    Raises:
        UsageError: it is not in that encoding.
    """
    try:
        return source_encoding.decode(content)
    except source_encoding.EncodingError as error:
        hint = "Save it as UTF-8, or declare its encoding: # -*- coding: NAME -*-"
        raise UsageError(f"{what}: {error}", hint) from None


def _text(path: Path) -> str:
    return decoded(path.read_bytes(), str(path))


def _checked(text: str, what: Path | str) -> str:
    """The text of code from a file, or from what it is called."""
    from nanogrid.client import source_file

    if not text.strip():
        raise UsageError(f"{what} is empty", "Provide Python code.")
    source_file.refuse_other_text(text, what)
    try:
        source_encoding.encode(text)
    except source_encoding.EncodingError as error:
        raise UsageError(f"{what}: {error}", source_encoding.HINT) from None
    size = len(text.encode())
    if size > INLINE_BYTES:
        hint = f"Save it as {names.ENTRYPOINT} in a folder and run the folder."
        raise UsageError(f"{what} has {size} bytes; the limit is {INLINE_BYTES}", hint)
    return text


def parse_inputs(texts: Sequence[str]) -> tuple[InputSource, ...]:
    """Parse ``[NAME=]s3://BUCKET/PREFIX/[:/app/DIR]`` or ``[NAME=]PATH[:/app/DIR]``.

    With a slash at the end it is a prefix: everything below it is copied. Without it is a key, as
    in the Python client. ``s3:///KEY`` is in the operator's own bucket.

    Raises:
        UsageError: a text has another form, or two inputs have the same name.
    """
    inputs = tuple(_input(text, number) for number, text in enumerate(texts, 1))
    counts = Counter(one.name for one in inputs)
    for name, count in counts.items():
        if count > 1:
            raise UsageError(
                f"{count} inputs have the name {name}", "Use a different name for each --input."
            )
    return inputs


def _input(text: str, number: int) -> InputSource:
    named = _NAME.match(text)
    name, rest = (named["name"], named["rest"]) if named else (f"input-{number}", text)
    parts = _MOUNT.match(rest)
    source = parts["source"] if parts else ""
    mount = (parts["mount"] if parts else None) or names.DEFAULT_DATA_PATH
    usage = "--input NAME=s3://BUCKET/PREFIX/:/app/data, or --input NAME=./FOLDER:/app/data"
    if not mount.startswith(f"{names.WORKSPACE}/") or ".." in mount.split("/"):
        hint = f"Mount it below {names.WORKSPACE}, the code's directory: {usage}"
        raise UsageError(f"input {text!r}: cannot mount at {mount}", hint)
    if source.startswith("s3:"):
        s3 = _S3.match(source)
        if s3 is None or not s3["key"].strip("/"):
            message = f"input {text!r} names no key or folder: a whole bucket cannot be an input"
            raise UsageError(message, usage)
        return InputSource(name, mount, bucket=s3["bucket"], key=s3["key"])
    path = Path(source)
    if not path.exists():
        raise UsageError(f"input {text!r}: no file or folder {source}", usage)
    return InputSource(name, mount, path=path)


def parse_env(texts: Sequence[str]) -> dict[str, str]:
    """Parse ``NAME=VALUE``, or ``NAME`` to copy the local value.

    Raises:
        UsageError: a name is invalid, or the local variable is not set.
    """
    variables: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise UsageError(f"--env {text!r}: invalid variable name", "--env NAME=VALUE")
        if not equals and name not in os.environ:
            raise UsageError(f"--env {name}: not set in this environment", f"--env {name}=VALUE")
        variables[name] = value if equals else os.environ[name]
    return variables


def parse_env_secrets(texts: Sequence[str]) -> dict[str, str]:
    """Parse ``NAME=SECRET:KEY``; returns ``SECRET:KEY`` by name.

    Raises:
        UsageError: a text has another form.
    """
    found: dict[str, str] = {}
    for text in texts:
        match = _ENV_SECRET.match(text)
        if match is None:
            hint = "--env-secret DB_PASSWORD=database:password"
            raise UsageError(f"--env-secret {text!r}: not NAME=SECRET:KEY", hint)
        found[match["name"]] = match["source"]
    return found


def duration_option(flag: str, text: str | None) -> int | None:
    """The seconds of an option such as ``--timeout 5m``; None if it is not set.

    Raises:
        UsageError: the text is not a duration.
    """
    try:
        return None if text is None else parse_duration(text)
    except ValueError as error:
        raise UsageError(f"{flag}: {error}", DURATION_HINT) from None
