"""The control plane alone: how many jobs per second it bears, and what each one costs.

No kubelet and no container: kwok plays the pods, each of which runs for 300 ms, on a control plane
of its own on loopback (:mod:`support.controlplane.servers`). So the numbers have no cost of images,
networks or containers; they compare controllers. Subjects run in turn, in the opposite order in
every second round. So many objects are in flight all the time, and those that have ended stay until
the end of their run. :func:`run` measures, :func:`rows` makes the cells of a table, :func:`measure`
makes the part of `make bench`.

    python -m bench.controlplane --jobs 1000
"""

import argparse
import json
import signal
import sys
from pathlib import Path
from typing import Protocol

from nanogrid.types import Json
from support.controlplane.compare import MOST_IN_FLIGHT, Plan, plan_for, run
from support.controlplane.subjects import ALL
from support.controlplane.tables import HEAD, REQUESTS_HEAD, part, ratios, request_rows, rows
from support.figures import table

__all__ = ["HEAD", "REQUESTS_HEAD", "measure", "request_rows", "rows", "run"]


class Budget(Protocol):
    """The time that is left for a benchmark."""

    def allows(self, seconds: float) -> bool:
        """Whether work of so many seconds ends in time."""


def say(line: str) -> None:
    """Show progress."""
    print(line, file=sys.stderr, flush=True)


def measure(budget: Budget, *, quick: bool) -> Json:
    """The part `controlPlane` of `make bench`; see :func:`run`, and :func:`part`."""
    return part(run(quick, plan_for(budget.allows, quick=quick), say))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Controllers on simulated nodes (kwok).")
    parser.add_argument("--jobs", type=int, default=1000, help="objects of each run")
    parser.add_argument("--limited", type=int, default=100, help="Jobs at default limits")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--in-flight", type=int, default=MOST_IN_FLIGHT)
    names = [subject.name for subject in ALL]
    parser.add_argument("--subjects", nargs="+", choices=names, default=names)
    parser.add_argument("--json", type=Path, help="where all values are written")
    options = parser.parse_args()
    # As Ctrl-C: else the servers would outlive this process.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    chosen = tuple(subject for subject in ALL if subject.name in options.subjects)
    plan = Plan(options.jobs, options.limited, options.rounds, options.in_flight, chosen)
    values = run(quick=False, plan=plan, say=say)
    if options.json:
        options.json.write_text(json.dumps(values, indent=1))
    print(table(HEAD, rows(values)))
    print()
    requests = {f"{client}: {name}": cells for client, name, *cells in request_rows(values)}
    print(table(("requests each", *REQUESTS_HEAD[2:]), requests))
    print()
    print("ExecutionJobs per second / others:", ratios(values))
    print(f"operator: at most {values['operatorPeakMiB']} MiB")


if __name__ == "__main__":
    main()
