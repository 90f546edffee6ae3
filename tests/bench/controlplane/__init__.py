"""The control plane alone: how many jobs per second it bears, and what each one costs.

No kubelet and no container: kwok plays the pods, each of which runs for 300 ms, on a control plane
of its own on loopback (:mod:`bench.controlplane.servers`). So the numbers have no cost of images,
networks or containers; they compare controllers. Subjects run in turn, in the opposite order in
every second round. So many objects are in flight all the time, and those that have ended stay until
the end of their run. :func:`run` measures, :func:`rows` makes the cells of a table, :func:`measure`
makes the part of `make bench`.

    python -m bench.controlplane --jobs 1000
"""

import sys
from typing import Protocol

from bench.controlplane.compare import plan_for, run
from bench.controlplane.tables import HEAD, REQUESTS_HEAD, part, request_rows, rows
from nanogrid.types import Json

__all__ = ["HEAD", "REQUESTS_HEAD", "measure", "request_rows", "rows", "run"]


class Budget(Protocol):
    """The time that is left for a benchmark."""

    def allows(self, seconds: float) -> bool:
        """Whether work of so many seconds ends in time."""


def measure(budget: Budget, *, quick: bool) -> Json:
    """The part `controlPlane` of `make bench`; see :func:`run`, and :func:`.tables.part`."""
    plan = plan_for(budget.allows, quick=quick)
    return part(run(quick, plan, lambda line: print(line, file=sys.stderr, flush=True)))
