"""The Kubernetes API: leader election, server clock, Secrets, object names."""
