"""Why a program does not start: each cause has its own reason, and its message has the fix."""

import errno
import os
import struct
from pathlib import Path
from typing import Any

import pytest

from nanogrid_executor.agent.start_reasons import reason_of
from nanogrid_executor.launcher import elf, spawn, start_failure
from nanogrid_executor.paths import Paths
from support.session_sandbox import SandboxPod

pytestmark = pytest.mark.integration

ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin"}


def an_elf(machine: int = 62, loader: bytes = b"/lib/no-such-loader.so.1") -> bytes:
    """A 64-bit program with one program header: the name of its loader."""
    identity = elf.MAGIC + bytes([2, 1, 1]) + bytes(9)
    header = identity + struct.pack(
        "<HHIQQQIHHHHHH", 2, machine, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    name = loader + b"\0"
    entry = struct.pack("<IIQQQQQQ", elf.PT_INTERP, 4, 120, 0, 0, len(name), len(name), 1)
    return header + entry + name


def start(folder: Path, argv: list[str], env: dict[str, str] | None = None) -> spawn.StartFailure:
    with pytest.raises(spawn.SpawnError) as refused:
        spawn.spawn(argv, str(folder), env or ENV, with_stdin=False)
    return refused.value.failure


OTHER_MACHINE = 183 if os.uname().machine == "x86_64" else 62


@pytest.mark.parametrize(
    ("content", "mode", "reason", "message"),
    [
        (b"#!/bin/sh\r\necho hi\r\n", 0o755, "InterpreterNotFound", "CRLF, save the file with LF"),
        (b"#!/usr/bin/env sh\r\n", 0o755, "InterpreterNotFound", "'sh\\r'"),
        (b"#!/usr/bin/env no-such-language\n", 0o755, "InterpreterNotFound", "no-such-language"),
        (b"#!/usr/bin/env sh -e\n", 0o755, "InterpreterNotFound", "env -S"),
        (b"#!/opt/none/ruby\n", 0o755, "InterpreterNotFound", "#!/usr/bin/env ruby"),
        (b"#! python3\n", 0o755, "InterpreterNotFound", "names the interpreter python3"),
        (an_elf(), 0o755, "InterpreterNotFound", "/lib/no-such-loader.so.1"),
        (
            b"#!/bin/sh\n",
            0o644,
            "EntrypointNotExecutable",
            '(mode 0644): run chmod +x, or use ["sh"',
        ),
        (b"#!/proc/version\n", 0o755, "EntrypointNotExecutable", "interpreter /proc/version"),
        (b"echo hi\n", 0o755, "EntrypointFormatUnknown", "begin it with #!/usr/bin/env sh"),
        (b"", 0o755, "EntrypointFormatUnknown", "is empty"),
        (b"\xef\xbb\xbf#!/bin/sh\n", 0o755, "EntrypointFormatUnknown", "byte order mark"),
        (an_elf(OTHER_MACHINE), 0o755, "EntrypointFormatUnknown", "and this node is"),
        (b"MZ\x90\0", 0o755, "EntrypointFormatUnknown", "a program for Windows"),
        (b"#!" + b"/x" * 200, 0o755, "EntrypointFormatUnknown", "more than 256 bytes"),
    ],
)
def test_a_file_that_exec_refuses(
    tmp_path: Path, content: bytes, mode: int, reason: str, message: str
) -> None:
    program = tmp_path / "program"
    program.write_bytes(content)
    program.chmod(mode)
    failure = start(tmp_path, ["./program"])
    assert (reason_of(failure.cause).value, message in failure.message) == (reason, True), failure
    assert failure.exit_code == (127 if reason == "InterpreterNotFound" else 126)
    assert "program" in failure.message


@pytest.mark.parametrize(
    ("argv", "reason", "message"),
    [
        (["no-such"], "EntrypointNotFound", "no-such: not found"),
        (["python3 main.py"], "EntrypointNotFound", 'write ["python3", "main.py"]'),
        (["here.sh"], "EntrypointNotFound", "write ./here.sh"),
        (["sh\r"], "EntrypointNotFound", "'sh\\r': not found: remove the white space"),
        ([""], "EntrypointNotFound", "begins with an empty text"),
        (["./gone"], "EntrypointNotFound", "a link to a file that does not exist"),
        (["./here.sh/x"], "EntrypointNotFound", "not found"),
        (["./folder"], "EntrypointNotExecutable", "is a folder"),
        (["./pipe"], "EntrypointNotExecutable", "cannot be executed"),
        (["sh", "-c", "a\0b"], "ArgumentsInvalid", "argument 2 of the command has a NUL"),
        (["sh", "-c", "x" * 200_000], "ArgumentsTooLong", "argument 2 has 200001 bytes"),
    ],
)
def test_a_command_that_exec_refuses(
    tmp_path: Path, argv: list[str], reason: str, message: str
) -> None:
    (tmp_path / "here.sh").write_text("#!/bin/sh\n")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "pipe").chmod(0o755)  # to read it would wait for a writer
    (tmp_path / "gone").symlink_to("nowhere")
    failure = start(tmp_path, argv)
    assert (reason_of(failure.cause).value, message in failure.message) == (reason, True), failure


@pytest.mark.parametrize(
    ("env", "reason", "message"),
    [
        ({"A": "x\0"}, "ArgumentsInvalid", "the variable A has a NUL"),
        ({"A=B": "x"}, "ArgumentsInvalid", "'A=B' is not a name"),
        ({"A": "x" * 200_000}, "ArgumentsTooLong", "the variable A has 200003 bytes"),
    ],
)
def test_an_environment_that_exec_refuses(
    tmp_path: Path, env: dict[str, str], reason: str, message: str
) -> None:
    failure = start(tmp_path, ["sh"], ENV | env)
    assert (reason_of(failure.cause).value, message in failure.message) == (reason, True), failure


def test_env_finds_its_interpreter_as_before(tmp_path: Path) -> None:
    for first in ("env sh", "env -S sh -e", "env -i /bin/sh", "env"):
        program = tmp_path / first.replace(" ", "_").replace("/", "")
        program.write_text(f"#!/usr/bin/{first}\n")
        program.chmod(0o755)
        assert start_failure.check_script(str(program), ENV["PATH"]) is None


def test_a_folder_in_path_that_cannot_be_read_does_not_hide_that_a_program_is_missing(
    tmp_path: Path,
) -> None:
    error = PermissionError(errno.EACCES, "Permission denied")
    failure = start_failure.explain(error, ["no-such"], {"PATH": f"{tmp_path}/closed:/bin"})
    assert failure.cause == start_failure.NOT_FOUND


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE])
def test_a_refusal_of_the_kernel_is_no_fault_of_the_program(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int
) -> None:
    def fork() -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(spawn.os, "fork", fork)
    failure = start(tmp_path, ["sh"])
    assert reason_of(failure.cause).value == "ProcessRefused"
    assert os.strerror(number) in failure.message
    exec_refusal = start_failure.explain(OSError(number, os.strerror(number)), ["sh"], ENV)
    assert exec_refusal.cause == start_failure.REFUSED


def test_a_failed_preparation_is_reported_whatever_its_text_is(tmp_path: Path) -> None:
    def fail() -> None:
        raise OSError(errno.EAGAIN, "no \udcff process")

    with pytest.raises(spawn.SpawnError) as refused:
        spawn.spawn(["sh"], str(tmp_path), ENV, with_stdin=False, before_exec=fail)
    assert refused.value.failure.cause == start_failure.REFUSED
    assert "no \\udcff process" in refused.value.failure.message


def test_a_job_reports_reason_message_and_exit_code(run: Any, paths: Paths) -> None:
    program = Path(paths.workspace, "run.sh")
    program.write_bytes(b"#!/bin/bash\r\n")
    program.chmod(0o755)
    ended = run("", command=["./run.sh"])
    result = ended.result
    assert (result.status, result.reason) == ("FAILED", "InterpreterNotFound")
    assert result.exit_code == ended.sandbox_exit == 127
    assert "save the file with LF" in result.message
    assert "save it with LF line ends" in result.message  # the hint


def test_shell_code_of_a_session_that_is_too_long(pod: SandboxPod) -> None:
    seen = pod.run("echo " + "x" * 200_000, shell=True)
    assert reason_of(seen.ended.error_cause).value == "ArgumentsTooLong"
    assert seen.starts == []
    assert pod.run("echo ok", shell=True).out == "ok\n"
