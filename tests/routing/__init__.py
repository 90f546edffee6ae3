"""What stands around the router in tests: an API server, sessions' agents, router processes."""
