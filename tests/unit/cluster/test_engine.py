"""Our own Docker engine: the process in a pid file, and what the runc wrapper removes."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import dockerd, machine
from cluster.commands import mounts_below
from cluster.paths import Paths
from cluster.runtime import nores_runc


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "30"])
    # exec closes the pipe that Popen waits for shortly before the kernel shows the command line.
    while not Path(f"/proc/{process.pid}/cmdline").read_bytes():
        time.sleep(0.001)
    yield process
    process.kill()
    process.wait()


def test_pid_file_of_another_process_is_not_ours(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    here = Paths(tmp_path, "test")
    here.docker.mkdir()
    (here.docker / "docker.pid").write_text(str(sleeper.pid))
    assert dockerd.own_pid(here) is None
    assert sleeper.poll() is None


def test_pid_file_is_valid_if_program_and_argument_match(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    file = tmp_path / "pid"
    file.write_text(f"{sleeper.pid}\n")
    assert dockerd.verified(file, "sleep", "30") == sleeper.pid
    assert dockerd.verified(file, "sleep", "31") is None
    assert dockerd.verified(file, "dockerd", "30") is None


def test_process_counts_as_ended_once_it_is_a_zombie(sleeper: subprocess.Popen[bytes]) -> None:
    assert not dockerd.ended(sleeper.pid)
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert dockerd.ended(sleeper.pid)
    sleeper.wait()
    assert dockerd.ended(sleeper.pid)


@pytest.mark.parametrize("content", ["", "nonsense", "4194999"])
def test_pid_file_without_a_process(tmp_path: Path, content: str) -> None:
    file = tmp_path / "pid"
    file.write_text(content)
    assert dockerd.verified(file, "sleep", "30") is None
    assert dockerd.verified(tmp_path / "absent", "sleep", "30") is None


def test_wrapper_removes_one_capability_and_negative_oom_scores() -> None:
    process = {
        "capabilities": {
            "bounding": ["CAP_CHOWN", "CAP_SYS_RESOURCE"],
            "effective": ["CAP_SYS_RESOURCE"],
            "ambient": [],
        },
        "oomScoreAdj": -998,
    }
    nores_runc.reduce_process(process)
    assert process == {
        "capabilities": {"bounding": ["CAP_CHOWN"], "effective": [], "ambient": []},
        "oomScoreAdj": 0,
    }


def test_wrapper_changes_nothing_else() -> None:
    process = {"args": ["true"], "oomScoreAdj": 500}
    nores_runc.reduce_process(process)
    assert process == {"args": ["true"], "oomScoreAdj": 500}


def test_wrapper_rewrites_the_given_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"process": {"oomScoreAdj": -5}, "hostname": "h"}))
    started: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda path, args: started.append(args))
    args = ["--root", "/r", "create", "--bundle", str(tmp_path), "id"]
    nores_runc.main(args)
    assert json.loads(config.read_text()) == {"process": {"oomScoreAdj": 0}, "hostname": "h"}
    assert started == [[nores_runc.RUNC, *args]]


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["exec", "--process", "/p", "id"], "/p"),
        (["exec", "--process=/p", "id"], "/p"),
        (["exec", "-p", "/p", "id"], "/p"),
        (["exec", "id", "true"], None),
    ],
)
def test_wrapper_reads_runc_options(args: list[str], expected: str | None) -> None:
    assert nores_runc.value_of(args, "--process", "-p") == expected


@pytest.mark.parametrize(("bounding", "missing"), [("000001fffeffffff", True), ("01ffffff", False)])
def test_capability_is_read_from_the_bounding_set(
    tmp_path: Path, bounding: str, missing: bool
) -> None:
    status = tmp_path / "status"
    status.write_text(f"Name:\tx\nCapEff:\t0000000000000000\nCapBnd:\t{bounding}\n")
    assert machine.capability_missing(machine.CAP_SYS_RESOURCE, status) is missing


def test_inotify_limits_are_raised_and_never_lowered(tmp_path: Path) -> None:
    (tmp_path / "max_user_instances").write_text("128\n")
    (tmp_path / "max_user_watches").write_text("999999\n")
    machine.raise_inotify_limits(tmp_path)
    assert (tmp_path / "max_user_instances").read_text() == "512"
    assert (tmp_path / "max_user_watches").read_text() == "999999\n"


def test_mtu_comes_from_the_default_route(tmp_path: Path) -> None:
    routes = tmp_path / "route"
    header = "Iface\tDestination\tGateway\n"
    (tmp_path / "net" / "eth9").mkdir(parents=True)
    (tmp_path / "net" / "eth9" / "mtu").write_text("1400\n")
    routes.write_text(f"{header}eth1\t000011AC\t0\neth9\t00000000\t0100000A\n")
    assert dockerd.outgoing_mtu(routes, tmp_path / "net") == 1400
    routes.write_text(header)
    assert dockerd.outgoing_mtu(routes, tmp_path / "net") == 1500


def test_mounts_below_the_cache_are_listed_innermost_first(tmp_path: Path) -> None:
    table = tmp_path / "mounts"
    table.write_text("overlay /c/a overlay rw 0 0\nnsfs /c/a/b nsfs rw 0 0\next4 /cc ext4 rw 0 0\n")
    assert mounts_below(Path("/c"), table) == ["/c/a/b", "/c/a"]
    assert mounts_below(Path("/c"), tmp_path / "absent") == []
