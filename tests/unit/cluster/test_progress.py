"""Long steps print their elapsed time and progress, and nothing after their end."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from cluster.gobuild import compiled
from cluster.progress import duration, reporting
from cluster.steps import last_line, step

WAIT_SECONDS = 60


class Lines:
    """Collects printed lines; `first` is set by the first one."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self.first = threading.Event()

    def __call__(self, text: str) -> None:
        self.all.append(text)
        self.first.set()


def test_a_long_step_prints_its_time_and_progress() -> None:
    lines = Lines()
    with reporting("build it", lambda: "3 of 7", interval=0.01, output=lines):
        assert lines.first.wait(WAIT_SECONDS)
    printed = list(lines.all)
    assert printed[0].startswith("    build it: ")
    assert printed[0].endswith(" s so far, 3 of 7")
    assert "progress of build it" not in {thread.name for thread in threading.enumerate()}
    assert lines.all == printed


def test_a_step_without_progress_prints_its_time_only() -> None:
    lines = Lines()
    with reporting("load", interval=0.01, output=lines):
        assert lines.first.wait(WAIT_SECONDS)
    assert lines.all[0].endswith(" so far")


def test_a_short_step_prints_nothing_and_keeps_its_error() -> None:
    lines = Lines()
    with pytest.raises(ValueError, match="x"), reporting("load", interval=3600, output=lines):
        raise ValueError("x")
    assert lines.all == []


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.9, "59 s"), (60, "1 min 00 s"), (345, "5 min 45 s")]
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_progress_of_a_step_is_the_last_line_of_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with step("unpack", "unpack") as log:
        assert log.progress() == ""
        log.run([sys.executable, "-c", "print('Unpacking a');print('Unpacking b\\n')"], timeout=60)
        assert log.progress() == "Unpacking b"


def test_last_line_of_a_long_log(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_bytes("é".encode() * 9001 + b"\nend\n\n")
    assert last_line(file) == "end"


@pytest.mark.parametrize(
    ("log", "total", "text"),
    [
        ("$ go build -v x\n", 9, ""),
        ("$ go list x\ngo: downloading a v1\ngo: downloading b v1\n", None, "2 modules downloaded"),
        ("$ go build x\ngo: downloading a v1\nio\nk8s.io/api/core/v1\n", None, "2 packages"),
        ("$ go build x\nio\nk8s.io/api/core/v1\n", 9, "2 of at most 9 packages"),
        (
            "$ go build x\nio\n# k8s.io/api\napi.go:3:1: syntax error\n",
            9,
            "1 of at most 9 packages",
        ),
    ],
)
def test_progress_of_go(tmp_path: Path, log: str, total: int | None, text: str) -> None:
    file = tmp_path / "log"
    file.write_text(log)
    assert compiled(file, total) == text
