"""Which files are Python source. Any other text fails in the sandbox, far from its cause. Pure.

A manifest is almost Python: its lines are annotations of variables. So the name of a file decides,
and where there is no name, the first lines do.
"""

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import PurePath
from typing import Final, NoReturn

from nanogrid.client.errors import InvalidRequest
from nanogrid.visible_text import printable

SUFFIXES: Final = frozenset({"", ".py", ".pyw"})
_Kind = tuple[str, str, str]  # what it is; what to do in Python; what to do in a shell
_MANIFEST: Final = (
    "For a manifest, give client.submit() its content as a dict.",
    "For a manifest: nanogrid submit -f {path}",
)
_PACKED: Final = "Unpack it, and give the folder as directory=."
_PACKED_COMMAND: Final = "Unpack it, and run the folder. Only `function upload` takes a ZIP."
_SHELL: Final = (
    "a shell script",
    "Put it into a folder with directory=, and give command=['sh', 'SCRIPT'].",
    "Call it from Python, or set spec.command in a manifest. `session exec --bash -f` runs it.",
)
_NOTEBOOK: Final = "Convert it first: jupyter nbconvert --to script {path}"
_KINDS: Final[Mapping[str, _Kind]] = {
    ".yaml": ("YAML", *_MANIFEST),
    ".yml": ("YAML", *_MANIFEST),
    ".json": ("JSON", *_MANIFEST),
    ".ipynb": ("a notebook", _NOTEBOOK, _NOTEBOOK),
    ".sh": _SHELL,
    ".bash": _SHELL,
    **{
        suffix: ("an archive", _PACKED, _PACKED_COMMAND)
        for suffix in (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".whl")
    },
}
_RENAME: Final = "If it is Python, give it a name that ends in .py."
_PLAIN_NAMES: Final = frozenset({"dockerfile", "containerfile", "makefile"})
_INTERPRETERS: Final = ("python", "pypy", "uv ")
_FIELD: Final = r"^{}:(?:\s|$)"


def refuse_other_kind(path: PurePath) -> None:
    """Do nothing for a name of a Python file, or for a name that says nothing.

    Raises:
        InvalidRequest: the name is that of another kind of file.
    """
    suffix = path.suffix.lower()
    if suffix in SUFFIXES and path.name.lower() not in _PLAIN_NAMES:
        return
    if suffix not in _KINDS:
        _refuse(str(path), "is not a Python file", _RENAME, _RENAME)
    kind, hint, command = _KINDS[suffix]
    _refuse(str(path), f"is {kind}, not Python", hint, command)


def refuse_other_text(text: str, name: str) -> None:
    """Do nothing for text that can be Python.

    Args:
        text: of a file without a suffix, of standard input, or of an argument.
        name: what the text is, for the message.

    Raises:
        InvalidRequest: it is a manifest, or a script of another program.
    """
    if _is_manifest(text):
        _refuse(name, "is a manifest, not Python", *_MANIFEST)
    first = text.partition("\n")[0].rstrip()
    if first.startswith("#!") and not any(one in first for one in _INTERPRETERS):
        kind, hint, command = _SHELL
        kind = kind if re.search(r"\b(ba|da|k|z)?sh\b", first) else "a script"
        _refuse(name, f"begins with {printable(first[:80])}: {kind}, not Python", hint, command)


def _is_manifest(text: str) -> bool:
    if text.lstrip().startswith("{"):
        try:
            found = json.loads(text)
        except ValueError:
            return False
        return isinstance(found, dict) and {"apiVersion", "kind"} <= set(found)
    keys = ("apiVersion", "kind")
    return all(re.search(_FIELD.format(key), text, re.MULTILINE) for key in keys)


def _refuse(name: str, fault: str, hint: str, command: str) -> NoReturn:
    shown = printable(name)
    quoted = shlex.quote(shown)
    raise InvalidRequest(f"{shown} {fault}.", hint.format(path=quoted), command.format(path=quoted))
