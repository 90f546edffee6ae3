"""Parts of a session's sandbox, without a sandbox: messages, the process table, rich results."""

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanogrid_executor.launcher import display, frames, interpreter, proc, session_frames
from nanogrid_executor.launcher_install import install
from nanogrid_executor.session.display_limits import DisplayLimiter, parse
from nanogrid_executor.session.launcher_connection import MessageQueue

Pair = tuple[socket.socket, socket.socket]


# -- messages


def messages(sock: socket.socket) -> list[session_frames.Message]:
    """All complete messages until the peer closes."""
    receiver = session_frames.Receiver(sock)
    found = []
    while (message := receiver.receive()) is not None:
        if message[0] != session_frames.PART:
            found.append(message)
    return found


@pytest.mark.parametrize("length", [0, 1, 512 * 1024, 512 * 1024 + 1, 5 << 20])
def test_a_message_of_any_length_arrives_complete(pair: Pair, length: int) -> None:
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


def test_both_sides_refuse_a_message_that_is_too_long(pair: Pair) -> None:
    with pytest.raises(ValueError, match="the maximum is 10"):
        session_frames.send(pair[0], b"D", 1, bytes(11), max_bytes=10)
    frames.send(pair[0], b"P", session_frames.NUMBER.pack(1) + bytes(11))
    with pytest.raises(frames.ProtocolError, match="more than 10 bytes"):
        session_frames.Receiver(pair[1], max_bytes=10).receive()


def test_a_frame_without_a_number(pair: Pair) -> None:
    frames.send(pair[0], b"D", b"1234567")
    with pytest.raises(frames.ProtocolError, match="has no number"):
        session_frames.Receiver(pair[1]).receive()


# -- the process table


@given(st.text(max_size=20))
def test_a_process_name_may_contain_anything(name: str) -> None:
    rest = "S 12 " + " ".join(str(number) for number in range(5, 53))
    entry = proc.parse_stat(f"7 ({name}) {rest}")
    assert (entry.parent, entry.ended, entry.start) == (12, False, 22)
    assert entry.children_cpu == (16 + 17) / proc.TICKS


def test_all_descendants_are_found() -> None:
    def of(parent: int) -> proc.ProcEntry:
        return proc.ProcEntry(parent, False, 0, 0.0)

    processes = {1: of(0), 2: of(1), 3: of(2), 4: of(3), 5: of(1), 6: of(9)}
    assert sorted(proc.descendants(processes, 2)) == [3, 4]
    assert sorted(proc.descendants(processes, 1)) == [2, 3, 4, 5]
    assert proc.descendants(processes, 77) == []


def test_a_real_process() -> None:
    code = "x = bytearray(64 << 20); del x; print(flush=True)\nwhile input(): pass"
    pipe = subprocess.PIPE
    child = subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe)
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdout.readline()  # it runs, and has reached its peak
        processes = proc.read_table()
        assert processes[child.pid].parent == os.getpid()
        assert child.pid in proc.descendants(processes, os.getpid())
        cpu = proc.cpu_seconds(processes, [child.pid])
        assert 0 < cpu < 60
        assert proc.private_bytes(child.pid) > 1 << 20
        if proc.reset_peak(child.pid):
            assert proc.peak_private_bytes(child.pid) > 1 << 20
    finally:
        child.kill()
        child.wait()
        child.stdin.close()
        child.stdout.close()
    assert proc.private_bytes(child.pid) == 0
    assert proc.peak_private_bytes(child.pid) == 0
    assert not proc.reset_peak(child.pid)
    assert proc.cpu_seconds({}, [child.pid]) == 0


# -- rich results


def shown(value: object, max_bytes: int = display.MAX_BUNDLE) -> dict[str, str]:
    """The bundle of one value."""
    bundles: list[bytes] = []
    display.Display(bundles.append, max_bytes).show(value)
    assert len(bundles) == 1
    bundle: dict[str, str] = json.loads(bundles[0])
    return bundle


class Image:
    """Has the methods of a PIL image."""

    def __repr__(self) -> str:
        return "an image"

    def _repr_png_(self) -> bytes:
        return b"\x89PNG"

    def _repr_jpeg_(self) -> bytes:
        raise AssertionError("one image is enough")


class Chart:
    """Has the methods of an altair chart."""

    def __repr__(self) -> str:
        return "a chart"

    def _repr_mimebundle_(self, include: object, exclude: object) -> tuple[object, object]:
        return {"application/json": {"a": 1}, "image/svg+xml": "<svg/>", "text/x": None}, {}


class Broken:
    """Raises in all its methods."""

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
    assert shown(Image) == {"text/plain": repr(Image)}, "a class is not an image"
    assert capsys.readouterr().err == ""
    text = shown(Broken())
    assert text == {"text/plain": "<Broken; its repr failed: ValueError: no repr>"}
    errors = capsys.readouterr().err
    assert "display: Broken._repr_html_ failed: KeyError: 'no html'\n" in errors


def test_a_result_that_is_too_large() -> None:
    text = "A result is left out: it has more than 100 bytes (text/plain 204 bytes)"
    assert shown("x" * 200, max_bytes=100) == {"text/plain": text}


def test_both_sides_have_the_same_limit() -> None:
    assert display.MAX_BUNDLE == session_frames.MAX_BUNDLE


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not an object of strings"),
        (b'{"a": 1}', "not an object of strings"),
    ],
)
def test_the_text_names_the_problem_of_a_bundle(payload: bytes, problem: str) -> None:
    assert problem in parse(payload)["text/plain"]
    assert parse(b'{"a": "b"}') == {"a": "b"}


@pytest.mark.parametrize("limiter", [DisplayLimiter(max_results=2), DisplayLimiter(max_bytes=20)])
def test_results_are_limited(limiter: DisplayLimiter) -> None:
    assert [limiter.accept(b'{"a": "b"}') for _ in range(2)] == [{"a": "b"}] * 2
    assert "left out" in (limiter.accept(b'{"a": "b"}') or {})["text/plain"]
    assert limiter.accept(b'{"a": "b"}') is None


# -- the interpreter


@pytest.mark.parametrize(("given", "code"), [(None, 0), (3, 3), (256 + 7, 7), (-1, 255), ("x", 1)])
def test_exit_codes_are_those_of_python(given: object, code: int) -> None:
    assert interpreter.exit_code(SystemExit(given)) == code
    text = f"import sys; sys.exit({given!r})"
    assert subprocess.run([sys.executable, "-c", text], capture_output=True).returncode == code


def test_the_interpreter_displays_the_last_value_and_keeps_future_flags(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    read, write = os.pipe()
    interpreted = interpreter.Interpreter(interpreter.ControlSocket(write), context=True)
    given = {"filename": "x.py", "code": "from __future__ import annotations\ndef f(x: no): pass"}
    interpreted.run(given)
    interpreted.run({"filename": "y.py", "code": "def g(x: no): pass\n'a value'"})
    assert interpreted.namespace["g"].__annotations__ == {"x": "no"}
    kind, length = os.read(read, 1), int.from_bytes(os.read(read, 4), "big")
    assert (kind, json.loads(os.read(read, length))) == (b"D", {"text/plain": "'a value'"})
    os.close(read)
    os.close(write)


# -- the agent's side of one execution


def test_a_queue_accepts_messages_only_up_to_its_limit() -> None:
    queue = MessageQueue(pending_bytes=10)
    accepted = []

    def put_all() -> None:
        for number in range(100):
            queue.put(b"O", bytes([number]) * 10)
            accepted.append(number)

    putting = threading.Thread(target=put_all)
    putting.start()
    for number in range(100):
        assert queue.take(10) == (b"O", bytes([number]) * 10)
        assert len(accepted) <= number + 3, "one message above the limit may be pending"
    putting.join()
    queue.lose()
    assert queue.take(0) is None


def test_an_abandoned_queue_discards_messages() -> None:
    queue = MessageQueue(pending_bytes=0)
    queue.put(b"O", b"x")
    queue.abandon()
    queue.put(b"O", b"y")
    with pytest.raises(TimeoutError, match="no message in time"):
        MessageQueue().take(0)


# -- the cost of a batch job


def test_a_batch_job_imports_no_module_of_sessions(tmp_path: Path) -> None:
    install(tmp_path)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from nanogrid_executor.launcher import main; "
        "print([name for name in sys.modules if name.startswith('nanogrid_executor.')])"
    )
    command = [sys.executable, "-I", "-S", "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    names = {name.rpartition(".")[2] for name in eval(done.stdout)}
    assert names == {
        "launcher", "main", "batch", "frames", "live_memory", "usage", "cgroup", "signals", "spawn",
        "start_failure", "values",
    }  # fmt: skip
