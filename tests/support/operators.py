"""Real operator processes over a cluster in memory and a real Redis."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from nanogrid.tenancy import PLATFORM_STREAM
from nanogrid_operator.kube.leader_address import CONTAINER, PORT
from support.operator_cluster import (
    LEASE_NAMESPACE,
    OWN_PODS,
    OperatorCluster,
    operator_cluster,
)
from support.operator_process import OperatorProcess
from support.redis_server import PASSWORD, Server, a_server
from support.s3_server import free_port
from support.waiting import wait_until


class Operators:
    """The operators of one cluster."""

    def __init__(self, cluster: OperatorCluster, store: Server, directory: Path) -> None:
        self.cluster, self._store, self._directory = cluster, store, directory
        self.all: dict[str, OperatorProcess] = {}

    def start_in_pod(self, name: str, *, wait: bool = True) -> OperatorProcess:
        """Start an operator in a pod of its name, which the API server knows."""
        meta = {"name": name, "uid": f"uid-{name}", "namespace": LEASE_NAMESPACE}
        port = free_port()
        container = {"name": CONTAINER, "ports": [{"name": PORT, "containerPort": port}]}
        pod = {
            "metadata": meta,
            "spec": {"containers": [container]},
            "status": {"podIP": "127.0.0.1"},
        }
        self.cluster.put(OWN_PODS, pod)
        return self.start(name, wait=wait, port=port, NANOGRID_POD_UID=meta["uid"])

    def lose(self, name: str) -> None:
        """Kill an operator; its pod is gone, as after a deletion by force."""
        self.all[name].kill()
        self.cluster.remove(f"{OWN_PODS}/{name}")

    def start(
        self, name: str, *, wait: bool = True, port: int | None = None, **settings: str
    ) -> OperatorProcess:
        """Start an operator; returns when it is ready, unless ``wait`` is False."""
        environment = self.cluster.environment(name) | {
            "NANOGRID_REDIS_URL": f"redis://127.0.0.1:{self._store.port}/0",
            "NANOGRID_REDIS_PASSWORD": PASSWORD,
            **settings,
        }
        log = self._directory / f"{name}.log"
        self.all[name] = OperatorProcess(environment, port or free_port(), log).start()
        if wait:
            self.all[name].wait_ready()
        return self.all[name]

    def entries(self) -> list[str]:
        """The requestIds in the stream, one for each delivery."""
        with redis.Redis(port=self._store.port, password=PASSWORD, decode_responses=True) as store:
            return [fields["requestId"] for _, fields in store.xrange(PLATFORM_STREAM)]


@contextmanager
def running_operators(directory: Path) -> Iterator[Operators]:
    """A cluster without operators yet; those that a test starts end with the context."""
    with operator_cluster(directory) as cluster, a_server(directory) as store:
        started = Operators(cluster, store, directory)
        try:
            yield started
        finally:
            for operator in started.all.values():
                operator.kill()


def all_ended_once(operators: Operators, jobs: list[str]) -> None:
    """Each job has one pod and one entry in the stream."""
    cluster = operators.cluster
    wait_until(lambda: len(operators.entries()) >= len(jobs) and not cluster.unfinished(), 120)
    statuses = [o["status"] for path, o in cluster.objects.items() if "/executionjobs/" in path]
    assert [s["reason"] for s in statuses] == ["Completed"] * len(jobs)
    assert len(cluster.pods) == len(set(cluster.pods)) == len(jobs)
    entries = operators.entries()
    assert len(entries) == len(set(entries)) == len(jobs)


@contextmanager
def saturated(processes: int = 4) -> Iterator[None]:
    """So many processes use all CPU that they get, as long as the context lasts."""
    burner = [sys.executable, "-c", "while True: pass"]
    with contextlib.ExitStack() as stack:
        for _ in range(processes):
            process = stack.enter_context(subprocess.Popen(burner))
            stack.callback(process.kill)
        yield
