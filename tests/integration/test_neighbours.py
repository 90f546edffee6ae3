"""What the kernel counts per user ID: a neighbour with another one is not affected."""

import itertools
import json
import os
import subprocess
from collections.abc import Iterator

import pytest

from support.neighbours import EXHAUST, USE

pytestmark = [
    pytest.mark.security,
    pytest.mark.integration,
    pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become other users"),
]

SYSTEM_PYTHON = "/usr/bin/python3"
PROCESSES = 200
NEIGHBOUR = 2_000_000_000
# A new one for each test: the kernel frees the keys of an ended process only after some time.
GREEDY = itertools.count(NEIGHBOUR + 1)
EXHAUSTED = {
    "inotify": "EMFILE",
    "pipes": "EPERM",
    "queues": "EMFILE",
    "keys": "EDQUOT",
    "threads": "EAGAIN",
}


def as_user(uid: int, code: str) -> "subprocess.Popen[str]":
    """Run Python code as a user, with the launcher's limit of processes."""
    drop = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--no-new-privs"]
    command = ["prlimit", f"--nproc={PROCESSES}", "--", *drop, SYSTEM_PYTHON, "-c", code]
    return subprocess.Popen(command, cwd="/", stdout=subprocess.PIPE, text=True)


def answers(process: "subprocess.Popen[str]") -> dict[str, str]:
    assert process.stdout is not None
    found: dict[str, str] = json.loads(process.stdout.readline())
    return found


@pytest.fixture
def greedy() -> Iterator[int]:
    """The ID of a user that holds all it can get."""
    uid = next(GREEDY)
    process = as_user(uid, EXHAUST)
    try:
        assert answers(process) == EXHAUSTED
        yield uid
    finally:
        process.kill()
        process.communicate()


def used_by(uid: int) -> dict[str, str]:
    process = as_user(uid, USE)
    found = answers(process)
    process.communicate()
    return found


@pytest.mark.usefixtures("greedy")
def test_another_user_is_not_affected() -> None:
    assert set(used_by(NEIGHBOUR).values()) == {"ok"}


def test_the_same_user_would_be(greedy: int) -> None:
    assert used_by(greedy) == EXHAUSTED
