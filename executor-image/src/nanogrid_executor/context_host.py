"""Runs the user's code inside the user's own Python process. Standard library only.

The launcher starts it in each Python process of a session. It reads requests from its control
socket, which is no stream that user code uses, and tells of rich results and of ends there. As a
*context* it takes one request after another in one namespace; otherwise it takes one, and the
process ends as ``python3 main.py`` would have ended.

Nothing here is trusted: user code shares the process and may do as it likes with it. What it
breaks is its own. Imports are few and late, because every execution pays for them.

    launcher to host   length (4 bytes), marshal of {"number", "code", "filename", "env", "stdin"}
    host to launcher   kind (1 byte), length (4 bytes), payload:
                       S nothing: the code begins; D JSON of a rich result;
                       X exit code (4 bytes), 1 if KeyboardInterrupt ended it (1 byte)
"""

from __future__ import annotations

import _thread
import builtins
import marshal
import os
import sys
from _ast import Expr, Expression, Module, PyCF_ALLOW_TOP_LEVEL_AWAIT, PyCF_ONLY_AST
from types import ModuleType

TYPE_CHECKING = False  # typing's own would cost its import, a quarter of our time
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FrameType, TracebackType
    from typing import Any

STARTED = b"S"
DISPLAY = b"D"
ENDED = b"X"
CO_COROUTINE = 0x80  # inspect.CO_COROUTINE, whose module is slow to import
SIGINT = 2
INTERRUPTED = 128 + SIGINT


class Control:
    """The socket to the launcher."""

    def __init__(self, fd: int) -> None:
        os.set_inheritable(fd, False)
        self.fd = fd
        self.owner = os.getpid()
        self._lock = _thread.allocate_lock()  # any thread of user code may display something

    def request(self) -> dict[str, Any] | None:
        """Wait for the next request; None: the launcher wants no more."""
        length = int.from_bytes(self._exactly(4), "big")
        data = self._exactly(length)
        return marshal.loads(data) if length and len(data) == length else None  # noqa: S302

    def send(self, kind: bytes, payload: bytes = b"") -> None:
        """Tell the launcher; a fork of this process has nothing to tell."""
        if os.getpid() != self.owner:
            return
        data = memoryview(kind + len(payload).to_bytes(4, "big") + payload)
        with self._lock:
            while data:
                data = data[os.write(self.fd, data) :]

    def _exactly(self, count: int) -> bytes:
        parts = []
        while count:
            part = os.read(self.fd, min(count, 1 << 20))
            if not part:
                return b""
            parts.append(part)
            count -= len(part)
        return b"".join(parts)


class Source:
    """Gives tracebacks the lines of code that is in no file; the protocol is ``linecache``'s."""

    def __init__(self, code: str) -> None:
        self.code = code

    def get_source(self, name: str) -> str:
        """The whole text."""
        return self.code


class Host:
    """One namespace, and what runs in it."""

    def __init__(self, control: Control, *, context: bool) -> None:
        self.control = control
        self.context = context
        self.flags = 0  # of ``from __future__ import …``, which live on like variables do
        self.loop: Any = None
        self.module = ModuleType("__main__")
        self.first_main = sys.modules["__main__"]  # kept: its end would clear our own globals
        sys.modules["__main__"] = self.module
        self.namespace = self.module.__dict__
        self.namespace.update(__builtins__=builtins, __annotations__={})

    def run(self, request: dict[str, Any]) -> None:
        """Run one piece of code; raises what it raises."""
        filename, code = request["filename"], request["code"]
        body, last = self._compile(code, filename)
        self._evaluate(body)
        if last is not None:
            value = self._evaluate(last)
            if value is not None and not code.rstrip().endswith(";"):
                self._rich().show(value)

    def finish(self) -> None:
        """Show what is left to show, and hand over all output."""
        if "matplotlib.pyplot" in sys.modules:
            self._rich().show_figures()
        flush()

    def display(self, *values: object) -> None:
        """Show values as rich results: what ``display(…)`` is in user code."""
        for value in values:
            self._rich().show(value)

    def _rich(self) -> Any:
        from nanogrid_executor import rich

        return rich.Display(lambda bundle: self.control.send(DISPLAY, bundle))

    def _compile(self, code: str, filename: str) -> tuple[CodeType, CodeType | None]:
        flags = self.flags | (PyCF_ALLOW_TOP_LEVEL_AWAIT if self.context else 0)
        tree: Any = compile(code, filename, "exec", flags | PyCF_ONLY_AST, True)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], Expr) else None
        module = Module(tree.body, tree.type_ignores)
        body: CodeType = compile(module, filename, "exec", flags, True)
        if "__future__" in body.co_names:
            import __future__ as future

            known = [getattr(future, name).compiler_flag for name in future.all_feature_names]
            chosen = sum(flag for flag in known if body.co_flags & flag)
            flags |= chosen
            self.flags |= chosen if self.context else 0
        if last is None:
            return body, None
        return body, compile(Expression(last.value), filename, "eval", flags, True)

    def _evaluate(self, code: CodeType) -> object:
        if not code.co_flags & CO_COROUTINE:
            return eval(code, self.namespace)  # noqa: S307 the user's code is what we are for
        import asyncio

        if self.loop is None or self.loop.is_closed():
            self.loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self.loop)
        task = self.loop.create_task(eval(code, self.namespace))  # noqa: S307 see above
        try:
            return self.loop.run_until_complete(task)
        except KeyboardInterrupt:
            task.cancel()
            self.loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
            raise


def flush() -> None:
    """Hand over what Python and the C library have buffered."""
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError, AttributeError):
            continue  # user code closed it, or put something else in its place


def print_error(error: BaseException) -> None:
    """Write a traceback that begins with the user's code, with its lines."""
    hook: Callable[..., object] = sys.excepthook
    if hook is sys.__excepthook__:
        import traceback  # the built-in hook reads source lines from files only

        hook = traceback.print_exception
    hook(type(error), error, strip(error.__traceback__))


def strip(trace: TracebackType | None) -> TracebackType | None:
    """A traceback without this module's frames at its beginning."""
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return trace


def exit_code(error: SystemExit) -> int:
    """What the interpreter makes of ``sys.exit(…)``; a text is printed."""
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    print(error.code, file=sys.stderr)
    return 1


class Context(Host):
    """A host that lives on."""

    def serve(self) -> None:
        """Take requests until there are no more."""
        import ctypes
        import linecache
        import signal

        self.libc = ctypes.CDLL(None)
        self.signal = signal
        signal.signal(SIGINT, ignore)
        while (request := self.control.request()) is not None:
            lines = request["code"].splitlines(keepends=True)
            entry = (len(request["code"]), None, lines, request["filename"])
            linecache.cache[request["filename"]] = entry  # no mtime: it is never checked
            before = {name: os.environ.get(name) for name in request["env"]}
            os.environ.update(request["env"])
            give_input(request["stdin"])
            self.control.send(STARTED)
            code = self._guarded(request)
            if os.getpid() != self.control.owner:
                os._exit(code)  # a fork of user code has come to the end of the code
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
            word = code.to_bytes(4, "big") + bytes([self.was_interrupted])
            self.control.send(ENDED, word)

    def _guarded(self, request: dict[str, Any]) -> int:
        """Run it; the exit code. Nothing that user code raises gets beyond this."""
        self.was_interrupted = False
        code = 0
        try:
            try:
                # Anew each time: user code may have set a handler of its own.
                self.signal.signal(SIGINT, self.signal.default_int_handler)
                self.run(request)
            finally:
                self.signal.signal(SIGINT, ignore)
        except BaseException as error:
            self.signal.signal(SIGINT, ignore)  # it may have come just before it was ignored
            code = self._judge(error)
        try:
            self.finish()
        except BaseException as error:
            code = code or self._judge(error)
        self.libc.fflush(None)
        return code

    def _judge(self, error: BaseException) -> int:
        """Tell of what user code raised; the exit code that it stands for."""
        code = 1
        try:
            if isinstance(error, SystemExit):
                return exit_code(error)
            if isinstance(error, KeyboardInterrupt):
                self.was_interrupted, code = True, INTERRUPTED
            print_error(error)
        except BaseException as second:  # a hook or a stream of user code's own is broken
            os.write(2, f"{type(error).__name__}: {error}\n{second!r}\n".encode(errors="replace"))
        return code


def ignore(number: int, frame: FrameType | None) -> None:
    """Between executions there is nothing to interrupt.

    A handler, not SIG_IGN: that would be inherited by every program that user code starts.
    """


def give_input(text: bytes | None) -> None:
    """Make a text, or nothing, the standard input of this process."""
    if text is None:
        fd = os.open(os.devnull, os.O_RDONLY)
    else:
        fd = os.memfd_create("stdin")
        with open(fd, "wb", closefd=False) as file:
            file.write(text)
        os.lseek(fd, 0, os.SEEK_SET)
    os.dup2(fd, 0)
    os.close(fd)
    sys.stdin = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115


def run_once(host: Host) -> None:
    """Run one request, then end like ``python3 main.py``: by return, or by an exception of ours."""
    request = host.control.request()
    if request is None:
        return
    sys.argv[:] = [request["filename"]]
    host.namespace.update(
        __file__=request["filename"], __cached__=None, __loader__=Source(request["code"])
    )
    host.control.send(STARTED)
    try:
        host.run(request)
    except SystemExit:
        host.finish()
        raise
    except KeyboardInterrupt as error:
        print_error(error)
        raise SystemExit(INTERRUPTED) from None
    except BaseException as error:
        print_error(error)
        host.finish()
        raise SystemExit(1) from None
    host.finish()


def main(fd: int, *, context: bool) -> None:
    """Entry point; the launcher's command calls it (see ``session_run.HOST``)."""
    control = Control(fd)
    del sys.path[0]  # where this module came from
    if sys.path and sys.path[0] == "":
        sys.path[0] = os.getcwd()  # as for a script in the working directory
    sys.argv[:] = [""]
    host = Context(control, context=context) if context else Host(control, context=context)
    builtins.display = host.display  # type: ignore[attr-defined]
    if isinstance(host, Context):
        host.serve()
    else:
        run_once(host)
