"""The asynchronous client: the same methods, run in threads."""
