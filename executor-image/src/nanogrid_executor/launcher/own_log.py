"""The launcher's own lines, on stderr of the user's container. User code's output stays as it is.

The form is that of the platform's other programs. The launcher has it again, because it runs in
images without them. Its texts are short and its own; names of contexts are shown as literals.
"""

import contextlib
import json
import sys
import time
from typing import Any, Final

LOGGER: Final = "nanogrid.launcher"
FORMAT: Final = "--log-format="  # text or json
JOB: Final = "--log-job="  # the fields of the job that each line has, as a JSON object


def write(level: str, text: str) -> None:
    """Write one line, as the arguments of the process say. A closed log is no reason to fail."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"{line(sys.argv, level, text, time.time())}\n")
        sys.stderr.flush()


def line(arguments: list[str], level: str, text: str, seconds: float) -> str:
    """A line without its end; ``seconds`` since the epoch."""
    job: dict[str, Any] = json.loads(_option(arguments, JOB) or "{}")
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    when = f"{whole}.{int(seconds * 1000) % 1000:03d}Z"
    if _option(arguments, FORMAT) == "json":
        names = ("time", "level", "component", "logger", "message")
        own = dict(zip(names, (when, level, "launcher", LOGGER, text), strict=True))
        return json.dumps({**own, **job})
    shown = "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)
    fields = [f"{name}={_value(value)}" for name, value in job.items()]
    return " ".join([when, level, LOGGER, shown, *fields])


def _option(arguments: list[str], name: str) -> str:
    return next((a.removeprefix(name) for a in arguments if a.startswith(name)), "")


def _value(value: object) -> str:
    text = str(value)
    plain = text and text.isprintable() and not any(c in text for c in ' "=')
    return text if plain else json.dumps(text)
