"""``session cp``: files and folders to and from a session, as ``kubectl cp`` copies them."""

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Final

import typer

from nanogrid.cli.app.command import CommandContext
from nanogrid.cli.app.errors import CliError, UsageError
from nanogrid.cli.app.output import note
from nanogrid.plurals import counted
from nanogrid.visible_text import printable

if TYPE_CHECKING:
    from nanogrid.client.sessions.files import Files

EXAMPLE: Final = "nanogrid session cp ./sales.csv analysis:data/"
WORKSPACE: Final = "/app"
READY_SECONDS: Final = 300.0
# A local path with a colon has a slash before it: ./a:b.
_REMOTE: Final = re.compile(r"([a-z0-9](?:[-a-z0-9.]*[a-z0-9])?):(.*)", re.DOTALL)


@dataclass(frozen=True)
class Remote:
    """A path in the workspace of a session; ``path`` is relative, without a slash at its ends."""

    session: str
    path: str
    into: bool  # it is a folder in which the source keeps its name

    def of(self, name: str) -> str:
        """The path for a source of this name."""
        return "/".join(filter(None, (self.path, name))) if self.into else self.path


def parse_remote(text: str) -> Remote | None:
    """SESSION:PATH; None for a local path.

    Raises:
        UsageError: the path is not below /app.
    """
    found = _REMOTE.fullmatch(text)
    if found is None:
        return None
    session, path = found[1], found[2]
    if path.startswith("/") and path != WORKSPACE and not path.startswith(f"{WORKSPACE}/"):
        raise UsageError(f"{path} is not below {WORKSPACE}", f"Use a path relative to {WORKSPACE}.")
    inner = path.removeprefix(WORKSPACE) if path.startswith("/") else path
    parts = [part for part in inner.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise UsageError(f"{path} contains '..'", f"Use a path relative to {WORKSPACE}.")
    into = not parts or path.endswith(("/", "/."))
    return Remote(session, "/".join(parts), into)


def local_files(source: Path) -> list[tuple[Path, str]]:
    """The files of a local file or folder, with their names relative to it ("" for a file).

    Raises:
        InvalidRequest: there is a link, or something that is no file.
    """
    from nanogrid.client.local_files import members, open_file

    if not source.is_dir():
        if source.is_symlink():
            raise UsageError(f"{source} is a symbolic link", "Copy the file that it leads to.")
        open_file(source).close()
        return [(source, "")]
    found = members(source)
    for one in found:
        if one.is_dir:
            note(f"{one.name}/ is empty and is not copied")
    return [(one.path, one.name) for one in found if not one.is_dir]


def cp(
    ctx: CommandContext,
    source: Annotated[str, typer.Argument(help="A local path, or SESSION:PATH.")],
    target: Annotated[str, typer.Argument(help="A local path, or SESSION:PATH.")],
) -> None:
    """Copy files and folders to or from a session. PATH is relative to /app.

    A target with a slash at its end is a folder, in which the source keeps its name.
    """
    remote_source, remote_target = parse_remote(source), parse_remote(target)
    if (remote_source is None) == (remote_target is None):
        raise UsageError("exactly one of SOURCE and TARGET is SESSION:PATH", EXAMPLE)
    remote = remote_source or remote_target
    assert remote is not None  # noqa: S101 one of them is set
    # All local files are checked before the first is copied.
    found = [] if remote_source else local_files(Path(source))
    session = ctx.client().attach(remote.session, ready_timeout=READY_SECONDS)
    try:
        if remote_source is None:
            count = upload(session.files, found, remote.of(Path(source).resolve().name))
        else:
            count = download(session.files, remote_source, target)
    finally:
        session.close()
    note(f"copied {counted(count, 'file')}")


def upload(files: "Files", found: list[tuple[Path, str]], target: str) -> int:
    """Copy local files below a path of the workspace; returns their number."""
    for path, name in found:
        files.write("/".join(filter(None, (target, name))), path)
    return len(found)


def download(files: "Files", source: Remote, target: str) -> int:
    """Copy a file or a folder of the workspace; returns the number of files."""
    from nanogrid.client.downloads import inside
    from nanogrid.client.errors import Conflict

    local = Path(target)
    name = PurePosixPath(source.path).name or source.session
    if local.is_dir() or target.endswith("/"):
        local = local / name
    if source.path:
        try:
            files.download(source.path, local)
        except Conflict:
            pass  # it is a folder; otherwise the list says what it is
        else:
            return 1
    count = 0
    local.mkdir(parents=True, exist_ok=True)
    for one in files.all(source.path):
        below = one.path[len(source.path) :].lstrip("/")
        path = inside(local, below)
        if one.type == "directory":
            path.mkdir(parents=True, exist_ok=True)
        elif one.type != "file":
            note(f"{printable(one.path)} is a {one.type} and is not copied")
        elif path.is_dir():
            raise CliError(f"{path} is a folder here and a file in the session", "Remove it.")
        else:
            files.download(one.path, path)
            count += 1
    return count
