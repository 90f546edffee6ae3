"""What git knows: the state of the checkout, the commits of a release, a copy of a commit."""

import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

from scripts.release.errors import ReleaseError
from scripts.release.version import Checkout, Version

GIT_SECONDS = 120
COMMAND_SECONDS = 1800
SHOWN_LINES = 25


def run(
    command: list[str], cwd: Path, env: Mapping[str, str] | None = None, *, stderr: bool = False
) -> str:
    """Run a command and return its stdout; with ``stderr``, all of its output.

    Raises:
        ReleaseError: the command fails, with the end of its output, or is missing.
    """
    try:
        done = subprocess.run(
            command, cwd=cwd, env={**os.environ, **(env or {})}, text=True, capture_output=True,
            timeout=COMMAND_SECONDS, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        raise ReleaseError(f"there is no program {command[0]}", f"install {command[0]}") from None
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-SHOWN_LINES:])
        shown = " ".join(command[:6])
        raise ReleaseError(f"`{shown}` failed with {done.returncode}:\n{tail}", "see its output")
    return done.stdout + (done.stderr if stderr else "")


def git(root: Path, *arguments: str) -> str:
    """Run git in a checkout."""
    return run(["git", *arguments], root)


def state(root: Path) -> Checkout:
    """The state of a checkout."""
    changed = git(root, "status", "--porcelain", "--untracked-files=normal").splitlines()
    listed = git(root, "tag", "--format=%(refname:short) %(objectname) %(*objectname)")
    # An annotated tag has an object of its own; the last hash is the commit.
    tags = {fields[0]: fields[-1] for fields in map(str.split, listed.splitlines())}
    return Checkout(
        head=git(root, "rev-parse", "HEAD").strip(),
        changed=tuple(line[3:] for line in changed),
        tags=tags,
        merged=frozenset(git(root, "tag", "--merged", "HEAD").split()),
    )


def commit_time(root: Path, commit: str) -> int:
    """Seconds since 1970 of a commit: the time of all files of the release."""
    return int(git(root, "log", "-1", "--format=%ct", commit))


def commits(root: Path, head: str, since: Version | None) -> list[tuple[str, str]]:
    """Hash and subject of each commit after a release, newest first; without merges."""
    span = f"{since.tag}..{head}" if since else head
    lines = git(root, "log", "--no-merges", "--format=%H%x09%s", span).splitlines()
    return [(line.split("\t", 1)[0], line.split("\t", 1)[1]) for line in lines]


def export(root: Path, commit: str, target: Path) -> None:
    """Copy the files of a commit into a folder.

    Raises:
        ReleaseError: the commit is not in the repository.
    """
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile() as file:
        done = subprocess.run(
            ["git", "archive", "--format=tar", commit], cwd=root, stdout=file,
            stderr=subprocess.PIPE, timeout=GIT_SECONDS, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise ReleaseError(
                f"commit {commit} cannot be read: {done.stderr.decode().strip()}",
                "fetch the whole history: git fetch --unshallow --tags",
            )
        file.seek(0)
        with tarfile.open(fileobj=file) as archive:
            archive.extractall(target, filter="tar")


def uv() -> list[str]:
    """The command of uv, from this checkout."""
    return [sys.executable, str(Path(__file__).resolve().parents[1] / "uv.py")]
