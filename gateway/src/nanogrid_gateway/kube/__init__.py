"""The Kubernetes API: a client for threads, an event loop, LIST and WATCH."""
