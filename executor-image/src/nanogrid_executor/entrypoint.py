"""Which file of the code a command runs, and where that file is in an archive. Pure."""

import posixpath
import re
from collections.abc import Collection
from typing import Final

from nanogrid import names
from nanogrid.reasons import Reason
from nanogrid_executor.archive import Archive
from nanogrid_executor.plan import SyncError

MANY: Final = 10
INTERPRETER: Final = re.compile(r"(python|pypy)[\d.]*|sh|bash|dash|node|ruby|perl|Rscript")
WITH_VALUE: Final = ("-W", "-X")  # python's options whose value is the next word
NOT_A_FILE: Final = ("-c", "-m", "-e", "-", "-s")


def script_of(command: list[str]) -> str | None:
    """The script of the workspace that a command names; None when it names none.

    Absolute paths below the workspace count, others belong to the image.
    """
    if INTERPRETER.fullmatch(posixpath.basename(command[0])):
        word = _first_argument(command[1:])
    else:
        word = command[0] if "/" in command[0] else None  # a plain word is looked up on PATH
    if word is None:
        return None
    path = posixpath.normpath(posixpath.join(names.WORKSPACE, word))
    return path[len(names.WORKSPACE) + 1 :] if path.startswith(f"{names.WORKSPACE}/") else None


def _first_argument(words: list[str]) -> str | None:
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word in NOT_A_FILE:
            return None
        elif word in WITH_VALUE:
            skip = True
        elif not word.startswith("-"):
            return word
    return None


def settle(archive: Archive, command: list[str], others: Collection[str]) -> None:
    """See that the command's script is there; look for it in a single top-level folder.

    Args:
        archive: the code; its single folder is stripped when the script is in there.
        command: what will be run.
        others: paths, relative to the workspace, that inputs put there.

    Raises:
        SyncError: the script is nowhere; the message says what is there instead.
    """
    script = script_of(command)
    files = archive.files
    if script is None or _has(files, script) or _has(others, script):
        return
    folder = archive.single_folder()
    if folder is not None and _has(files, f"{folder}/{script}"):
        archive.strip(folder)
        return
    more = f" and {len(files) - MANY} more" if len(files) > MANY else ""
    found = f"no {script} at the top level; the archive holds {', '.join(files[:MANY])}{more}"
    raise SyncError(Reason.ENTRYPOINT_NOT_FOUND, found)


def _has(files: Collection[str], script: str) -> bool:
    # Python runs a folder, too, when there is a __main__.py in it.
    return script in files or f"{script}/__main__.py" in files
