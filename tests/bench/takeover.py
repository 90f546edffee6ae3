"""How long a take-over takes, and whether a leader without spare CPU stays the leader.

``python -m tests.bench.takeover [--kills 10] [--jobs 1000] [--saturated 60]``: two real operator
processes over a cluster in memory with so many finished jobs. Each time, the leader is killed with
SIGKILL, and one job is created. Then four processes use all CPU for so many seconds. Times are in
seconds after the kill: the Lease has a new holder, the new job has its pod. At the end single
replicas replace each other: the time from the start of the process to the pod of the new job.
"""

import argparse
import itertools
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.operator_cluster import PODS_OF_JOBS
from support.operators import Operators, running_operators, saturated
from support.waiting import wait_until

NAMES = ("a", "b")


def await_standby(operators: Operators, name: str, before: int) -> None:
    """Wait until an operator watches jobs and pods."""
    wait_until(lambda: operators.cluster.watches(name) >= before + 2, 300)


def take_over(operators: Operators, turn: int) -> tuple[float, float]:
    """Kill the leader, then start it as the standby; see the module's docstring."""
    cluster = operators.cluster
    leader = cluster.holder
    other = next(name for name in NAMES if name != leader)
    operators.all[leader].kill()
    killed = time.monotonic()
    cluster.put_jobs(job := f"new-{turn}")
    wait_until(lambda: cluster.holder == other)
    taken = cluster.holders[-1][0] - killed
    wait_until(lambda: any(pod.startswith(f"{job}-") for pod in cluster.pods), 120)
    created = next(
        r.at for r in cluster.sent(other) if r.method == "POST" and r.path == PODS_OF_JOBS
        and r.at > killed
    )  # fmt: skip
    before = cluster.watches(leader)
    operators.all[leader].start()
    await_standby(operators, leader, before)
    return taken, created - killed


def replace(operators: Operators, turn: int) -> float:
    """Kill a single replica whose pod is gone, and start the next one."""
    cluster, name = operators.cluster, f"single-{turn}"
    for operator in operators.all.values():
        operator.kill()
    cluster.put_jobs(job := f"{name}-job")
    began = time.monotonic()
    operators.start(name, NANOGRID_POD_UID=f"uid-{turn}")
    wait_until(lambda: any(pod.startswith(f"{job}-") for pod in cluster.pods), 120)
    created = next(r.at for r in cluster.sent(name) if r.path == PODS_OF_JOBS and r.writes)
    return created - began


def summary(values: list[float]) -> dict[str, float]:
    """The median and the largest value."""
    return {"median": round(statistics.median(values), 2), "most": round(max(values), 2)}


def main() -> None:
    """Measure once and print the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=1000, help="finished jobs")
    parser.add_argument("--saturated", type=int, default=60, help="seconds without spare CPU")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, running_operators(Path(directory)) as all_:
        cluster = all_.cluster
        cluster.put_finished(options.jobs)
        for name in NAMES:
            all_.start(name)
            await_standby(all_, name, 0)
        times = [take_over(all_, turn) for turn in range(options.kills)]
        holders, before = len(cluster.holders), len(cluster.renewals)
        with saturated():
            cluster.put_jobs(*(f"saturated-{n}" for n in range(100)))
            time.sleep(options.saturated)
        renewals = cluster.renewals[before:]
        false = len(cluster.holders) - holders
        # The first one waits for the Lease: its predecessor was in no pod.
        singles = [replace(all_, turn) for turn in range(options.kills + 1)][1:]
        print(json.dumps({
            "finishedJobs": options.jobs, "kills": options.kills,
            "leaseSeconds": summary([taken for taken, _ in times]),
            "podSeconds": summary([created for _, created in times]),
            "saturatedSeconds": options.saturated, "renewals": len(renewals),
            "longestPauseSeconds": round(
                max(b - a for a, b in itertools.pairwise(renewals)), 2
            ),
            "falseTakeOvers": false,
            "singleReplicaPodSeconds": summary(singles),
        }, indent=2))  # fmt: skip


if __name__ == "__main__":
    main()
