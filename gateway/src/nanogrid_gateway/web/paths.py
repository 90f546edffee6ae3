"""Where the page is. The sign-in cookie is sent below ``PREFIX`` and nowhere else."""

from typing import Final
from urllib.parse import quote

PREFIX: Final = "/web"
HOME: Final = f"{PREFIX}/"
SIGN_IN: Final = f"{PREFIX}/sign-in"
STATIC: Final = f"{PREFIX}/static"


def run_path(run: str) -> str:
    """The page of a run, by its name or requestId."""
    return f"{PREFIX}/runs/{quote(run, safe='')}"


def local(target: str) -> str:
    """A target to go to after signing in, if it is one of our own pages; else the first page."""
    ours = target.startswith(HOME) and not target.startswith(f"{HOME}/")
    return target if ours and target.isprintable() and "\\" not in target else HOME


def file_path(run: str, file: str) -> str:
    """An output file of a run, as a download."""
    return f"{run_path(run)}/files/{quote(file)}"
