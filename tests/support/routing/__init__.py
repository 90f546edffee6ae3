"""The router's surroundings in tests: an API server, sessions' agents, router processes."""
