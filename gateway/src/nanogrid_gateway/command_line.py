"""The start of all servers: settings from the environment, ``--check``, logs, and metrics."""

import argparse
import asyncio
import logging
import os
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from nanogrid import log_line, logs
from nanogrid.metrics.registry import Metrics
from nanogrid.metrics.server import serving_metrics
from nanogrid.settings import SettingsError

log = logging.getLogger("nanogrid")

S = TypeVar("S")


def _nothing() -> None:
    """A program that has checked everything by its imports."""


def start(
    component: str,
    description: str,
    environment: str,
    read: Callable[[], S],
    check: Callable[[], None] = _nothing,
) -> S:
    """Set the logs up and read the settings; exits for ``--check`` and for a wrong setting.

    Args:
        component: the part of the program's name after ``nanogrid-``.
        description: what it does, for ``--help``.
        environment: all settings, for ``--help``.
        read: reads the settings.
        check: what ``--check`` tries, apart from the imports.

    Raises:
        SystemExit: code 0 after ``--check``, 2 when a setting is wrong.
    """
    program = f"nanogrid-{component}"
    parser = argparse.ArgumentParser(
        prog=program,
        description=description,
        epilog="Environment:\n" + environment,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--check", action="store_true", help="import everything and exit")
    log_line.add_options(parser)
    options = parser.parse_args()
    if options.check:
        check()
        print(f"{program}: all imports work")
        parser.exit()
    logs.start(component, os.environ, options.log_format, options.log_level)
    try:
        return read()
    except SettingsError as e:
        log.critical("a setting is wrong: %s", e)
        parser.exit(2)


def run(metrics: Metrics, port: int, server: Coroutine[Any, Any, None]) -> int:
    """Run a server to its end, and serve its metrics; returns the exit code.

    Args:
        metrics: what it measures.
        port: of the metrics; 0: none.
        server: the server. A SettingsError of it, or of the port, is exit code 2.
    """
    try:
        with serving_metrics(metrics.registry, port):
            asyncio.run(server)
    except SettingsError as e:
        log.critical("a setting is wrong: %s", e)
        return 2
    finally:
        server.close()  # it may not have started
    return 0
