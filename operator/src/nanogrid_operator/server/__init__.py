"""The HTTP server: results of agents, and health probes."""
