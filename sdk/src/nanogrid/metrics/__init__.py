"""What a process measures, for Prometheus: declared metrics, and the server of ``/metrics``."""
