"""Which files are Python source. Any other text fails in the sandbox, far from its cause. Pure.

A manifest is almost Python: its lines are annotations of variables. So the name of a file decides
where it names a kind, and otherwise the text does.
"""

import ast
import json
import re
import shlex
import warnings
from collections.abc import Mapping
from pathlib import PurePath, PurePosixPath
from typing import Final, NoReturn

from nanogrid.client.errors import InvalidRequest
from nanogrid.visible_text import printable

SUFFIXES: Final = frozenset({".py", ".pyw"})
STDIN: Final = "the standard input"
INLINE: Final = "the code"
PARSED_CHARACTERS: Final = 1 << 20  # to parse data takes memory; no program is that long
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
        for suffix in (
            ".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".whl", ".pyz",
        )
    },
    **{
        suffix: ("source of another language", *_SHELL[1:])
        for suffix in (
            ".js", ".mjs", ".ts", ".rb", ".pl", ".php", ".lua", ".r", ".jl", ".go", ".rs", ".java",
            ".c", ".cc", ".cpp", ".sql",
        )
    },
}  # fmt: skip
_RENAME: Final = "If it is Python, give it a name that ends in .py."
_PLAIN_NAMES: Final = frozenset({"dockerfile", "containerfile", "makefile"})
# In the first line of a script. A runner reads from the script which Python it needs.
_PYTHONS: Final = ("python", "pypy", "ipython")
_RUNNERS: Final = frozenset({
    "uv", "uvx", "pipx", "hatch", "poetry", "pdm", "rye", "pixi", "nix-shell", "conda", "mamba",
    "micromamba",
})  # fmt: skip
_SHELLS: Final = frozenset(
    {"sh", "ash", "bash", "dash", "ksh", "mksh", "zsh", "csh", "tcsh", "fish"}
)
_OTHERS: Final = frozenset({
    "awk", "bun", "deno", "gawk", "julia", "lua", "make", "node", "perl", "php", "pwsh", "ruby",
    "Rscript", "sed", "tclsh",
})  # fmt: skip
# Installers write it where the path of Python is too long for the first line.
_STARTS_PYTHON: Final = re.compile(r"^['\"]+exec\b.*python", re.MULTILINE)
_FIRST: Final = re.compile(r"['\"]?(apiVersion|kind|metadata|spec|status)['\"]?:(?:\s|$)")
_FIELD: Final = r"^['\"]?{}['\"]?:(?:\s|$)"
_BEFORE: Final = ("#", "---", "%")  # lines before a document of YAML
# A table or a list of names is Python, too, but does nothing.
_ACTS: Final = (
    ast.Assign, ast.AugAssign, ast.Call, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef,
    ast.Import, ast.ImportFrom, ast.NamedExpr, ast.Raise,
)  # fmt: skip


def refuse_other_kind(path: PurePath) -> None:
    """Do nothing for a name of a Python file, or for a name that says nothing.

    Raises:
        InvalidRequest: the name is that of another kind of file.
    """
    if path.name.lower() in _PLAIN_NAMES:
        _refuse(path, "is not a Python file", _RENAME, _RENAME)
    if kind := _KINDS.get(path.suffix.lower()):
        _refuse(path, f"is {kind[0]}, not Python", *kind[1:])


def refuse_other_text(text: str, source: PurePath | str) -> None:
    """Do nothing for text that can be Python.

    Args:
        text: what is to run.
        source: its file, whose name may say that it is Python; STDIN or INLINE.

    Raises:
        InvalidRequest: it is a manifest, a script of another program, or, in a file with an unknown
            suffix, no program.
    """
    suffix = source.suffix.lower() if isinstance(source, PurePath) else ""
    if suffix in SUFFIXES:
        return
    if _is_manifest(text):
        _refuse(source, "is a manifest, not Python", *_MANIFEST)
    first = text.partition("\n")[0].rstrip()
    if first.startswith("#!"):
        if fault := _interpreter_fault(first, text):
            shown = f"begins with {printable(first[:80])}: {fault}, not Python"
            _refuse(source, shown, *_SHELL[1:])
    elif suffix and not _is_program(text):
        _refuse(source, "is not a Python file", _RENAME, _RENAME)


def _interpreter_fault(first: str, text: str) -> str:
    """What a script is that another program runs; empty if Python may run it."""
    programs = {PurePosixPath(part).name for part in first[2:].split()}
    if programs & _RUNNERS or any(one.startswith(_PYTHONS) for one in programs):
        return ""
    if programs & _SHELLS:
        return "" if _STARTS_PYTHON.search(text) else "a shell script"
    return "a script" if programs & _OTHERS or not _is_program(text) else ""


def _is_manifest(text: str) -> bool:
    keys = ("apiVersion", "kind")
    if text.lstrip().startswith("{"):
        try:
            found = json.loads(text)
        except ValueError:
            return False
        return isinstance(found, dict) and set(keys) <= set(found)
    # A program may contain a manifest. A manifest begins as one.
    lines = (line for line in text.lstrip("\ufeff").splitlines() if line.strip())
    first = next((line for line in lines if not line.startswith(_BEFORE)), "")
    if not _FIRST.match(first):
        return False
    return all(re.search(_FIELD.format(key), text, re.MULTILINE) for key in keys)


def _is_program(text: str) -> bool:
    """Whether text is Python of this version that does something."""
    if len(text) > PARSED_CHARACTERS:
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the code; whoever runs it sees them
            found = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(isinstance(node, _ACTS) for node in ast.walk(found))


def _refuse(source: PurePath | str, fault: str, hint: str, command: str) -> NoReturn:
    shown = printable(str(source))
    if isinstance(source, PurePath):
        path = shlex.quote(shown)
    else:
        path = "-" if source == STDIN else "FILE"
    raise InvalidRequest(f"{shown} {fault}.", hint.format(path=path), command.format(path=path))
