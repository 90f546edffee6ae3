"""The command line of both servers: settings from the environment, ``--check``, and logs."""

import argparse
from collections.abc import Callable
from typing import Protocol, TypeVar

from nanogrid import logs
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
