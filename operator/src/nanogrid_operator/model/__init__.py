"""Kubernetes objects as facts: typed, read once, pure."""
