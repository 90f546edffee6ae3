"""The operator's CPU time per job, without a cluster: an API server in memory brings whole objects.

A real operator process runs jobs through their whole lives (:mod:`support.operator_load`), with TLS
and a real Redis. The API server is another process, so the numbers are the operator's alone. They
depend on the machine: compare two checkouts, which run in turn, in the opposite order in every
second round.

    python -m bench.operator_cpu --tree . --tree ../before --rounds 5
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from nanogrid import names
from support.controlplane.usage import cpu_seconds
from support.operator_load import LoadCluster, load_cluster
from support.operator_process import OperatorProcess
from support.redis_server import PASSWORD, Server, a_server
from support.s3_server import free_port

TESTS: Final = Path(__file__).parents[1]
WARM_UP: Final = 30  # jobs
PROFILED: Final = "support.profiled_operator"


@contextmanager
def operator(
    cluster: LoadCluster, store: Server, tree: Path, directory: Path, profile: Path | None
) -> Iterator[OperatorProcess]:
    """An operator of a checkout; it ends with the context."""
    port = free_port()
    paths = [tree / "operator/src", tree / "sdk/src", TESTS]
    environment = cluster.environment(f"operator-{port}") | {
        "PYTHONPATH": os.pathsep.join(str(path.resolve()) for path in paths),
        "NANOGRID_REDIS_URL": f"redis://127.0.0.1:{store.port}/0",
        "NANOGRID_REDIS_PASSWORD": PASSWORD,
        "NANOGRID_LOG_FORMAT": "json",
    }
    if profile is not None:
        environment["PROFILE_FILE"] = str(profile.resolve())
    module = "nanogrid_operator" if profile is None else PROFILED
    process = OperatorProcess(environment, port, directory / "operator.log", module)
    process.start()
    try:
        process.wait_ready()
        yield process
        process.stop()
    finally:
        process.kill()


def measure(options: argparse.Namespace, tree: Path, store: Server, directory: Path) -> float:
    """The operator's milliseconds of CPU per job, after some jobs to warm up."""
    with (
        load_cluster(directory) as cluster,
        operator(cluster, store, tree, directory, options.profile) as process,
    ):
        url = f"http://127.0.0.1:{process.port}{names.RESULTS_PATH}"
        cluster.run_jobs(WARM_UP, options.in_flight, url)
        before, began = cpu_seconds(process.pid), time.monotonic()
        cluster.run_jobs(options.jobs, options.in_flight, url)
        used = cpu_seconds(process.pid) - before
        took = time.monotonic() - began
    found: float = used / options.jobs * 1000
    print(f"{tree}: {found:.2f} ms per job, {options.jobs / took:.1f} jobs/s", file=sys.stderr)
    return found


def main() -> None:
    """Measure, and print the result as JSON."""
    parser = argparse.ArgumentParser(description="The operator's CPU time per job.")
    parser.add_argument("--tree", type=Path, action="append", help="a checkout; may be repeated")
    parser.add_argument("--jobs", type=int, default=500, help="of one run")
    parser.add_argument("--in-flight", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--profile", type=Path, help="where cProfile writes; costs time itself")
    options = parser.parse_args()
    trees: list[Path] = options.tree or [TESTS.parent]
    values: dict[str, list[float]] = {str(tree): [] for tree in trees}
    with tempfile.TemporaryDirectory(prefix="operator-") as name:
        directory = Path(name)
        with a_server(directory) as store:
            for turn in range(options.rounds):
                for tree in trees if turn % 2 == 0 else reversed(trees):
                    values[str(tree)].append(measure(options, tree, store, directory))
    first = values[str(trees[0])]
    print(
        json.dumps(
            {
                tree: {
                    "cpuMillisPerJob": round(statistics.median(found), 2),
                    "all": [round(value, 2) for value in found],
                    "ratioToFirst": round(
                        statistics.median(a / b for a, b in zip(found, first, strict=True)), 3
                    ),
                }
                for tree, found in values.items()
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
