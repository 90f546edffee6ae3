"""The parts of a session's sandbox that need no sandbox: messages, the process table, results."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanogrid_executor import context_host, frames, rich, session_frames, session_processes
from nanogrid_executor.install import install
from nanogrid_executor.session import link, results

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    left, right = socket.socketpair()
    with left, right:
        yield left, right


# -- messages


def messages(sock: socket.socket) -> list[session_frames.Message]:
    """All whole messages until the peer closes."""
    receiver = session_frames.Receiver(sock)
    found = []
    while (message := receiver.take()) is not None:
        if message[0] != session_frames.PART:
            found.append(message)
    return found


@pytest.mark.parametrize("length", [0, 1, 512 * 1024, 512 * 1024 + 1, 5 << 20])
def test_a_message_of_any_length_arrives_whole(pair: Pair, length: int) -> None:
    payload = os.urandom(length)

    def send() -> None:
        session_frames.send(pair[0], session_frames.DISPLAY, 7, payload)
        session_frames.send(pair[0], session_frames.CLOSE, 0)
        pair[0].shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=send)
    thread.start()
    assert messages(pair[1]) == [(b"D", 7, payload), (b"Q", 0, b"")]
    thread.join()


def test_parts_of_two_executions_do_not_mix(pair: Pair) -> None:
    first, second = (session_frames.NUMBER.pack(number) for number in (1, 2))
    for kind, payload in ((b"P", first + b"a"), (b"P", second + b"x"), (b"D", first + b"b")):
        frames.send(pair[0], kind, payload)
    frames.send(pair[0], b"D", second + b"y")
    pair[0].close()
    assert messages(pair[1]) == [(b"D", 1, b"ab"), (b"D", 2, b"xy")]


def test_what_is_too_long_is_refused_on_both_sides(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_frames, "MAX_MESSAGE", 10)
    with pytest.raises(ValueError, match="at most 10"):
        session_frames.send(pair[0], b"D", 1, bytes(11))
    frames.send(pair[0], b"P", session_frames.NUMBER.pack(1) + bytes(11))
    with pytest.raises(frames.ProtocolError, match="over 10 bytes"):
        session_frames.Receiver(pair[1]).take()


def test_a_frame_without_a_number(pair: Pair) -> None:
    frames.send(pair[0], b"D", b"1234567")
    with pytest.raises(frames.ProtocolError, match="without a number"):
        session_frames.Receiver(pair[1]).take()


# -- the process table


@given(st.text(max_size=20))
def test_a_name_in_the_process_table_may_be_anything(name: str) -> None:
    rest = "S 12 " + " ".join(str(number) for number in range(5, 53))
    entry = session_processes.parse_stat(f"7 ({name}) {rest}")
    assert (entry.parent, entry.ended, entry.start) == (12, False, 22)
    assert entry.children_cpu == (16 + 17) / session_processes.TICKS


def test_all_descendants_are_found() -> None:
    def of(parent: int) -> session_processes.Entry:
        return session_processes.Entry(parent, False, 0, 0.0)

    processes = {1: of(0), 2: of(1), 3: of(2), 4: of(3), 5: of(1), 6: of(9)}
    assert sorted(session_processes.below(processes, 2)) == [3, 4]
    assert sorted(session_processes.below(processes, 1)) == [2, 3, 4, 5]
    assert session_processes.below(processes, 77) == []


def test_a_real_process() -> None:
    code = "x = bytearray(64 << 20); del x; print(flush=True)\nwhile input(): pass"
    pipe = subprocess.PIPE
    child = subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe)
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdout.readline()  # it runs, and has had its memory
        processes = session_processes.table()
        assert processes[child.pid].parent == os.getpid()
        assert child.pid in session_processes.below(processes, os.getpid())
        cpu = session_processes.cpu_seconds(processes, [child.pid])
        assert 0 < cpu < 60
        assert session_processes.private_bytes(child.pid) > 1 << 20
        if session_processes.reset_peak(child.pid):
            assert session_processes.peak_private_bytes(child.pid) > 1 << 20
    finally:
        child.kill()
        child.wait()
        child.stdin.close()
        child.stdout.close()
    assert session_processes.private_bytes(child.pid) == 0
    assert session_processes.peak_private_bytes(child.pid) == 0
    assert not session_processes.reset_peak(child.pid)
    assert session_processes.cpu_seconds({}, [child.pid]) == 0


# -- rich results


def shown(value: object) -> dict[str, str]:
    """The bundle of one value."""
    bundles: list[bytes] = []
    rich.Display(bundles.append).show(value)
    assert len(bundles) == 1
    bundle: dict[str, str] = json.loads(bundles[0])
    return bundle


class Image:
    """Shows itself like an image of PIL does."""

    def __repr__(self) -> str:
        return "an image"

    def _repr_png_(self) -> bytes:
        return b"\x89PNG"

    def _repr_jpeg_(self) -> bytes:
        raise AssertionError("one image is enough")


class Chart:
    """Shows itself like a chart of altair does."""

    def __repr__(self) -> str:
        return "a chart"

    def _repr_mimebundle_(self, include: object, exclude: object) -> tuple[object, object]:
        return {"application/json": {"a": 1}, "image/svg+xml": "<svg/>", "text/x": None}, {}


class Broken:
    """Fails in every way."""

    def __repr__(self) -> str:
        raise ValueError("no repr")

    def _repr_html_(self) -> str:
        raise KeyError("no html")

    def __getattr__(self, name: str) -> object:
        raise RuntimeError("no attributes")


def test_results_by_the_protocol_of_notebooks(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(1) == {"text/plain": "1"}
    assert shown("가") == {"text/plain": "'가'"}
    assert shown(Image()) == {"text/plain": "an image", "image/png": "iVBORw=="}
    assert shown(Chart()) == {
        "text/plain": "a chart",
        "application/json": '{"a": 1}',
        "image/svg+xml": "<svg/>",
    }
    assert shown(Image) == {"text/plain": repr(Image)}, "a class is no image"
    assert capsys.readouterr().err == ""
    text = shown(Broken())
    assert text == {"text/plain": "<Broken, whose repr failed: ValueError: no repr>"}
    errors = capsys.readouterr().err
    assert "display: Broken._repr_html_ failed: KeyError: 'no html'\n" in errors


def test_a_result_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rich, "MAX_BUNDLE", 100)
    assert shown("x" * 200) == {
        "text/plain": "A result is left out, it is over 100 bytes: text/plain 202 bytes"
    }


def test_both_sides_mean_the_same_size() -> None:
    assert rich.MAX_BUNDLE == session_frames.MAX_BUNDLE


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (b"{", "no JSON"),
        (b"\xff", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[]", "no object of texts"),
        (b'{"a": 1}', "no object of texts"),
    ],
)
def test_what_is_no_result(payload: bytes, said: str) -> None:
    assert said in results.parse(payload)["text/plain"]
    assert results.parse(b'{"a": "b"}') == {"a": "b"}


@pytest.mark.parametrize("limit", ["MAX_RESULTS", "MAX_BYTES"])
def test_results_have_a_bound(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(results, limit, 2 if limit == "MAX_RESULTS" else 20)
    taken = results.Results()
    assert [taken.take(b'{"a": "b"}') for _ in range(2)] == [{"a": "b"}] * 2
    assert "left out" in (taken.take(b'{"a": "b"}') or {})["text/plain"]
    assert taken.take(b'{"a": "b"}') is None


# -- the host


@pytest.mark.parametrize(("given", "code"), [(None, 0), (3, 3), (256 + 7, 7), (-1, 255), ("x", 1)])
def test_exit_codes_are_the_interpreters(given: object, code: int) -> None:
    assert context_host.exit_code(SystemExit(given)) == code
    text = f"import sys; sys.exit({given!r})"
    assert subprocess.run([sys.executable, "-c", text], capture_output=True).returncode == code


def test_a_host_splits_code_and_keeps_future_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    read, write = os.pipe()
    host = context_host.Host(context_host.Control(write), context=True)
    given = {"filename": "x.py", "code": "from __future__ import annotations\ndef f(x: no): pass"}
    host.run(given)
    host.run({"filename": "y.py", "code": "def g(x: no): pass\n'a value'"})
    assert host.namespace["g"].__annotations__ == {"x": "no"}
    kind, length = os.read(read, 1), int.from_bytes(os.read(read, 4), "big")
    assert (kind, json.loads(os.read(read, length))) == (b"D", {"text/plain": "'a value'"})
    os.close(read)
    os.close(write)


# -- the agent's side of one execution


def test_messages_wait_when_nobody_takes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "PENDING_BYTES", 10)
    call = link.Call()
    for _ in range(2):
        call.put(b"O", bytes(10))
    putting = threading.Thread(target=call.put, args=(b"O", b"later"))
    putting.start()
    putting.join(0.1)
    assert putting.is_alive()
    assert call.take(1) == (b"O", bytes(10))
    putting.join(10)
    assert not putting.is_alive()
    call.lose()
    assert [call.take(1) for _ in range(3)] == [(b"O", bytes(10)), (b"O", b"later"), None]


def test_messages_that_nobody_wants_do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "PENDING_BYTES", 0)
    call = link.Call()
    call.put(b"O", b"x")
    call.abandon()
    call.put(b"O", b"y")
    with pytest.raises(TimeoutError, match="said nothing"):
        link.Call().take(0.01)


# -- what a batch job pays


def test_a_batch_job_imports_nothing_of_sessions(tmp_path: Path) -> None:
    install(tmp_path)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from nanogrid_executor import launcher; "
        "print([name for name in sys.modules if name.startswith('nanogrid_executor.')])"
    )
    command = [sys.executable, "-I", "-S", "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    names = {name.partition(".")[2] for name in eval(done.stdout)}
    assert names == {"launcher", "execute", "frames", "gauge", "measure", "signals", "spawn"}
