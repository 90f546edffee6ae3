"""The output directory. Most jobs leave it empty, and need no other module of this folder."""

import os
from typing import Final

DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_directory(workspace: str, path: str) -> int:
    """Open a directory below the workspace without following a link on the way."""
    current = os.open(workspace, DIRECTORY)
    for part in os.path.normpath(path).split("/"):
        try:
            current, parent = os.open(part, DIRECTORY, dir_fd=current), current
        except OSError:
            os.close(current)
            raise
        os.close(parent)
    return current


def is_empty(workspace: str, path: str) -> bool:
    """Whether a directory below the workspace has no entry; False if it cannot be read."""
    try:
        directory = open_directory(workspace, path)
        try:
            with os.scandir(directory) as entries:
                return next(entries, None) is None
        finally:
            os.close(directory)
    except OSError:
        return False  # the walk reports the cause
