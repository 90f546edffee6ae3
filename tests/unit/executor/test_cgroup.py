"""Reads cgroup files of both versions; the advice that follows from them."""

from pathlib import Path

import pytest

from nanogrid.rightsizing import optimization_tip, recommended_limit
from nanogrid.sizes import MIB
from nanogrid_executor.launcher.cgroup import (
    Memory,
    locate,
    oom_killed,
    parse_bytes,
    parse_counter,
    parse_own_path,
    read_memory,
)

EVENTS = "low 0\nhigh 0\nmax 12\noom 2\noom_kill 1\noom_group_kill 0\n"
OOM_CONTROL = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        (EVENTS, "oom_kill", 1),
        (EVENTS, "oom", 2),
        (OOM_CONTROL, "oom_kill", 3),
        ("under_oom 0\n", "oom_kill", None),
        ("oom_kill x\n", "oom_kill", None),
        ("", "oom_kill", None),
    ],
)
def test_counters(text: str, key: str, value: int | None) -> None:
    assert parse_counter(text, key) == value


@pytest.mark.parametrize(
    ("text", "value"), [("4096\n", 4096), ("0", 0), ("max\n", None), ("", None), ("-1", None)]
)
def test_bytes(text: str, value: int | None) -> None:
    assert parse_bytes(text) == value


@pytest.mark.parametrize(
    ("text", "controller", "path"),
    [
        ("0::/kubepods/pod1/abc\n", "", "/kubepods/pod1/abc"),
        ("0::/\n", "", ""),
        ("4:memory:/pod1\n0::/\n", "memory", "/pod1"),
        ("3:cpu,cpuacct:/pod1\n", "cpuacct", "/pod1"),
        ("3:cpu:/pod1\n", "memory", ""),
        ("", "memory", ""),
    ],
)
def test_own_path(text: str, controller: str, path: str) -> None:
    assert parse_own_path(text, controller) == path


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


V1_FILES = {"memory/memory.max_usage_in_bytes": "200\n", "memory/memory.oom_control": OOM_CONTROL}


@pytest.mark.parametrize(
    ("files", "own", "memory"),
    [
        ({"memory.peak": "100\n", "memory.events": EVENTS}, "0::/\n", Memory("cgroup-v2", 100, 1)),
        ({"memory.peak": "100\n"}, "0::/\n", Memory("cgroup-v2", 100, None)),
        (V1_FILES, "4:memory:/on/the/node/only\n", Memory("cgroup-v1", 200, 3)),
        (
            {**V1_FILES, "memory/me/memory.max_usage_in_bytes": "50\n"},
            "4:memory:/me\n",
            Memory("cgroup-v1", 50, None),
        ),
        ({**V1_FILES, "memory/release_agent": ""}, "", Memory("rusage", None, None)),
        ({}, "", Memory("rusage", None, None)),
    ],
)
def test_sources(tmp_path: Path, files: dict[str, str], own: str, memory: Memory) -> None:
    write(tmp_path / "cgroup", files)
    write(tmp_path, {"own": own})
    cgroup = locate(str(tmp_path / "cgroup"), str(tmp_path / "own"))
    assert read_memory(cgroup) == memory


def test_only_a_larger_count_is_an_oom_kill() -> None:
    def reading(kills: int | None) -> Memory:
        return Memory("cgroup-v2", 1, kills)

    assert oom_killed(reading(1), reading(2))
    assert not oom_killed(reading(1), reading(1))
    assert not oom_killed(reading(None), reading(1))


@pytest.mark.parametrize(
    ("peak_mb", "advice"),
    [(0, 16), (2, 16), (12, 16), (13, 32), (100, 144), (200, 288), (400, 576)],
)
def test_recommended_limit(peak_mb: int, advice: int) -> None:
    assert recommended_limit(peak_mb * MIB) == advice * MIB


@pytest.mark.parametrize(
    ("limit_mb", "peak_mb", "oom", "tip"),
    [
        (256, 2, False, "limit 256Mi, used 2Mi: a limit of 16Mi is enough"),
        (256, 150, False, "limit 256Mi, used 150Mi: the limit fits."),
        (256, 240, False, "limit 256Mi, used 240Mi: close to the limit; raise it to 320Mi"),
        (16, 3, False, "limit 16Mi, used 3Mi: the limit fits."),
        (256, 256, True, "limit 256Mi, reached: the kernel killed the code; raise the limit to"),
        (None, 100, False, "no memory limit, used 100Mi: set a limit of 144Mi."),
        (None, 100, True, "The node ran out of memory"),
        (256, None, False, "Peak memory is unknown"),
    ],
)
def test_tip(limit_mb: int | None, peak_mb: int | None, oom: bool, tip: str) -> None:
    limit = None if limit_mb is None else limit_mb * MIB
    peak = None if peak_mb is None else peak_mb * MIB
    assert optimization_tip(limit, peak, oom_killed=oom).startswith(tip)
