"""Redis fails in different ways: jobs end as usual, and are delivered once when Redis works again.

One operator runs through all tests without a restart.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from chaos.lab.faults import Before
from chaos.lab.laboratory import Laboratory
from chaos.lab.redisprocess import PASSWORD, RedisProcess
from chaos.labfixtures import lab_in_namespace
from nanogrid import names
from nanogrid.tenancy import PLATFORM_STREAM
from nanogrid.types import Json
from support.kubectl import Namespace, condition, eventually, inline, kubectl_json

EXTRA_SECONDS = 60  # most that a job takes longer than with a working Redis, on a busy machine
WAITS = """
import os, time
print('begun', flush=True)
while not os.path.exists('/tmp/go'):
    time.sleep(0.05)
"""
Repair = Callable[[], object]


@contextmanager
def stopped(lab: Laboratory, directory: Path) -> Iterator[Repair]:
    """Stopped; comes back empty."""
    lab.redis.stop()
    yield lab.redis.start


@contextmanager
def paused(lab: Laboratory, directory: Path) -> Iterator[Repair]:
    """SIGSTOP: connections stay open, no answers come."""
    lab.redis.pause()
    try:
        yield lab.redis.resume
    finally:
        lab.redis.resume()


@contextmanager
def writes_wait(lab: Laboratory, directory: Path) -> Iterator[Repair]:
    """CLIENT PAUSE, as a failover does it: a PING is answered, a write is not."""
    client = lab.redis.client()
    client.execute_command("CLIENT", "PAUSE", "600000", "WRITE")
    try:
        yield partial(client.execute_command, "CLIENT", "UNPAUSE")
    finally:
        client.execute_command("CLIENT", "UNPAUSE")


@contextmanager
def full(lab: Laboratory, directory: Path) -> Iterator[Repair]:
    """At its maxmemory, with nothing to evict."""
    client = lab.redis.client()
    client.config_set("maxmemory", "1")
    yield partial(client.config_set, "maxmemory", "0")


@contextmanager
def replica(lab: Laboratory, directory: Path) -> Iterator[Repair]:
    """Demoted to a replica, then promoted again."""
    client = lab.redis.client()
    primary = RedisProcess(directory).start()
    try:
        client.config_set("masterauth", PASSWORD)
        client.replicaof("127.0.0.1", primary.port)
        yield partial(client.replicaof, "NO", "ONE")
    finally:
        client.replicaof("NO", "ONE")
        primary.stop()


@contextmanager
def other_password(lab: Laboratory, directory: Path) -> Iterator[Repair]:
    """A password that the operator does not have; its connections are closed."""
    client = lab.redis.client().client()  # one connection, which stays authenticated
    client.config_set("requirepass", "another")
    client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    yield partial(client.config_set, "requirepass", PASSWORD)


@contextmanager
def disk_refuses(lab: Laboratory, directory: Path) -> Iterator[Repair]:
    """Its snapshot cannot be written, so it refuses writes (MISCONF)."""
    client = lab.redis.client()
    in_the_way = Path(client.config_get("dir")["dir"], "dump.rdb", "in-the-way")
    in_the_way.mkdir(parents=True, exist_ok=True)
    client.config_set("save", "3600 1")
    client.bgsave()
    eventually(
        "the snapshot failed",
        lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err",
    )
    try:
        yield partial(client.config_set, "save", "")
    finally:
        shutil.rmtree(in_the_way.parent)  # a starting Redis would read it


@contextmanager
def failed_over(lab: Laboratory, directory: Path) -> Iterator[Repair]:
    """Stopped, until its replica is promoted and takes its address."""
    successor = RedisProcess(directory).start()
    port = successor.port
    client = successor.client()
    client.config_set("masterauth", PASSWORD)
    client.replicaof("127.0.0.1", lab.redis.port)
    eventually("the replica is in step", lambda: client.role()[3] == "connected")
    lab.redis.stop()

    def promote() -> None:
        client.replicaof("NO", "ONE")
        client.config_set("port", lab.redis.port)

    try:
        yield promote
    finally:
        successor.port = port
        successor.stop()
        lab.redis.start()


@dataclass(frozen=True)
class RedisFault:
    """A fault of Redis, and the expected condition of the job."""

    inject: Callable[[Laboratory, Path], AbstractContextManager[Repair]]
    reason: str
    message: str  # a part of the condition's message


FAULTS = [
    RedisFault(stopped, "RedisUnavailable", "Connect"),
    RedisFault(paused, "RedisUnavailable", "imeout"),
    RedisFault(writes_wait, "RedisUnavailable", "imeout"),
    RedisFault(full, "RedisOutOfMemory", "maxmemory"),
    RedisFault(replica, "RedisReadOnly", "read only replica"),
    RedisFault(other_password, "RedisAccessDenied", "password"),
    RedisFault(disk_refuses, "RedisRefused", "MISCONF"),
    RedisFault(failed_over, "RedisUnavailable", "Connect"),
]


@dataclass
class Bench:
    """A laboratory with a namespace and an operator; ``control`` is a normal job's seconds."""

    lab: Laboratory
    namespace: Namespace
    control: float = 0.0

    def run(self, name: str, code: str = "print('kept')") -> tuple[Json, float]:
        """Run a job; returns its status and the seconds until it was Finished."""
        began = time.monotonic()
        status = self.namespace.run(inline(name, code, requestId=name))
        return status, time.monotonic() - began

    def delivered(self, name: str) -> bool:
        """Whether the status says that the result is delivered."""
        found = condition(self.namespace.status(name), "ResultDelivered")
        return bool(found["status"] == "True")

    def entries(self, name: str) -> list[str]:
        """The results of a request in the stream."""
        found = self.lab.redis.client().xrange(PLATFORM_STREAM)
        return [fields["result"] for _, fields in found if fields["requestId"] == name]

    def assert_delivered_once(self, name: str) -> None:
        """Check for one entry in the stream and the same result under a key with an expiry."""
        entries, client = self.entries(name), self.lab.redis.client()
        area = self.lab.area
        assert len(entries) == 1, f"{len(entries)} entries in the stream"
        assert client.get(area.result_key(name)) == entries[0]
        assert 0 < client.ttl(area.result_key(name)) <= 86_400


@pytest.fixture(scope="module")
def bench(lab_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with lab_in_namespace("lab-redis", tmp_path_factory.mktemp("redis")) as lab:
        lab.operator().start().wait_ready()
        bench = Bench(lab, Namespace(lab.namespace))
        bench.run("warm-up")
        status, bench.control = bench.run("control")
        assert condition(status, "ResultDelivered")["status"] == "True"
        bench.assert_delivered_once("control")
        yield bench


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.inject.__name__)
def test_a_job_ends_as_usual_and_is_delivered_late(
    bench: Bench, fault: RedisFault, tmp_path: Path
) -> None:
    name = f"job-{fault.inject.__name__.replace('_', '-')}"
    with fault.inject(bench.lab, tmp_path) as repair:
        status, took = bench.run(name)
        delivery = condition(status, "ResultDelivered")
        repair()
        began = time.monotonic()
        eventually("delivered", partial(bench.delivered, name))
        late = time.monotonic() - began
        bench.assert_delivered_once(name)
    print(
        f"\n{name}: {delivery['reason']}, ended after {took:.1f} s (control {bench.control:.1f} s),"
        f" delivered {late:.1f} s after"
    )
    assert (status["phase"], status["result"]["stdout"]) == ("Succeeded", "kept\n")
    assert (delivery["status"], delivery["reason"]) == ("False", fault.reason), delivery["message"]
    assert fault.message in delivery["message"]
    assert took < bench.control + EXTRA_SECONDS
    assert bench.lab.operators[0].starts == 1
    assert bench.lab.operators[0].running


def test_redis_stops_while_the_code_runs(bench: Bench) -> None:
    bench.namespace.apply(inline("amid", WAITS, requestId="amid"))
    eventually("the code runs", lambda: bench.namespace.prints("amid", "begun"))
    bench.lab.redis.stop()
    try:
        pod = bench.namespace.only_pod("amid")["metadata"]["name"]
        go = ("--", "python3", "-c", "open('/tmp/go', 'w')")
        bench.namespace.kubectl("exec", pod, "-c", names.CONTAINER_SANDBOX, *go)
        status = bench.namespace.finished("amid")
        assert condition(status, "ResultDelivered")["reason"] == "RedisUnavailable"
    finally:
        bench.lab.redis.start()
    eventually("delivered", partial(bench.delivered, "amid"))
    bench.assert_delivered_once("amid")


def test_redis_stops_between_the_report_and_its_delivery(bench: Bench) -> None:
    fault = bench.lab.api.fault(
        lambda call: call.path.endswith("/tokenreviews"), Before(bench.lab.redis.stop), times=1
    )
    try:
        status, _ = bench.run("between")
        assert fault.hits == 1
        assert condition(status, "ResultDelivered")["reason"] == "RedisUnavailable"
    finally:
        bench.lab.redis.start()
    eventually("delivered", partial(bench.delivered, "between"))
    bench.assert_delivered_once("between")


@pytest.mark.slow
def test_fifty_jobs_end_during_an_outage(bench: Bench) -> None:
    wanted = [f"many-{n}" for n in range(50)]
    bench.lab.redis.stop()
    try:
        jobs = [inline(name, "print('kept')", requestId=name) for name in wanted]
        bench.namespace.apply(*jobs)
        targets = [f"ej/{name}" for name in wanted]
        bench.namespace.kubectl("wait", *targets, "--for=condition=Finished", "--timeout=240s")
    finally:
        bench.lab.redis.start()
    began = time.monotonic()
    client = bench.lab.redis.client()
    eventually("the stream has all results", lambda: client.xlen(PLATFORM_STREAM) >= 50)
    took = time.monotonic() - began
    connections = client.info("stats")["total_connections_received"]
    print(f"\n50 results {took:.1f} s after Redis was back, over {connections} connections")
    assert connections <= 40, "workers and checks share a pool of connections"
    eventually("all jobs show the delivery", partial(_all_delivered, bench, wanted))
    for name in wanted:
        bench.assert_delivered_once(name)


def _all_delivered(bench: Bench, wanted: list[str]) -> bool:
    found = kubectl_json("-n", bench.namespace.name, "get", "ej")["items"]
    state = {job["metadata"]["name"]: job["status"]["delivery"]["state"] for job in found}
    return all(state[name] == "Delivered" for name in wanted)
