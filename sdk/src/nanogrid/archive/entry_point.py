"""Which file of the code a command runs, and where that file is among the files of an archive."""

import posixpath
import re
from collections.abc import Collection
from typing import Final

from nanogrid import names

RESOURCE_FORKS: Final = "__MACOSX/"  # the Finder of macOS adds it next to the real folder
_INTERPRETER: Final = re.compile(r"(python|pypy)[\d.]*|sh|bash|dash|node|ruby|perl|Rscript")
_WITH_VALUE: Final = ("-W", "-X")  # options of Python whose value is the next argument
_NOT_A_FILE: Final = ("-c", "-m", "-e", "-", "-s")


def script_of(command: list[str]) -> str | None:
    """The script of the workspace that a command runs; None when it names none.

    Absolute paths below the workspace count; other absolute paths belong to the image.
    """
    if _INTERPRETER.fullmatch(posixpath.basename(command[0])):
        script = _first_file(command[1:])
    else:
        script = command[0] if "/" in command[0] else None  # without a slash PATH is searched
    if script is None:
        return None
    path = posixpath.normpath(posixpath.join(names.WORKSPACE, script))
    top = f"{names.WORKSPACE}/"
    return path.removeprefix(top) if path.startswith(top) else None


def _first_file(arguments: list[str]) -> str | None:
    skip = False
    for argument in arguments:
        if skip:
            skip = False
        elif argument in _NOT_A_FILE:
            return None
        elif argument in _WITH_VALUE:
            skip = True
        elif not argument.startswith("-"):
            return argument
    return None


def has_script(files: Collection[str], script: str) -> bool:
    """Whether a script is among files; Python also runs a folder that holds a __main__.py."""
    return script in files or f"{script}/__main__.py" in files


def folder_of(files: Collection[str], script: str) -> str | None:
    """The folder that holds a script: "" is the top level; None when the script is missing.

    Besides the top level only a folder that holds all files counts.
    """
    if has_script(files, script):
        return ""
    tops = {path.partition("/")[0] for path in files if not path.startswith(RESOURCE_FORKS)}
    folder = tops.pop() if len(tops) == 1 else ""
    return folder if folder and has_script(files, f"{folder}/{script}") else None
