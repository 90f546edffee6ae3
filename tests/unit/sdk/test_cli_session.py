"""``session exec`` and ``shell`` against a session that records its calls."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from nanogrid.cli.app import command, exits
from nanogrid.cli.app.exits import Exit
from nanogrid.cli.main import app
from nanogrid.client.sessions.execution import Execution
from nanogrid.types import Json


class FakeSession:
    name = "s"

    def __init__(self) -> None:
        self.calls: list[tuple[str, str | None, int | None]] = []
        self.answer: Json = {"execution_num": 1, "success": True, "status": "SUCCESS"}
        self.interrupted = 0
        self.ctrl_c = False
        self.closed = 0
        self.kept: list[bool] = []

    def attach(self, name: str, ready_timeout: float = 0.0) -> "FakeSession":
        return self

    def ready(self) -> "FakeSession":
        return self

    def execute(
        self, code: str, context: str | None, *, on_stdout: Any, on_stderr: Any, **options: Any
    ) -> Execution:
        self.calls.append((code, context, options["timeout"]))
        self.kept.append(options["keep_processes"])
        if self.ctrl_c:
            raise KeyboardInterrupt
        if on_stdout:
            on_stdout("out\n")
            on_stderr("err\n")
        return Execution(self.answer)

    def interrupt(self) -> None:
        self.interrupted += 1

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> FakeSession:
    fake = FakeSession()
    monkeypatch.setattr(command, "make_client", lambda *_: fake)
    return fake


def run(*args: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, ["session", *args], input=stdin)


def test_output_is_forwarded_and_the_context_is_passed(session: FakeSession) -> None:
    done = run("exec", "s", "print(1)")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "out\n", "err\n")
    run("exec", "s", "-", "--process", "--timeout", "2m", stdin="x = 1")
    run("exec", "s", "ls", "--bash", "--interpreter", "mine", "--keep-processes")
    run("exec", "s", "-c", "y = 1")
    assert session.calls == [
        ("print(1)", "default", None),
        ("x = 1", None, 120),
        ("BASH: ls", "mine", None),
        ("y = 1", "default", None),
    ]
    assert session.kept == [False, False, True, False]
    assert session.closed


def test_code_comes_from_one_place(session: FakeSession) -> None:
    for words in (
        ["exec", "s"],
        ["exec", "s", "x", "-c", "y"],
        ["exec", "s", "-c", "y", "-f", "z"],
    ):
        done = run(*words)
        assert done.exit_code == Exit.USAGE
        assert "exactly one of CODE, -c and --file" in done.stderr
    assert session.calls == []


def test_images_and_text_are_shown(session: FakeSession) -> None:
    session.answer["results"] = [{"text/plain": "42"}, {"image/png": "aGVsbG8="}]
    done = run("exec", "s", "x")
    assert done.stdout == "out\n42\n"
    assert "image/png of 5 bytes; --pictures DIR saves it" in done.stderr
    done = run("exec", "s", "x", "-o", "json")
    assert done.stderr == ""
    assert '"image/png": "aGVsbG8="' in done.stdout


KINDS = {
    "image/png": ("aGVsbG8=", ".png"),
    "image/jpeg": ("aGVsbG8=", ".jpg"),
    "image/gif": ("aGVsbG8=", ".gif"),
    "image/svg+xml": ("hello", ".svg"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_of_an_execution_are_saved_on_request(
    session: FakeSession, tmp_path: Path, kind: str
) -> None:
    data, ending = KINDS[kind]
    session.answer["results"] = [{"text/plain": "1"}, {kind: data, "text/plain": "Figure"}]
    for name in (f"s-1-2{ending}", f"s-1-2-2{ending}", f"s-1-2-3{ending}"):  # none is replaced
        done = run("exec", "s", "x", "--pictures", str(tmp_path / "new"))
        assert done.stdout == "out\n1\n"
        assert f"[{kind}: {tmp_path}/new/{name}]" in done.stderr
        assert (tmp_path / "new" / name).read_bytes() == b"hello"


def test_pictures_of_a_shell_are_saved_in_the_current_folder(
    session: FakeSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    session.answer["results"] = [{"image/png": "aGVsbG8="}, {"image/png": "?"}]
    done = run("shell", "s", stdin="plot()\n")
    assert (tmp_path / "s-1-1.png").read_bytes() == b"hello"
    assert "[image/png: s-1-1.png]" in done.stderr
    assert "image/png that is not valid" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["s-1-1.png"]


@pytest.mark.parametrize(
    ("kind", "data"), [("image/png", "é"), ("image/png", "a"), ("image/svg+xml", "\ud800")]
)
def test_a_picture_that_is_not_valid_is_named_and_not_saved(
    session: FakeSession, tmp_path: Path, kind: str, data: str
) -> None:
    session.answer["results"] = [{kind: data}]
    done = run("exec", "s", "x", "--pictures", str(tmp_path))
    assert done.exit_code == 0, done.output
    assert f"[{kind} that is not valid" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_interrupts_the_execution(session: FakeSession) -> None:
    session.ctrl_c = True
    assert run("exec", "s", "x").exit_code == Exit.CANCELLED
    assert session.interrupted == 1


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ({"success": True, "status": "SUCCESS"}, 0),
        ({"success": False, "status": "FAILED", "reason": "NonZeroExit", "exit_code": 5}, 5),
        ({"success": False, "status": "FAILED", "reason": "NonZeroExit", "exit_code": None}, 1),
        ({"success": False, "status": "TIMEOUT", "reason": "ExecutionTimeout"}, Exit.TIMEOUT),
        ({"success": False, "status": "FAILED", "reason": "OOMKilled"}, Exit.OOM),
        ({"success": False, "status": "FAILED", "reason": "SandboxRestarted"}, 1),
    ],
)
def test_the_exit_code_of_an_execution(answer: Json, code: int) -> None:
    assert exits.for_execution(answer) == code


def test_the_shell_sends_complete_statements(session: FakeSession) -> None:
    text = "x = 1\n\nfor i in range(2):\n    print(i)\n\n!ls -l\n)\nlast"
    assert run("shell", "s", stdin=text).exit_code == 0
    assert [code for code, _, _ in session.calls] == [
        "x = 1",
        "for i in range(2):\n    print(i)\n",
        "BASH: ls -l",
        ")",
        "last",
    ]
