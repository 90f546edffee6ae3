"""Starts the functions' API; exit code 2 means that a setting is wrong."""

import sys

from nanogrid import settings as environment
from nanogrid.metrics.registry import Metrics
from nanogrid.traces.export import check_imports
from nanogrid.traces.settings import TraceSettings
from nanogrid_gateway import command_line
from nanogrid_gateway.api.settings import Settings, help_text
from nanogrid_gateway.metrics import GatewayMetrics
from nanogrid_gateway.server.serve import run
from nanogrid_gateway.tracing import start_tracing


def main() -> int:
    """Entry point."""
    description = "Serves the functions' HTTP API and the web page."
    text = f"{help_text()}\n{environment.help_text(TraceSettings)}"
    settings = command_line.start("gateway", description, text, Settings.from_env, check_imports)
    metrics, tracing = Metrics("gateway"), start_tracing("nanogrid-gateway")
    server = run(settings, GatewayMetrics(metrics), tracing)
    try:
        return command_line.run(metrics, settings.metrics_port, server)
    finally:
        tracing.close()


if __name__ == "__main__":
    sys.exit(main())
