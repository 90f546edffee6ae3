"""The page's paths. Browsers send the sign-in cookie only below ``PREFIX``."""

from typing import Final
from urllib.parse import quote

PREFIX: Final = "/web"
HOME: Final = f"{PREFIX}/"
SIGN_IN: Final = f"{PREFIX}/sign-in"
STATIC: Final = f"{PREFIX}/static"


def below(path: str) -> bool:
    """Whether a path belongs to the page, also if no page has it."""
    return f"{path}/".startswith(HOME)


def run_path(run: str) -> str:
    """The page of a run, by its name or requestId."""
    return f"{PREFIX}/runs/{quote(run, safe='')}"


def local(target: str) -> str:
    """The redirect target after a sign-in: ``target`` if it is below HOME; else HOME."""
    own = target.startswith(HOME) and not target.startswith(f"{HOME}/")
    return target if own and target.isprintable() and "\\" not in target else HOME


def file_path(run: str, file: str) -> str:
    """The download of a run's output file."""
    return f"{run_path(run)}/files/{quote(file)}"
