"""The Kubernetes API: an asynchronous client, and the conventions that both clients share."""
