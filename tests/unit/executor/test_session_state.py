"""A session's state on its volume: numbers, keys, records; and the answers made from them."""

import json
from pathlib import Path
from typing import Any

import pytest

from nanogrid.reasons import Reason
from nanogrid_executor.session.errors import ApiError
from nanogrid_executor.session.events import HEARTBEAT, EventLog
from nanogrid_executor.session.journal import KEYS, Journal
from nanogrid_executor.session.record import (
    RECORD_STREAM_BYTES,
    RESULTS_BYTES,
    Observation,
    answer_from,
    build_record,
    verdict_of,
)
from nanogrid_executor.session.sandbox_protocol import ExecutionEnd, ExecutionSpec
from nanogrid_executor.session.spool import Spool
from support.session_client import events_of

SPEC = ExecutionSpec(number=1, code="1", timeout_seconds=5, grace_seconds=1)


def test_numbers_and_keys_survive_a_restart(tmp_path: Path) -> None:
    path = str(tmp_path / "journal")
    first = Journal(path)
    assert not first.exists
    first.begin(4, 12.5)
    assert [first.accept("a", "x"), first.accept(None, ""), first.accept("b", "y")] == [5, 6, 7]

    second = Journal(path)

    assert second.exists
    assert (second.last, second.started) == (7, 12.5)
    found = second.find("b")
    assert found is not None
    assert (found.number, found.digest) == (7, "y")
    assert second.accept(None, "") == 8


def test_an_incomplete_line_does_not_affect_the_others(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = Journal(str(path))
    journal.begin(0, 1.0)
    journal.accept("a", "x")
    with path.open("a") as file:
        file.write('{"n": 2, "k"')

    again = Journal(str(path))

    assert again.last == 1
    assert again.accept(None, "") == 2
    assert Journal(str(path)).last == 2


def test_the_last_thousand_keys_are_kept_as_hashes(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = Journal(str(path))
    journal.begin(0, 1.0)
    for number in range(KEYS + 1):
        journal.accept(f"secret-{number}", "x")

    again = Journal(str(path))

    assert again.find("secret-0") is None
    assert again.find("secret-1") is not None
    assert again.find(f"secret-{KEYS}") is not None
    assert "secret" not in path.read_text()


def record_of(number: int, size: int) -> dict[str, Any]:
    observation = Observation(
        ExecutionSpec(number=number, code="1", timeout_seconds=5, grace_seconds=1), 1000.0
    )
    observation.stdout.feed(b"x" * size)
    end = ExecutionEnd(exit_code=0)
    return build_record(
        observation, end, verdict_of(end, SPEC), {}, ended=1001.0, sandbox_restarted=False
    )


def test_the_volume_is_bounded_and_stored_records_are_removed_first(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path), limit_bytes=200_000)
    for number in range(1, 6):
        spool.put(number, record_of(number, 60_000))
        if number in (2, 3):
            spool.mark_stored(number)

    assert spool.get(2) is None
    assert spool.unstored() == [1, 4, 5]
    assert [spool.is_stored(number) for number in range(1, 6)] == [False, True, True, False, False]

    spool.put(6, record_of(6, 60_000))

    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 200_000
    assert spool.unstored() == [1, 4, 5, 6]
    oldest = spool.get(1)
    assert oldest is not None
    assert oldest["stdoutTruncated"]
    assert oldest["stdoutBytes"] == 60_000
    assert Spool(str(tmp_path)).unstored() == [1, 4, 5, 6]


def test_a_note_is_kept_until_its_record_is_written(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path))
    spool.write_note(1, {"execution_num": 1})
    spool.write_note(2, {"execution_num": 2})
    spool.put(1, record_of(1, 10))

    assert Spool(str(tmp_path)).notes() == [{"execution_num": 2}]


def test_the_record_always_gives_the_same_answer() -> None:
    record = record_of(1, 3_000_000)
    first = answer_from(record, recorded=True)
    again = answer_from(json.loads(json.dumps(record)), recorded=True)

    assert first == again
    assert first["stdoutTruncated"]
    assert len(first["stdout"].encode()) <= 64 * 1024
    left_out = int(first["stdout"].split("... ")[1].split()[0])
    assert left_out + first["stdout"].count("x") == 3_000_000
    assert len(record["stdout"].encode()) <= RECORD_STREAM_BYTES


@pytest.mark.parametrize(
    ("end", "status", "reason"),
    [
        (ExecutionEnd(exit_code=0), "SUCCESS", Reason.COMPLETED),
        (ExecutionEnd(exit_code=3), "FAILED", Reason.NON_ZERO_EXIT),
        (ExecutionEnd(exit_code=139, signal="SIGSEGV"), "FAILED", Reason.SIGNALED),
        (ExecutionEnd(exit_code=137, signal="SIGKILL", timed_out=True), "TIMEOUT",
         Reason.EXECUTION_TIMEOUT),
        (ExecutionEnd(exit_code=137, signal="SIGKILL", oom_killed=True), "FAILED",
         Reason.OOM_KILLED),
        (ExecutionEnd(exit_code=130, signal="SIGINT", interrupted=True), "FAILED",
         Reason.EXECUTION_INTERRUPTED),
        (ExecutionEnd(exit_code=0, interrupted=True), "FAILED", Reason.EXECUTION_INTERRUPTED),
        (ExecutionEnd(exit_code=1, context_lost=True), "FAILED", Reason.CONTEXT_LOST),
        (ExecutionEnd(exit_code=None, sandbox_lost=True, error="gone"), "FAILED",
         Reason.SANDBOX_RESTARTED),
        (ExecutionEnd(exit_code=127, error="no python3"), "FAILED", Reason.ENTRYPOINT_NOT_FOUND),
    ],
)  # fmt: skip
def test_each_end_has_one_reason(end: ExecutionEnd, status: str, reason: Reason) -> None:
    verdict = verdict_of(end, SPEC)
    assert (verdict.status, verdict.reason) == (status, reason)


def test_rich_results_above_the_cap_are_counted() -> None:
    observation = Observation(SPEC, 0.0)
    assert observation.display({"text/plain": "x" * (RESULTS_BYTES - 100)})
    assert not observation.display({"text/plain": "y" * 200})
    assert observation.results_dropped == 1


def test_a_late_reader_gets_all_events() -> None:
    log = EventLog()
    log.append("stdout", {"text": "a\nb"})
    log.append("end", {})
    log.close()
    assert list(events_of(log.follow())) == [("stdout", '{"text":"a\\nb"}'), ("end", "{}")]
    assert list(events_of(log.follow())) == [("stdout", '{"text":"a\\nb"}'), ("end", "{}")]


def test_a_slow_reader_gets_a_gap_event() -> None:
    log = EventLog(kept_bytes=300)
    reader = log.follow()
    log.append("stdout", {"text": "0"})
    assert next(reader).startswith("event: stdout")
    for number in range(20):
        log.append("stdout", {"text": str(number) * 20})
    log.close()

    events = list(events_of(reader))

    name, data = events[0]
    assert name == "gap"
    assert json.loads(data)["events"] + len(events) - 1 == 20


def test_a_reader_gets_heartbeats_while_there_are_no_events() -> None:
    log = EventLog()
    reader = log.follow(heartbeat_seconds=0.0)
    assert next(reader) == HEARTBEAT
    log.append("end", {})
    log.close()
    assert any(chunk.startswith("event: end") for chunk in reader)


def test_all_errors_have_the_same_shape() -> None:
    error = ApiError(409, Reason.EXECUTION_RUNNING, "Wait.", more={"execution_num": 3})
    assert error.body() == {
        "error": {"reason": "ExecutionRunning", "message": "Wait."},
        "execution_num": 3,
    }
