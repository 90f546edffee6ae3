"""Start of the functions' API; the exit code says whether the start went well."""

import argparse
import logging
import sys

from nanogrid.envsettings import SettingsError
from nanogrid_gateway.api.server import Server
from nanogrid_gateway.api.settings import Settings, help_text


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(
        prog="nanogrid-gateway",
        description="Serves the functions' HTTP API.",
        epilog="Environment:\n" + help_text(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--check", action="store_true", help="import everything and exit")
    if parser.parse_args().check:
        Server(Settings(namespace="x", s3_bucket="xxx", redis_url="redis://x"))
        print("nanogrid-gateway: all imports work")
        return 0
    try:
        settings = Settings.from_env()
    except SettingsError as e:
        print(f"nanogrid-gateway: {e}", file=sys.stderr)
        return 2
    logging.basicConfig(
        level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    Server(settings).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
