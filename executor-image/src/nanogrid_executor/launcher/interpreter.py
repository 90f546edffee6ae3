"""Runs the user's code inside the user's own Python process. Standard library only.

The launcher starts it in each Python process of a session. It reads requests from its control
socket, which is not one of the standard streams, and reports rich results and ends there. As a
*context* it serves one request after another in one namespace
(:mod:`nanogrid_executor.launcher.context_interpreter`). Otherwise it serves one request, and the
process ends as ``python3 main.py`` would end.

Nothing here is trusted: user code shares the process and can change all of it. It harms only
itself. Imports are few and late, because every execution pays for them.

    launcher to interpreter   length (4 bytes), marshal of {"number", "code", "filename", "env",
                              "stdin"}
    interpreter to launcher   kind (1 byte), length (4 bytes), payload:
                              S empty: the code starts; D JSON of a rich result;
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

TYPE_CHECKING = False  # importing typing for its own would take a quarter of our start time
if TYPE_CHECKING:
    from types import CodeType, TracebackType
    from typing import Any

STARTED = b"S"
DISPLAY = b"D"
ENDED = b"X"
CO_COROUTINE = 0x80  # inspect.CO_COROUTINE, whose module is slow to import
SIGINT = 2
INTERRUPTED = 128 + SIGINT
BYTE_ORDER_MARK = "\ufeff"  # Python ignores it in a file, but not in a text
FOLDER = os.path.dirname(__file__)


class ControlSocket:
    """The socket to the launcher."""

    def __init__(self, fd: int) -> None:
        os.set_inheritable(fd, False)
        self.fd = fd
        self.owner = os.getpid()
        self._lock = _thread.allocate_lock()  # any thread of user code may display something

    def receive(self) -> dict[str, Any] | None:
        """Wait for the next request; None when the launcher sends no more."""
        length = int.from_bytes(self._read_exactly(4), "big")
        data = self._read_exactly(length)
        return marshal.loads(data) if length and len(data) == length else None  # noqa: S302

    def send(self, kind: bytes, payload: bytes = b"") -> None:
        """Send a message to the launcher; does nothing in a fork of this process."""
        if os.getpid() != self.owner:
            return
        data = memoryview(kind + len(payload).to_bytes(4, "big") + payload)
        with self._lock:
            while data:
                data = data[os.write(self.fd, data) :]

    def _read_exactly(self, count: int) -> bytes:
        parts = []
        while count:
            part = os.read(self.fd, min(count, 1 << 20))
            if not part:
                return b""
            parts.append(part)
            count -= len(part)
        return b"".join(parts)


class SourceLoader:
    """Gives tracebacks the lines of code that is in no file; ``linecache`` calls it."""

    def __init__(self, code: str) -> None:
        self.code = code

    def get_source(self, name: str) -> str:
        """The whole text."""
        return self.code


class Interpreter:
    """One namespace, and the code that runs in it."""

    def __init__(self, control: ControlSocket, *, context: bool) -> None:
        self.control = control
        self.context = context
        self.flags = 0  # of ``from __future__ import …``, which stay in force like variables
        self.runner: Any = None  # an asyncio.Runner
        self.module = ModuleType("__main__")
        self.first_main = sys.modules["__main__"]  # kept: its end would clear our own globals
        sys.modules["__main__"] = self.module
        self.namespace = self.module.__dict__
        self.namespace.update(__builtins__=builtins, __annotations__={})

    def run(self, request: dict[str, Any]) -> None:
        """Run one piece of code; raises what the code raises."""
        filename, code = request["filename"], request["code"].removeprefix(BYTE_ORDER_MARK)
        body, last = self._compile(code, filename)
        self._evaluate(body)
        if last is not None:
            value = self._evaluate(last)
            if value is not None and not code.rstrip().endswith(";"):
                self._display().show(value)

    def finish(self) -> None:
        """End a script's event loop, display open figures, and flush all output."""
        if not (self.context or self.runner is None or self.runner.get_loop().is_closed()):
            self.runner.close()  # cancels the tasks that are left, as asyncio.run() does
        if "matplotlib.pyplot" in sys.modules:
            self._display().show_figures()
        flush()

    def display(self, *values: object) -> None:
        """Show values as rich results: ``display(…)`` in user code."""
        for value in values:
            self._display().show(value)

    def _display(self) -> Any:
        from nanogrid_executor.launcher.display import Display

        return Display(lambda bundle: self.control.send(DISPLAY, bundle))

    def _compile(self, code: str, filename: str) -> tuple[CodeType, CodeType | None]:
        flags = self.flags | PyCF_ALLOW_TOP_LEVEL_AWAIT
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
            return eval(code, self.namespace)  # noqa: S307 running user code is the purpose
        import asyncio

        if self.runner is None or self.runner.get_loop().is_closed():
            self.runner = asyncio.Runner()
            asyncio.set_event_loop(self.runner.get_loop())
        loop = self.runner.get_loop()
        task = loop.create_task(eval(code, self.namespace))  # noqa: S307 see above
        try:
            return loop.run_until_complete(task)
        except KeyboardInterrupt:
            task.cancel()
            loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
            raise


def flush() -> None:
    """Flush the buffers of Python's standard streams."""
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError, AttributeError):
            continue  # user code closed or replaced it


def print_error(error: BaseException) -> None:
    """Write a traceback that begins with the user's code, with its source lines."""
    import traceback  # the built-in hook reads source lines from files only

    trace = user_frames(error.__traceback__)
    if sys.excepthook is not sys.__excepthook__:
        try:
            sys.excepthook(type(error), error, trace)
            return
        except Exception as second:
            second.__context__ = None  # it is the original exception, which follows
            print("Error in sys.excepthook:", file=sys.stderr)
            traceback.print_exception(type(second), second, user_frames(second.__traceback__))
            print("\nOriginal exception was:", file=sys.stderr)
    traceback.print_exception(type(error), error, trace)


def user_frames(trace: TracebackType | None) -> TracebackType | None:
    """A traceback without the frames of this folder at its beginning."""
    while trace is not None and os.path.dirname(trace.tb_frame.f_code.co_filename) == FOLDER:
        trace = trace.tb_next
    return trace


def exit_code(error: SystemExit) -> int:
    """The exit code that Python gives for ``sys.exit(…)``; a text is printed."""
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    print(error.code, file=sys.stderr)
    return 1


def run_once(interpreter: Interpreter) -> None:
    """Run one request, then end like ``python3 main.py``: return, or raise SystemExit."""
    request = interpreter.control.receive()
    if request is None:
        return
    sys.argv[:] = [request["filename"]]
    interpreter.namespace.update(
        __file__=request["filename"], __cached__=None, __loader__=SourceLoader(request["code"])
    )
    interpreter.control.send(STARTED)
    try:
        interpreter.run(request)
    except SystemExit:
        interpreter.finish()
        raise
    except KeyboardInterrupt as error:
        print_error(error)
        raise SystemExit(INTERRUPTED) from None
    except BaseException as error:
        print_error(error)
        interpreter.finish()
        raise SystemExit(1) from None
    interpreter.finish()


def open_control(fd: int) -> ControlSocket:
    """Open the control socket, and prepare ``sys`` as for a script."""
    control = ControlSocket(fd)
    del sys.path[0]  # the directory of this package
    if sys.path and sys.path[0] == "":
        sys.path[0] = os.getcwd()  # as for a script in the working directory
    sys.argv[:] = [""]
    return control


def main(fd: int) -> None:
    """Entry point; the launcher's command calls it (see ``session_command.BOOT``)."""
    interpreter = Interpreter(open_control(fd), context=False)
    builtins.display = interpreter.display  # type: ignore[attr-defined]
    run_once(interpreter)
