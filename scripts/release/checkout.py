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
# Settings of the user that would change the files of a release.
FIXED = ("-c", "core.autocrlf=false", "-c", "core.eol=lf", "-c", "tar.umask=0022")


def run(
    command: list[str], cwd: Path, env: Mapping[str, str] | None = None, *, stderr: bool = False
) -> str:
    """Run a command and return its stdout; with ``stderr``, all of its output.

    Raises:
        ReleaseError: the command fails, with the end of its output, or is missing.
    """
    try:
        done = subprocess.run(
            command, cwd=cwd, env={**os.environ, **(env or {})}, encoding="utf-8", errors="replace",
            capture_output=True, timeout=COMMAND_SECONDS, check=False,
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
    # Not refname:short, which is tags/v1.0.0 if there is also a branch v1.0.0.
    form = "--format=%(refname:strip=2) %(objectname) %(*objectname)"
    listed = git(root, "for-each-ref", form, "refs/tags")
    merged = git(root, "for-each-ref", form, "--merged=HEAD", "refs/tags")
    return Checkout(
        head=git(root, "rev-parse", "HEAD").strip(),
        changed=tuple(line[3:] for line in changed),
        tags=_commits_of(listed),
        merged=frozenset(_commits_of(merged)),
        shallow=git(root, "rev-parse", "--is-shallow-repository").strip() == "true",
    )


def _commits_of(listed: str) -> dict[str, str]:
    """The commits of tags: an annotated one has an object of its own before its commit."""
    return {fields[0]: fields[-1] for fields in map(str.split, listed.splitlines())}


def commit_time(root: Path, commit: str) -> int:
    """Seconds since 1970 of a commit: the time of all files of the release."""
    return int(git(root, "show", "--no-patch", "--no-show-signature", "--format=%ct", commit))


def commits(root: Path, head: str, since: Version | None) -> list[tuple[str, str]]:
    """Hash and subject of each commit after a release, newest first; without merges."""
    span = f"refs/tags/{since.tag}..{head}" if since else head
    shown = ["--no-merges", "--no-show-signature", "--format=%H%x09%s"]
    lines = git(root, "log", *shown, span).splitlines()
    return [(line.split("\t", 1)[0], line.split("\t", 1)[1]) for line in lines]


def export(root: Path, commit: str, target: Path) -> None:
    """Copy the files of a commit into a folder.

    Raises:
        ReleaseError: the commit is not in the repository.
    """
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile() as file:
        done = subprocess.run(
            ["git", *FIXED, "archive", "--format=tar", commit], cwd=root, stdout=file,
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
