"""Peak memory and CPU time from samples, the kernel's word on processes, and the cgroup's."""

import os
from pathlib import Path

import pytest

from nanogrid_executor import gauge, measure
from nanogrid_executor.gauge import FEW_SAMPLES, Gauge
from nanogrid_executor.measure import Memory

MEGABYTE = 1 << 20
V1_STAT = "cache 9\ntotal_cache 400\ntotal_rss {rss}\ntotal_shmem 50\n"
V2_STAT = "anon {rss}\nfile 400\nshmem 50\n"


@pytest.mark.parametrize(
    ("source", "text", "resident"),
    [
        ("cgroup-v1", V1_STAT.format(rss=100), 150),
        ("cgroup-v2", V2_STAT.format(rss=100), 150),
        ("cgroup-v1", "rss 5\n", None),
        ("cgroup-v1", "total_rss 5\n", 5),
        ("rusage", V1_STAT.format(rss=100), None),
    ],
)
def test_resident(source: str, text: str, resident: int | None) -> None:
    assert measure.parse_resident(text, source) == resident


class Box:
    """A made-up cgroup."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.set(rss=10 * MEGABYTE, peak=12 * MEGABYTE, cpu=1.0)

    def set(self, *, rss: int, peak: int, cpu: float = 1.0, kills: int = 0) -> None:
        (self.folder / "memory.stat").write_text(V2_STAT.format(rss=rss))
        (self.folder / "memory.peak").write_text(f"{peak}\n")
        (self.folder / "memory.events").write_text(f"oom_kill {kills}\n")
        (self.folder / "cpu.stat").write_text(f"usage_usec {int(cpu * 1e6)}\n")


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Box:
    cgroup = measure.Cgroup("cgroup-v2", str(tmp_path), str(tmp_path))
    monkeypatch.setattr(measure, "locate", lambda: cgroup)
    monkeypatch.setattr(gauge, "FIRST_SECONDS", 0.0)
    return Box(tmp_path)


def test_samples_lack_the_launcher_and_page_cache(box: Box) -> None:
    watched = Gauge()
    box.set(rss=110 * MEGABYTE, peak=500 * MEGABYTE)
    watched.sample(0)
    box.set(rss=10 * MEGABYTE, peak=500 * MEGABYTE)
    assert watched.peak(0, watched.after()) == 100 * MEGABYTE
    watched.close()


def test_a_spike_between_samples_is_seen_by_the_kernel(box: Box) -> None:
    watched = Gauge()
    rss = watched._own_rss + 200 * MEGABYTE
    assert watched.peak(rss, Memory("cgroup-v2", 10**10, 0)) == rss
    assert watched.peak(rss, Memory("cgroup-v2", 100, 0)) == 100, "never above the cgroup's peak"
    watched._mapped = 5 * MEGABYTE
    assert watched.peak(rss, Memory("cgroup-v2", 10**10, 0)) == rss - 5 * MEGABYTE
    watched.close()


def test_a_maximum_that_is_our_own_says_nothing(box: Box) -> None:
    watched = Gauge()
    watched._most, watched._samples = MEGABYTE, FEW_SAMPLES + 1
    assert watched.peak(watched._own_rss, watched.after()) == MEGABYTE
    watched.close()


def test_of_a_program_too_short_to_look_at_it_is_the_best_there_is(box: Box) -> None:
    watched = Gauge()
    watched._most, watched._samples = 8192, FEW_SAMPLES
    assert watched.peak(9 * MEGABYTE, Memory("cgroup-v2", 10**10, 0)) == 9 * MEGABYTE
    watched.close()


def test_after_an_oom_kill_the_peak_is_the_limit(box: Box) -> None:
    watched = Gauge()
    box.set(rss=10 * MEGABYTE, peak=256 * MEGABYTE, kills=1)
    assert watched.peak(0, watched.after()) == 256 * MEGABYTE
    watched.close()


def test_cpu_of_children_that_nobody_waited_for(box: Box) -> None:
    watched = Gauge()
    box.set(rss=0, peak=0, cpu=6.0)
    assert watched.cpu_seconds(2.0) == pytest.approx(5.0, abs=0.5)
    assert watched.cpu_seconds(9.0) == 9.0
    watched.close()


def test_without_a_cgroup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "locate", lambda: measure.Cgroup("rusage", "", ""))
    watched = Gauge()
    assert watched.cpu_seconds(2.0) == 2.0
    rss = watched._own_rss + MEGABYTE
    assert watched.peak(rss, watched.after()) == rss
    assert watched.peak(5, watched.after()) == 5
    watched.close()


def test_samples_become_rarer(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gauge, "FIRST_SECONDS", 0.01)
    watched = Gauge()
    for _ in range(20):
        watched._next = 0.0
        watched.sample(os.getpid())
    assert watched._interval == gauge.LONGEST_SECONDS
    assert 0 < watched.patience() <= gauge.LONGEST_SECONDS
    assert watched._mapped > 0
    watched.close()
