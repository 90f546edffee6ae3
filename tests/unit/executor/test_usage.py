"""Peak memory and CPU time from samples, the kernel's maximum of a process, and the cgroup."""

import os
from pathlib import Path

import pytest

from nanogrid_executor.launcher.cgroup import Cgroup, Memory, parse_resident
from nanogrid_executor.launcher.usage import (
    FEW_SAMPLES,
    FIRST_SECONDS,
    LONGEST_SECONDS,
    Samples,
    SampleSchedule,
    UsageSampler,
    mapped_bytes,
    own_max_rss,
)
from support.fake_clock import FakeClock

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
    assert parse_resident(text, source) == resident


class FakeCgroup:
    """Files of a cgroup v2, and a clock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = FakeClock()
        self.set(rss=10 * MEGABYTE, peak=12 * MEGABYTE, cpu=1.0)

    def set(self, *, rss: int, peak: int, cpu: float = 1.0, kills: int = 0) -> None:
        (self.folder / "memory.stat").write_text(V2_STAT.format(rss=rss))
        (self.folder / "memory.peak").write_text(f"{peak}\n")
        (self.folder / "memory.events").write_text(f"oom_kill {kills}\n")
        (self.folder / "cpu.stat").write_text(f"usage_usec {int(cpu * 1e6)}\n")

    def sampler(self) -> UsageSampler:
        return UsageSampler(Cgroup("cgroup-v2", str(self.folder), str(self.folder)), self.clock)

    def sample(self, sampler: UsageSampler, pid: int = 0) -> None:
        self.clock.now += sampler.seconds_left()
        sampler.sample(pid)


@pytest.fixture
def cgroup(tmp_path: Path) -> FakeCgroup:
    return FakeCgroup(tmp_path)


def samples_of(resident: int, mapped: int = 0, count: int = 1) -> Samples:
    samples = Samples()
    for _ in range(count):
        samples.add(resident, mapped)
    return samples


def test_samples_exclude_the_launcher_and_page_cache(cgroup: FakeCgroup) -> None:
    sampler = cgroup.sampler()
    cgroup.set(rss=110 * MEGABYTE, peak=500 * MEGABYTE)
    cgroup.sample(sampler)
    cgroup.set(rss=10 * MEGABYTE, peak=500 * MEGABYTE)
    assert sampler.peak(0, sampler.after()) == 100 * MEGABYTE
    sampler.close()


def test_a_sample_is_taken_only_when_it_is_due(cgroup: FakeCgroup) -> None:
    sampler = cgroup.sampler()
    cgroup.set(rss=110 * MEGABYTE, peak=500 * MEGABYTE)
    sampler.sample(0)
    assert sampler.peak(0, sampler.after()) == 0
    sampler.close()


def test_the_kernels_maximum_covers_a_spike_between_samples(cgroup: FakeCgroup) -> None:
    sampler = cgroup.sampler()
    rss = own_max_rss() + 200 * MEGABYTE
    assert sampler.peak(rss, Memory("cgroup-v2", 10**10, 0)) == rss
    assert sampler.peak(rss, Memory("cgroup-v2", 100, 0)) == 100, "never above the cgroup's peak"
    sampler.close()


@pytest.mark.parametrize(
    ("samples", "max_rss", "peak"),
    [
        # Larger than the launcher: the kernel's maximum counts, without mapped files.
        (samples_of(0, mapped=5), 300, 295),
        (samples_of(290, mapped=50), 300, 290),
        # Not larger: it may be the copy of the launcher before exec.
        (samples_of(1, count=FEW_SAMPLES + 1), 100, 1),
        # Not larger, but the program is too short for more samples.
        (samples_of(8, count=FEW_SAMPLES), 90, 90),
        (Samples(), 0, 0),
    ],
)
def test_peak_of_new_processes(samples: Samples, max_rss: int, peak: int) -> None:
    assert samples.peak(max_rss, launcher_rss=100) == peak


def test_after_an_oom_kill_the_peak_is_the_limit(cgroup: FakeCgroup) -> None:
    sampler = cgroup.sampler()
    cgroup.set(rss=10 * MEGABYTE, peak=256 * MEGABYTE, kills=1)
    assert sampler.peak(0, sampler.after()) == 256 * MEGABYTE
    sampler.close()


def test_cpu_time_includes_children_that_were_not_waited_for(cgroup: FakeCgroup) -> None:
    sampler = cgroup.sampler()
    cgroup.set(rss=0, peak=0, cpu=6.0)
    assert sampler.cpu_seconds(2.0) == pytest.approx(5.0, abs=0.5)
    assert sampler.cpu_seconds(9.0) == 9.0
    sampler.close()


def test_without_a_cgroup() -> None:
    sampler = UsageSampler(Cgroup("rusage", "", ""))
    assert sampler.cpu_seconds(2.0) == 2.0
    rss = own_max_rss() + MEGABYTE
    assert sampler.peak(rss, sampler.after()) == rss
    assert sampler.peak(5, sampler.after()) == 5
    sampler.close()


def test_the_interval_between_samples_grows() -> None:
    clock = FakeClock()
    schedule = SampleSchedule(clock)
    assert schedule.seconds_left() == pytest.approx(FIRST_SECONDS)
    intervals = []
    for _ in range(20):
        assert not schedule.due()
        clock.now += schedule.seconds_left() + 1e-9
        assert schedule.due()
        intervals.append(schedule.seconds_left())
    assert intervals == sorted(intervals)
    assert intervals[-1] == pytest.approx(LONGEST_SECONDS)


def test_mapped_files_of_a_process() -> None:
    assert mapped_bytes(os.getpid()) > 0
    assert mapped_bytes(0) == 0


def test_memory_that_the_process_has_already_is_the_executions(cgroup: FakeCgroup) -> None:
    own = Cgroup("cgroup-v2", str(cgroup.folder), str(cgroup.folder))
    sampler = UsageSampler(own, cgroup.clock, already_private=8 * MEGABYTE)
    cgroup.set(rss=11 * MEGABYTE, peak=500 * MEGABYTE)
    cgroup.sample(sampler)
    assert sampler.peak(0, sampler.after()) == 9 * MEGABYTE
    sampler.close()
