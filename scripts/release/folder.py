"""The folder of a release: whether a build may empty it, and how it gets its files."""

import os
import shutil
import tempfile
from pathlib import Path

from scripts.release.contents import MANIFEST
from scripts.release.errors import ReleaseError


def check(folder: Path) -> None:
    """Refuse to empty a folder that is not one of a release.

    Raises:
        ReleaseError: it has files, and none of them is a release's manifest; or it is a link.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise ReleaseError(f"{folder} is not a folder", "name another one with --dist")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST).exists():
        raise ReleaseError(
            f"{folder} has files that are not of a release, and a build empties it",
            "name another folder with --dist, or remove this one",
        )


def replace(folder: Path, draft: Path) -> None:
    """Give a folder the files of a draft; until all are there, it keeps its own.

    Raises:
        ReleaseError: another build replaces it at the same time.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{folder.name}-", dir=folder.parent) as scratch:
        complete, former = Path(scratch) / "complete", Path(scratch) / "former"
        shutil.copytree(draft, complete)
        try:
            if folder.exists():
                os.rename(folder, former)
            os.rename(complete, folder)
        except OSError as error:
            raise ReleaseError(
                f"{folder} cannot be replaced: {error.strerror}; another build may write to it",
                "wait for the other build, or give each its own folder with --dist",
            ) from None
