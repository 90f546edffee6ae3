"""From what was typed to a job's spec: code, inputs, environment, limits. Pure but for files read.

What lies on this machine and has to be in S3 first (a folder, a large file, a local input) is named
in :class:`Wanted` as a path; who uploads it fills in the rest.
"""

import os
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nanogrid import names
from nanogrid.cli.faults import UsageFault
from nanogrid.cli.times import FORM, seconds_of

if TYPE_CHECKING:
    from nanogrid.client.manifest import Uploaded

Json = dict[str, Any]
INLINE_BYTES: Final = 64 * 1024  # of spec.code.inline
# A job made by hand goes away by itself, unless --keep says otherwise.
RUN_TTL_SECONDS: Final = 3600
_MOUNT: Final = re.compile(r"^(?P<source>.+?)(?::(?P<mount>/(?!/)[^:]*))?$")
_NAME: Final = re.compile(r"^(?P<name>[a-z0-9][a-z0-9-]{0,62})=(?P<rest>.+)$")
_S3: Final = re.compile(r"^s3://(?P<bucket>[^/]*)/(?P<key>.*)$")


@dataclass(frozen=True)
class Given:
    """An input: where it is, and where it is to be."""

    name: str
    mount: str
    bucket: str = ""  # "" is the operator's bucket
    key: str = ""  # ends in a slash for a prefix
    path: Path | None = None  # on this machine, instead of in S3

    def to_spec(self) -> Json:
        """The item of spec.inputs of an input in S3."""
        where: Json = {"bucket": self.bucket} if self.bucket else {}
        where |= {"prefix" if self.key.endswith("/") else "key": self.key}
        return {"name": self.name, "s3": where, "mountPath": self.mount}


@dataclass(frozen=True)
class Wanted:
    """What to run, as the command line says it."""

    inline: str | None = None
    folder: Path | None = None  # of code; has main.py
    inputs: tuple[Given, ...] = ()
    args: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    memory: str | None = None
    cpu: str | None = None
    timeout_seconds: int | None = None
    image: str | None = None
    request_id: str | None = None
    name: str = "run"
    keep: bool = False

    def to_job(self, archive: "Uploaded | None", inputs: Sequence[Json]) -> Json:
        """The manifest, once everything of this machine is in S3.

        Raises:
            InvalidRequest: a field is wrong; the message names it.
        """
        from nanogrid.client.manifest import build_job

        return build_job(
            self.inline,
            archive=archive,
            name=self.name,
            args=self.args or None,
            env=self.env,
            image=self.image,
            memory=self.memory,
            cpu=self.cpu,
            timeout=self.timeout_seconds,
            request_id=self.request_id,
            ttl_seconds=None if self.keep else RUN_TTL_SECONDS,
            spec={"inputs": list(inputs)} if inputs else None,
        )


def fresh_name(stem: str) -> str:
    """A name for a job, from a file's or folder's, that no other job has."""
    clean = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")[:40].strip("-") or "run"
    return f"{clean}-{secrets.token_hex(3)}"


def read_code(
    file: str | None, text: str | None, stdin: str
) -> tuple[str | None, Path | None, str]:
    """The code that was named: its text, or its folder; and a stem for the job's name.

    Args:
        file: a path, or "-" for ``stdin``; or None.
        text: what -c gave.
        stdin: text to take for "-".

    Raises:
        UsageFault: none or both are given, or the path does not hold code.
    """
    if (file is None) == (text is None):
        cure = "nanogrid run FILE.py | FOLDER | -   or   nanogrid run -c 'print(1)'"
        raise UsageFault("give exactly one of a file, a folder, - and -c", cure)
    if text is not None or file == "-":
        return _not_empty(stdin if text is None else text, "the code"), None, "run"
    path = Path(str(file))
    if path.is_dir():
        if not (path / names.ENTRYPOINT).is_file():
            cure = f"Put {names.ENTRYPOINT} at its top level; it is what runs."
            raise UsageFault(f"{path} has no {names.ENTRYPOINT}", cure)
        return None, path, path.resolve().name
    if not path.is_file():
        raise UsageFault(f"there is no file {path}", "Give the path of a Python file or a folder.")
    if path.suffix == ".zip":
        cure = f"Upload it (nanogrid upload {path} KEY) and submit a manifest with code.s3.key."
        raise UsageFault(f"{path} is an archive, not code", cure)
    return _not_empty(_text(path), str(path)), None, path.stem


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise UsageFault(f"{path} is not UTF-8 text: {error}", "Save it as UTF-8.") from None


def _not_empty(text: str, what: str) -> str:
    if not text.strip():
        raise UsageFault(f"{what} is empty", "Give Python source text.")
    size = len(text.encode())
    if size > INLINE_BYTES:
        cure = f"Put it as {names.ENTRYPOINT} into a folder and run the folder."
        raise UsageFault(f"{what} has {size} bytes, at most {INLINE_BYTES}", cure)
    return text


def parse_inputs(texts: Sequence[str]) -> tuple[Given, ...]:
    """Inputs written as ``[NAME=]s3://BUCKET/PREFIX/[:/app/DIR]`` or ``[NAME=]PATH[:/app/DIR]``.

    A key that ends in a slash, or has no suffix, is a prefix: everything below it is copied.
    ``s3:///KEY`` is in the operator's own bucket.

    Raises:
        UsageFault: one is not of this form, or two have the same name.
    """
    found = tuple(_input(text, number) for number, text in enumerate(texts, 1))
    taken = [one.name for one in found]
    for name in taken:
        if taken.count(name) > 1:
            raise UsageFault(f"two inputs are called {name}", "Give each --input its own name.")
    return found


def _input(text: str, number: int) -> Given:
    named = _NAME.match(text)
    name, rest = (named["name"], named["rest"]) if named else (f"input-{number}", text)
    parts = _MOUNT.match(rest)
    source = parts["source"] if parts else ""
    mount = (parts["mount"] if parts else None) or names.DEFAULT_DATA_PATH
    form = "--input NAME=s3://BUCKET/PREFIX/:/app/data, or --input NAME=./FOLDER:/app/data"
    if not mount.startswith(f"{names.WORKSPACE}/"):
        cure = f"Mount it below {names.WORKSPACE}, the code's directory: {form}"
        raise UsageFault(f"input {text!r} is to be mounted at {mount}", cure)
    if source.startswith("s3:"):
        s3 = _S3.match(source)
        if s3 is None or not s3["key"]:
            raise UsageFault(f"input {text!r} names no key", form)
        return Given(name, mount, bucket=s3["bucket"], key=_as_prefix(s3["key"]))
    path = Path(source)
    if not path.exists():
        raise UsageFault(f"input {text!r}: there is no file or folder {source}", form)
    return Given(name, mount, path=path)


def _as_prefix(key: str) -> str:
    last = key.rpartition("/")[2]
    return key if not last or "." in last else f"{key}/"


def parse_env(texts: Sequence[str]) -> dict[str, str]:
    """Variables written as ``NAME=VALUE``, or ``NAME`` to take ours.

    Raises:
        UsageFault: one is neither, or we have no such variable.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise UsageFault(f"--env {text!r} has no variable's name", "--env NAME=VALUE")
        if not equals and name not in os.environ:
            raise UsageFault(f"--env {name}: it is not set here", f"--env {name}=VALUE")
        found[name] = value if equals else os.environ[name]
    return found


def parse_timeout(text: str | None) -> int | None:
    """Seconds of ``--timeout``.

    Raises:
        UsageFault: it is no time.
    """
    try:
        return None if text is None else seconds_of(text)
    except ValueError as error:
        raise UsageFault(f"--timeout: {error}", FORM) from None
