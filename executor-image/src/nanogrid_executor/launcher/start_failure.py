"""Why a program cannot be started: exec reports a number, this module finds the cause.

Standard library only. It runs in the child that called exec, so it sees the files as exec did. The
causes are part of the frames ``EXITED``; the agent turns each into a reason.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping

from nanogrid_executor.launcher.values import NamedTuple

TYPE_CHECKING = False  # see nanogrid_executor.launcher.values
if TYPE_CHECKING:
    from typing import Final

NOT_FOUND: Final = "notFound"
INTERPRETER: Final = "interpreter"
PERMISSION: Final = "permission"
FORMAT: Final = "format"
ARGUMENTS: Final = "arguments"
TOO_LONG: Final = "tooLong"
REFUSED: Final = "refused"  # by the kernel, which may accept it later
CONTEXT_LIMIT: Final = "contextLimit"
CONTEXT_BUSY: Final = "contextBusy"

EXIT_NOT_FOUND: Final = 127  # what a shell reports
EXIT_NOT_STARTED: Final = 126
HEAD_BYTES: Final = 256  # of a script; the kernel reads no more of its first line
ARGUMENT_BYTES: Final = 128 * 1024  # MAX_ARG_STRLEN: of one argument or variable
RESOURCES: Final = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
ELF: Final = b"\x7fELF"
FOREIGN: Final = {
    b"MZ": "a program for Windows",
    b"\xcf\xfa\xed\xfe": "a program for macOS",
    b"\xca\xfe\xba\xbe": "a program for macOS, or a Java class",
}
BY_SUFFIX: Final = {".py": "python3", ".sh": "sh", ".js": "node", ".rb": "ruby", ".pl": "perl"}


class StartFailure(NamedTuple):
    """The cause, a message with the fix, and the exit code that a shell would report."""

    cause: str
    message: str
    exit_code: int = EXIT_NOT_STARTED


def system_failure(what: str, error: BaseException) -> StartFailure:
    """The kernel refused something that a process needs."""
    detail = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return StartFailure(REFUSED, f"{what}: {detail}")


def check_script(program: str, path: str) -> StartFailure | None:
    """A failure that exec does not report: ``#!/usr/bin/env NAME`` looks for NAME itself.

    Args:
        program: the first word of the command.
        path: the program's PATH.
    """
    file = find(program, path)
    if file is None:
        return None
    interpreter, name = shebang(_head(file))
    own_rules = not name or name.startswith("-") or "=" in name
    if os.path.basename(interpreter) != "env" or own_rules or find(name, path) is not None:
        return None
    return _no_interpreter(program, name)


def explain(error: OSError, argv: list[str], env: Mapping[str, str]) -> StartFailure:
    """Why exec refused a program."""
    program = argv[0]
    if error.errno in RESOURCES:
        return system_failure(shown(program), error)
    if error.errno == errno.E2BIG:
        return _too_long(argv, env)
    file = find(program, env.get("PATH", os.defpath))
    if file is None and error.errno == errno.EACCES and "/" in program:
        message = f"{shown(program)}: the code has no permission to enter a folder of this path"
        return StartFailure(PERMISSION, message)
    if file is None:
        return _not_found(program, env.get("PATH", os.defpath))
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return _missing_part(program, file)
    if error.errno in (errno.EACCES, errno.EPERM):
        return StartFailure(PERMISSION, f"{shown(program)} {_forbidden(file, error)}")
    if error.errno in (errno.ENOEXEC, errno.EINVAL, errno.ELIBBAD):
        return StartFailure(FORMAT, f"{shown(program)} {_wrong_format(file)}")
    return StartFailure(PERMISSION, f"{shown(program)}: {error.strerror}")


def explain_value(error: ValueError, argv: list[str], env: Mapping[str, str]) -> StartFailure:
    """Why an argument or a variable cannot be passed to a program."""
    if not argv[0]:
        message = "the command begins with an empty text: name a program"
        return StartFailure(NOT_FOUND, message, EXIT_NOT_FOUND)
    for number, argument in enumerate(argv):
        if "\0" in argument:
            return StartFailure(ARGUMENTS, f"argument {number} of the command has a NUL character")
    for name, value in env.items():
        if not name or "=" in name or "\0" in name:
            return StartFailure(ARGUMENTS, f"{name!r} is not a name of a variable")
        if "\0" in value:
            return StartFailure(ARGUMENTS, f"the variable {name} has a NUL character")
    return StartFailure(ARGUMENTS, str(error))


def find(program: str, path: str) -> str | None:
    """The file that exec takes for a program, or would take if it could."""
    if "/" in program:
        return program if os.path.lexists(program) else None
    if not program:
        return None
    candidates = [os.path.join(folder or ".", program) for folder in path.split(os.pathsep)]
    existing = [each for each in candidates if os.path.lexists(each)]
    usable = (each for each in existing if os.path.isfile(each) and os.access(each, os.X_OK))
    return next(usable, existing[0] if existing else None)


def shebang(head: bytes) -> tuple[str, str]:
    """Interpreter and argument of a script's first line, as the kernel reads it; empty texts."""
    if not head.startswith(b"#!"):
        return "", ""
    line = os.fsdecode(head[2:].split(b"\n", 1)[0]).strip(" \t")
    interpreter, _, argument = line.replace("\t", " ").partition(" ")
    return interpreter, argument.strip(" ")


def shown(name: str) -> str:
    """A name in a message; characters that cannot be seen are escaped."""
    return name if name and name.isprintable() and name == name.strip() else ascii(name)


def _head(file: str) -> bytes:
    if not os.path.isfile(file):
        return b""  # a folder or a device; to open a pipe would wait for a writer
    try:
        with open(file, "rb") as stream:
            return stream.read(HEAD_BYTES)
    except OSError:
        return b""  # it may be executed but not read


def _not_found(program: str, path: str) -> StartFailure:
    other = {"python": "python3", "python3": "python", "pip": "pip3"}.get(program, "")
    words = program.split()
    if len(words) > 1:
        items = ", ".join(f'"{word}"' for word in words)
        fix = f": each word is an item of its own, write [{items}]"
    elif words and words[0] != program:
        fix = ": remove the white space at the beginning or the end of its name"
    elif "/" not in program and os.path.isfile(program):
        fix = f" in PATH: write ./{program} for the file in the working directory"
    elif other and find(other, path) is not None:
        fix = f": this image has {other}"
    else:
        fix = ""
    return StartFailure(NOT_FOUND, f"{shown(program)}: not found{fix}", EXIT_NOT_FOUND)


def _missing_part(program: str, file: str) -> StartFailure:
    """The file exists, but what it needs does not."""
    if not os.path.exists(file):
        message = f"{shown(program)} is a link to a file that does not exist"
        return StartFailure(NOT_FOUND, message, EXIT_NOT_FOUND)
    head = _head(file)
    interpreter, _ = shebang(head)
    if interpreter:
        return _no_interpreter(program, interpreter)
    if head.startswith(ELF):
        from nanogrid_executor.launcher import elf  # late: most programs start

        with open(file, "rb") as stream:
            loader = elf.loader(stream)
        message = (
            f"{shown(program)} needs the loader {shown(loader or '')}, which does not exist: it is "
            "built for another C library. Use an image that has it, or link it statically"
        )
        return StartFailure(INTERPRETER, message, EXIT_NOT_FOUND)
    return StartFailure(NOT_FOUND, f"{shown(program)}: not found", EXIT_NOT_FOUND)


def _no_interpreter(program: str, name: str) -> StartFailure:
    start = f"the first line of {shown(program)} names the interpreter {shown(name)}"
    if name.endswith("\r"):
        fix = "the line ends with CRLF, save the file with LF"
    elif len(name.split()) > 1:
        fix = "env takes one word, write #!/usr/bin/env -S and then the words"
    elif "/" not in name:
        fix = f"install it, or name another one, such as #!/usr/bin/env {_likely(program)}"
    else:
        fix = f"write #!/usr/bin/env {os.path.basename(name)}, or use an image that has it"
    message = f"{start}, which does not exist: {fix}"
    return StartFailure(INTERPRETER, message, EXIT_NOT_FOUND)


def _forbidden(file: str, error: OSError) -> str:
    if os.path.isdir(file):
        return "is a folder: name a file in it"
    run = f'["{_likely(file)}", "{file}"]'
    if os.statvfs(file).f_flag & os.ST_NOEXEC:
        return f"is on a file system without programs (noexec): use the command {run}"
    if not os.access(file, os.X_OK):
        mode = os.stat(file).st_mode & 0o7777
        return f"has no execute permission (mode {mode:04o}): run chmod +x, or use {run}"
    interpreter, _ = shebang(_head(file))
    if interpreter and os.path.exists(interpreter) and not os.access(interpreter, os.X_OK):
        return f"names the interpreter {shown(interpreter)}, which has no execute permission"
    return f"cannot be executed: {error.strerror}"


def _wrong_format(file: str) -> str:
    head = _head(file)
    if not head:
        return "is empty, or cannot be read"
    if head.startswith(BYTE_ORDER_MARK + b"#!"):
        return "begins with a byte order mark: save it as UTF-8 without one"
    if head.startswith(b"#!"):
        return (
            f"has a first line of more than {HEAD_BYTES} bytes, or an interpreter of its own kind"
        )
    if head.startswith(ELF):
        from nanogrid_executor.launcher import elf  # see above

        ours, theirs = os.uname().machine, elf.machine(head)
        if theirs is not None and theirs != ours:
            return f"is a program for {theirs}, and this node is {ours}: build it for {ours}"
        return "is a damaged program"
    for magic, kind in FOREIGN.items():
        if head.startswith(magic):
            return f"is {kind}"
    name = _likely(file)
    return f'names no interpreter: begin it with #!/usr/bin/env {name}, or use ["{name}", "{file}"]'


def _likely(file: str) -> str:
    """The program that most likely runs a file."""
    interpreter, argument = shebang(_head(file))
    if interpreter:
        words = argument.split() if os.path.basename(interpreter) == "env" else []
        names = [word for word in words if not word.startswith("-") and "=" not in word]
        return names[0] if names else os.path.basename(interpreter)
    return BY_SUFFIX.get(os.path.splitext(file)[1].lower(), "sh")


def _too_long(argv: list[str], env: Mapping[str, str]) -> StartFailure:
    sizes = {f"argument {number}": argument for number, argument in enumerate(argv)}
    sizes |= {f"the variable {name}": f"{name}={value}" for name, value in env.items()}
    lengths = {what: len(os.fsencode(text)) + 1 for what, text in sizes.items()}
    longest = max(lengths, key=lambda what: lengths[what])
    if lengths[longest] > ARGUMENT_BYTES:
        detail = f"{longest} has {lengths[longest]} bytes, at most {ARGUMENT_BYTES} are possible"
    else:
        detail = f"arguments and variables have {sum(lengths.values())} bytes together"
    return StartFailure(TOO_LONG, detail)
