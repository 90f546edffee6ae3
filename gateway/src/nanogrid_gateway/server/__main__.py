"""Starts the functions' API; exit code 2 means that a setting is wrong."""

import asyncio
import sys

from nanogrid.settings import SettingsError
from nanogrid_gateway.api.settings import Settings, help_text
from nanogrid_gateway.command_line import start
from nanogrid_gateway.server.serve import run

PROGRAM = "nanogrid-gateway"


def main() -> int:
    """Entry point."""
    description = "Serves the functions' HTTP API and the web page."
    settings = start(PROGRAM, description, help_text(), Settings.from_env)
    try:
        asyncio.run(run(settings))
    except SettingsError as e:  # of a file that the settings name
        print(f"{PROGRAM}: {e}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
