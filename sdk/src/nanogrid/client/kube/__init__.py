"""The Kubernetes API for the client: objects, watches, pod logs, port forwarding."""
