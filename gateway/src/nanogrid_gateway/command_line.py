"""The start of all servers: settings from the environment, ``--check``, logs, and metrics."""

import argparse
import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from nanogrid import logs
from nanogrid.metrics.registry import Metrics
from nanogrid.metrics.server import serving_metrics
from nanogrid.settings import SettingsError


class _HasLogs(Protocol):
    @property
    def log_level(self) -> str: ...
    @property
    def log_format(self) -> str: ...


S = TypeVar("S", bound=_HasLogs)


def start(program: str, description: str, environment: str, read: Callable[[], S]) -> S:
    """Read the settings and set the logs up; exits for ``--check`` and for a wrong setting.

    Args:
        program: its name.
        description: what it does, for ``--help``.
        environment: all settings, for ``--help``.
        read: reads the settings.

    Raises:
        SystemExit: code 0 after ``--check``, 2 when a setting is wrong.
    """
    parser = argparse.ArgumentParser(
        prog=program,
        description=description,
        epilog="Environment:\n" + environment,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--check", action="store_true", help="import everything and exit")
    if parser.parse_args().check:
        print(f"{program}: all imports work")
        parser.exit()
    try:
        settings = read()
    except SettingsError as e:
        parser.exit(2, f"{program}: {e}\n")
    logs.configure(settings.log_level, settings.log_format)
    return settings


def run(program: str, metrics: Metrics, port: int, server: Coroutine[Any, Any, None]) -> int:
    """Run a server to its end, and serve its metrics; returns the exit code.

    Args:
        program: its name.
        metrics: what it measures.
        port: of the metrics; 0: none.
        server: the server. A SettingsError of it, or of the port, is exit code 2.
    """
    try:
        with serving_metrics(metrics.registry, port):
            asyncio.run(server)
    except SettingsError as e:
        print(f"{program}: {e}", file=sys.stderr)
        return 2
    finally:
        server.close()  # it may not have started
    return 0
