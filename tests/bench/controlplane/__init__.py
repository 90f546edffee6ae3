"""The control plane alone: how many jobs per second it bears, and what each one costs.

No kubelet and no container: kwok plays the pods, each of which runs for 300 ms, on a control plane
of its own on loopback (:mod:`bench.controlplane.servers`). So the numbers have no cost of images,
networks or containers; they compare controllers. Subjects run in turn, in the opposite order in
every second round. :func:`run` measures, :func:`rows` makes the cells of a table.

    python -m bench.controlplane --jobs 1000
"""

from bench.controlplane.compare import run
from bench.controlplane.tables import HEAD, REQUESTS_HEAD, request_rows, rows

__all__ = ["HEAD", "REQUESTS_HEAD", "request_rows", "rows", "run"]
