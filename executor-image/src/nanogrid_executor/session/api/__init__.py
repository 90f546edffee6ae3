"""The session's HTTP API; the only folder that imports Flask and its server."""
