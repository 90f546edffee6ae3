"""Starts the functions' API; exit code 2 means that a setting is wrong."""

import sys

from nanogrid.metrics.registry import Metrics
from nanogrid_gateway import command_line
from nanogrid_gateway.api.settings import Settings, help_text
from nanogrid_gateway.metrics import GatewayMetrics
from nanogrid_gateway.server.serve import run


def main() -> int:
    """Entry point."""
    description = "Serves the functions' HTTP API and the web page."
    settings = command_line.start("gateway", description, help_text(), Settings.from_env)
    metrics = Metrics("gateway")
    server = run(settings, GatewayMetrics(metrics))
    return command_line.run(metrics, settings.metrics_port, server)


if __name__ == "__main__":
    sys.exit(main())
