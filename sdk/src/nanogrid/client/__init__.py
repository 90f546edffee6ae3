"""The Python client: run code as jobs and in sessions. See docs/python.md."""

from nanogrid.client.cluster import Cluster, events, jobs, pods, secrets

__all__ = ["Cluster", "events", "jobs", "pods", "secrets"]
