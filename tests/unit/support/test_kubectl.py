"""kubectl as tests call it: it may wait as long as it was asked to."""

import subprocess
from pathlib import Path

import pytest

from support.kubectl import kubectl


@pytest.fixture
def slow_kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kubectl that answers after a moment."""
    program = tmp_path / "kubectl"
    program.write_text("#!/bin/sh\nsleep 0.5\necho waited\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")


@pytest.mark.usefixtures("slow_kubectl")
def test_a_wait_of_kubectl_itself_is_not_cut_off() -> None:
    assert kubectl("wait", "ej/a", "--timeout=30s", timeout=0.05) == "waited\n"


@pytest.mark.usefixtures("slow_kubectl")
def test_a_kubectl_that_hangs_is_ended() -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        kubectl("get", "ej", timeout=0.05)
