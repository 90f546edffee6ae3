"""The memory of running code: when the launcher sends it, and when the agent reports it."""

import json
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from nanogrid import names, wire
from nanogrid.live_memory import REFRESH_SECONDS, REPORT_SECONDS, MemoryUse, worth_reporting
from nanogrid.result_bounds import MAX_COUNT
from nanogrid_executor.agent.execution import MEMORY_BYTES, read_memory
from nanogrid_executor.agent.memory_reporter import FIRST_SECONDS, MemoryReporter
from nanogrid_executor.launcher.live_memory import INTERVAL_SECONDS, MemoryNews
from nanogrid_executor.session import launcher_messages
from nanogrid_executor.session.memory_watch import MemoryWatch
from nanogrid_executor.session.sandbox import LauncherSandbox
from support.fake_clock import FakeClock
from support.s3_server import make_task
from support.session_fakes import FakeSandbox, make_paths, make_session, session_task

MIB = 1 << 20
LIMIT = 256 * MIB


# The rule.


@pytest.mark.parametrize(
    ("last", "new", "limit", "worth"),
    [
        (None, (0, 0), LIMIT, True),
        ((100, 100), (116, 100), LIMIT, False),
        ((100, 100), (117, 100), LIMIT, True),
        ((100, 100), (83, 100), LIMIT, True),
        ((100, 100), (100, 117), LIMIT, True),
        ((100, 100), (101, 101), 4 * MIB, False),
        ((100, 100), (102, 100), 4 * MIB, True),
        ((100, 100), (116, 100), None, False),
        ((100, 100), (117, 100), None, True),
        ((100, None), (100, 117), LIMIT, True),
        ((100, None), (116, None), LIMIT, False),
    ],
)
def test_a_change_of_more_than_a_sixteenth_of_the_limit_is_worth_a_report(
    last: Any, new: Any, limit: int | None, worth: bool
) -> None:
    uses = [
        None if use is None else MemoryUse(*(None if n is None else n * MIB for n in use))
        for use in (last, new)
    ]
    assert worth_reporting(uses[0], uses[1], limit) is worth


# The launcher.


def test_the_launcher_sends_nothing_in_the_first_second_and_then_one_message_per_second() -> None:
    clock = FakeClock()
    news = MemoryNews(wanted=True, clock=clock)
    sent = []
    for step in range(50):  # 5 s, and each sample is a change
        if news.due() and news.take(step * MIB, step * MIB):
            sent.append(round(step / 10))
        clock.now += INTERVAL_SECONDS / 10

    assert sent == [1, 2, 3, 4]


def test_the_launcher_sends_only_noticeable_changes_after_the_first_message() -> None:
    clock = FakeClock()
    news = MemoryNews(wanted=True, clock=clock)
    clock.now += 100

    assert news.take(5, 5)
    clock.now += 100
    assert news.due()
    assert not news.take(MIB, MIB)
    assert news.take(5, MIB + 5)
    assert not news.due()


def test_a_launcher_that_is_not_asked_sends_nothing() -> None:
    clock = FakeClock()
    news = MemoryNews(wanted=False, clock=clock)
    clock.now += 1e9

    assert not news.due()


# The agent reads what a hostile launcher sends.

GOOD = b'{"memoryBytes": 5, "peakMemoryBytes": 7}'
MALFORMED = [
    b"",
    b"[]",
    b"7",
    b"null",
    b"\xff\xfe",
    b"{}",
    b'{"memoryBytes": "x", "peakMemoryBytes": 7}',
    b'{"memoryBytes": true, "peakMemoryBytes": 7}',
    b'{"memoryBytes": NaN, "peakMemoryBytes": 7}',
    b"[" * 200,
    GOOD + b" " * MEMORY_BYTES,
]


def test_a_memory_frame_is_read_within_its_bounds() -> None:
    assert read_memory(GOOD) == MemoryUse(5, 7)
    assert launcher_messages.read_memory(GOOD) == 5
    huge = b'{"memoryBytes": -1, "peakMemoryBytes": 1%s}' % (b"0" * 30)
    assert read_memory(huge) == MemoryUse(0, MAX_COUNT)
    assert launcher_messages.read_memory(huge) == 0


@pytest.mark.security
@pytest.mark.parametrize("payload", MALFORMED)
def test_a_malformed_memory_frame_is_ignored(payload: bytes) -> None:
    assert read_memory(payload) is None
    assert launcher_messages.read_memory(payload) is None


# The agent reports it.


class Endpoint:
    """An operator on fake time; the code runs for ``seconds`` and uses ``uses[second]`` MiB."""

    def __init__(
        self, *answers: int | str, seconds: float = 60.0, url: str = "http://o:1/v1/results"
    ):
        self.clock = FakeClock(0.0)
        self.answers, self.seconds = list(answers), seconds
        self.posts: list[tuple[float, Any]] = []
        task = make_task(memory_limit_bytes=LIMIT, attempt=2)
        self.reporter = MemoryReporter(
            url, "token", task, self.current, post=self.post, wait=self.wait, clock=self.clock
        )
        self.reporter.run()

    def current(self) -> MemoryUse | None:
        mib = int(self.clock.now) * 20
        return MemoryUse(mib * MIB, mib * MIB)

    def post(self, url: str, token_file: str, body: bytes) -> int | str:
        assert (url, token_file) == (f"http://o:1{names.MEMORY_PATH}", "token")
        self.posts.append((self.clock.now, json.loads(body)))
        answer = self.answers.pop(0) if self.answers else 202
        if answer == "no token":
            raise FileNotFoundError(answer)
        return answer

    def wait(self, event: threading.Event, seconds: float) -> None:
        self.clock.now += seconds
        if self.clock.now > self.seconds:
            self.reporter.stop()


def test_the_first_report_comes_after_three_seconds_and_the_next_ones_ten_apart() -> None:
    endpoint = Endpoint(seconds=60)
    times = [when for when, _ in endpoint.posts]

    assert times[0] == FIRST_SECONDS
    assert all(b - a >= REPORT_SECONDS for a, b in pairwise(times))
    assert 5 <= len(times) <= 6
    report = wire.MemoryReport(
        uid="u-1", attempt=2, memory_bytes=60 * MIB, peak_memory_bytes=60 * MIB
    )
    assert endpoint.posts[0][1] | {"uid": "u-1"} == wire.to_dict(report)


def test_short_code_reports_nothing() -> None:
    assert Endpoint(seconds=2.9).posts == []


def test_nothing_is_posted_without_an_endpoint() -> None:
    assert Endpoint(url="").posts == []


@pytest.mark.parametrize("answer", [500, 503, 429, 408, 401, 403, "refused", "no token"])
def test_a_failure_is_logged_once_and_the_next_report_follows(
    answer: int | str, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint = Endpoint(answer, answer, 202, answer, seconds=50)

    assert len(endpoint.posts) >= 4
    assert capsys.readouterr().out.count("memory-not-reported") == 2


@pytest.mark.parametrize("answer", [400, 404])
def test_after_a_refusal_no_report_follows(answer: int, capsys: pytest.CaptureFixture[str]) -> None:
    """An operator of an older version answers 404."""
    assert len(Endpoint(answer, seconds=600).posts) == 1
    assert capsys.readouterr().out.count("memory-not-reported") == 1


def test_an_equal_use_is_reported_again_only_after_some_minutes() -> None:
    """The operator that had the first report may have been replaced before it wrote it."""

    class Idle(Endpoint):
        def current(self) -> MemoryUse | None:
            return None if self.clock.now < 20 else MemoryUse(5, 5)

    idle = Idle(seconds=2.5 * REFRESH_SECONDS)

    times = [when for when, _ in idle.posts]
    assert (times[0], len(times)) == (20.0, 3)
    assert all(b - a >= REFRESH_SECONDS for a, b in pairwise(times))


# A session's agent.


def test_a_session_reports_a_noticeable_change_at_most_every_ten_seconds() -> None:
    clock = FakeClock()
    watch = MemoryWatch(LIMIT, clock)

    assert not watch.due(None)
    assert watch.due(MemoryUse(0, None))
    assert not watch.due(MemoryUse(99 * MIB, None))
    clock.now += REPORT_SECONDS
    assert not watch.due(MemoryUse(MIB, None))
    assert watch.due(MemoryUse(99 * MIB, None))


class OneConnection:
    """A launcher's connection: it lasts while ``seen`` runs."""

    def __init__(self, memory_bytes: int | None, seen: Callable[[], None]) -> None:
        self.memory_bytes, self.read = memory_bytes, seen

    def hang_up(self) -> None:
        """Nothing is open."""

    close = hang_up


@pytest.mark.parametrize(("sent", "after"), [(64 * MIB, 0), (None, None)])
def test_a_sandbox_without_its_launcher_holds_no_memory(
    sent: int | None, after: int | None
) -> None:
    """The kubelet may take minutes to start it again; nothing says so where memory is not known."""
    sandbox = LauncherSandbox("/unused", "/unused")
    seen: list[int | None] = []
    sandbox._listener = cast(Any, SimpleNamespace(wait_until_gone=lambda connection: None))
    assert sandbox.memory_bytes is None

    for memory in (sent, None):
        connection = OneConnection(memory, lambda: seen.append(sandbox.memory_bytes))
        sandbox._serve_one(cast(Any, connection))
        assert sandbox.memory_bytes == after

    assert seen == [sent, None]


def test_a_session_reports_the_memory_of_its_sandbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, clock, changes = make_paths(tmp_path), FakeClock(), []
    sandbox = FakeSandbox(paths.workspace)
    session = make_session(paths, session_task(memory_limit_bytes=LIMIT), sandbox, clock=clock)
    monkeypatch.setattr(session.reporter, "changed", lambda: changes.append(clock.now))

    session.watch_memory()
    assert (changes, session.report().memory_bytes) == ([], None)

    sandbox.memory_bytes = 64 * MIB
    session.watch_memory()
    session.watch_memory()
    assert changes == [clock.now]
    report = session.report()
    assert (report.memory_bytes, report.peak_memory_bytes) == (64 * MIB, None)
