"""Measure the control plane and print tables."""

import argparse
import json
import signal
import sys
from pathlib import Path

from bench.controlplane import HEAD, REQUESTS_HEAD, request_rows, rows
from bench.controlplane.compare import MOST_IN_FLIGHT, Plan, run
from bench.controlplane.subjects import ALL
from bench.controlplane.tables import ratios
from support.figures import table


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
    values = run(quick=False, plan=plan, say=lambda line: print(line, file=sys.stderr, flush=True))
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
