"""Programs that use up the node's resources: a job of another tenant takes its usual time.

The neighbour runs rounds of the same work, with a CPU limit that is also its request. Each bomb is
compared with the rounds just before it. All nodes of the project's cluster are one machine, so that
each bomb is the neighbour's, whatever node it is on.
"""

import json
import queue
import statistics
import subprocess
import threading
import uuid
from collections.abc import Iterator

import pytest

from nanogrid import names
from nanogrid.types import Json
from support.bombs import BOMBS, NEIGHBOUR, Bomb
from support.kubectl import Namespace, eventually, inline, kubectl
from support.node_conditions import unharmed_nodes

pytestmark = [pytest.mark.alone, pytest.mark.security, pytest.mark.slow, pytest.mark.timeout(150)]

LIMIT = 1.2
CONTROL = 1.5  # the least slow-down that a process with the same CPU limit causes
ROUNDS, TRIES = 3, 2
ROUND_SECONDS = 30
OWN = {"cpu": "300m", "memory": "96Mi"}


class Neighbour:
    """Reads the rounds of the neighbour's job while it runs."""

    def __init__(self, namespace: Namespace) -> None:
        pod = eventually("the neighbour runs", lambda: namespace.pods("neighbour"))[0]
        self.node = str(pod["spec"].get("nodeName"))
        self.errors: list[str] = []
        self._rounds: queue.SimpleQueue[Json] = queue.SimpleQueue()
        command = ["kubectl", "-n", namespace.name, "logs", "-f", "-c", names.CONTAINER_SANDBOX]
        self._log = subprocess.Popen(
            [*command, pod["metadata"]["name"]], stdout=subprocess.PIPE, text=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.control = self._next()

    def _read(self) -> None:
        assert self._log.stdout is not None
        for line in self._log.stdout:
            self._rounds.put(json.loads(line))

    def _next(self) -> Json:
        return self._rounds.get(timeout=ROUND_SECONDS)

    def seconds(self) -> list[float]:
        """The next complete rounds; the one that runs now began earlier."""
        while not self._rounds.empty():
            self._rounds.get()
        self._next()
        found = [self._next() for _ in range(ROUNDS)]
        self.errors += [each["error"] for each in found if each["error"]]
        return [each["seconds"] for each in found]

    def close(self) -> None:
        """End kubectl and its reader."""
        self._log.terminate()
        self._log.wait(10)
        self._reader.join(10)


@pytest.fixture(scope="module")
def neighbour(cluster: None) -> Iterator[Neighbour]:
    """A job of another tenant."""
    ns = Namespace(f"e2e-{uuid.uuid4().hex[:8]}")
    kubectl("create", "namespace", ns.name)
    resources = {"limits": OWN, "requests": OWN}
    ns.apply(
        inline("neighbour", NEIGHBOUR, resources=resources, timeouts={"executionSeconds": 1200})
    )
    eventually("the neighbour prints", lambda: log_of(ns, "neighbour"), 90)
    found = Neighbour(ns)
    yield found
    found.close()
    kubectl("delete", "namespace", ns.name, "--wait=false")


def log_of(namespace: Namespace, job: str) -> str:
    """The first bytes of the log of a job's code."""
    pods = namespace.pods(job)
    if not pods:
        return ""
    name = pods[0]["metadata"]["name"]
    return namespace.kubectl("logs", name, "-c", names.CONTAINER_SANDBOX, "--limit-bytes=200")


def explode(namespace: Namespace, bomb: Bomb, neighbour: Neighbour, number: int) -> float:
    """Measure the neighbour before and with a bomb; returns the ratio of the medians."""
    name = f"{bomb.name}-{number}"
    before = neighbour.seconds()
    namespace.apply(
        inline(
            name,
            bomb.program,
            resources=bomb.resources,
            terminationGracePeriodSeconds=1,
            timeouts={"executionSeconds": 120, "uploadSeconds": 5},
        )
    )
    eventually(f"{name} has its effect", lambda: log_of(namespace, name), 60)
    during = neighbour.seconds()
    status = namespace.status(name)
    node = namespace.pods(name)[0]["spec"]["nodeName"]
    namespace.kubectl("delete", "ej", name)
    eventually(f"{name} is gone", lambda: not namespace.pods(name), 60)
    ratio = statistics.median(during) / statistics.median(before)
    print(
        f"\n{name}: before {before} s, with the bomb {during} s: x {ratio:.2f}; "
        f"bomb {status.get('reason')} on {node}, neighbour on {neighbour.node}"
    )
    return ratio


def test_a_process_with_the_same_limit_is_seen(neighbour: Neighbour) -> None:
    """The positive control: the neighbour's time shows that something uses its CPU."""
    alone, shared = (statistics.median(neighbour.control[key]) for key in ("alone", "shared"))
    print(f"\ncontrol: {neighbour.control}")

    assert shared / alone >= CONTROL


@pytest.mark.parametrize("bomb", BOMBS, ids=lambda bomb: bomb.name)
def test_a_neighbour_takes_its_usual_time(
    namespace: Namespace, neighbour: Neighbour, bomb: Bomb
) -> None:
    """About 20 s each. A second try counts if the machine was busy with something else."""
    nodes = unharmed_nodes()
    for number in range(TRIES):
        ratio = explode(namespace, bomb, neighbour, number)
        if ratio <= LIMIT:
            break

    assert ratio <= LIMIT
    assert neighbour.errors == []
    assert nodes
    assert unharmed_nodes() == nodes
