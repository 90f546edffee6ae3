"""Sessions of the client: executions, files, event streams."""
