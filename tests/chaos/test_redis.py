"""Redis fails in each of its ways: jobs end as if it were well, and are delivered once when it is.

One operator lives through all of it without a restart.
"""

import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from chaos.lab.faultproxy import Before
from chaos.lab.laboratory import Laboratory, laboratory
from chaos.lab.redisprocess import PASSWORD, RedisProcess
from e2e.support import Namespace, condition, eventually, inline, kubectl, kubectl_json
from nanogrid import names

Json = dict[str, Any]
LATE_SECONDS = 10  # from Redis being well to the delivery
UNAFFECTED_SECONDS = 3  # more than a job takes beside a Redis that is well
HANGING_SECONDS = 5  # the same, when it takes a timeout to know that Redis does not answer
Heal = Callable[[], object]


@contextmanager
def stopped(lab: Laboratory, directory: Path) -> Iterator[Heal]:
    """Gone, and back with nothing in it."""
    lab.redis.stop()
    yield lab.redis.start


@contextmanager
def paused(lab: Laboratory, directory: Path) -> Iterator[Heal]:
    """SIGSTOP: connections stay, nothing comes back."""
    lab.redis.pause()
    try:
        yield lab.redis.resume
    finally:
        lab.redis.resume()


@contextmanager
def writes_wait(lab: Laboratory, directory: Path) -> Iterator[Heal]:
    """CLIENT PAUSE, as a failover does it: a PING is answered, a write is not."""
    client = lab.redis.client()
    client.execute_command("CLIENT", "PAUSE", "60000", "WRITE")
    yield partial(client.execute_command, "CLIENT", "UNPAUSE")


@contextmanager
def full(lab: Laboratory, directory: Path) -> Iterator[Heal]:
    """At its maxmemory, with nothing that it may evict."""
    client = lab.redis.client()
    client.config_set("maxmemory", "1")
    yield partial(client.config_set, "maxmemory", "0")


@contextmanager
def replica(lab: Laboratory, directory: Path) -> Iterator[Heal]:
    """Demoted to a replica, then promoted again."""
    client = lab.redis.client()
    master = RedisProcess(directory).start()
    try:
        client.config_set("masterauth", PASSWORD)
        client.replicaof("127.0.0.1", master.port)
        yield partial(client.replicaof, "NO", "ONE")
    finally:
        client.replicaof("NO", "ONE")
        master.stop()


@contextmanager
def other_password(lab: Laboratory, directory: Path) -> Iterator[Heal]:
    """Another password than the operator's; its connections are closed."""
    client = lab.redis.client().client()  # one connection, which stays authenticated
    client.config_set("requirepass", "another")
    client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    yield partial(client.config_set, "requirepass", PASSWORD)


@contextmanager
def disk_refuses(lab: Laboratory, directory: Path) -> Iterator[Heal]:
    """Its snapshot cannot be written, so it takes no writes (MISCONF)."""
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
        shutil.rmtree(in_the_way.parent)  # a Redis that starts would read it


@contextmanager
def failed_over(lab: Laboratory, directory: Path) -> Iterator[Heal]:
    """Dead, until its replica is promoted and has its address."""
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
class Trouble:
    """A state of Redis, and what the user must read of it."""

    state: Callable[[Laboratory, Path], AbstractContextManager[Heal]]
    reason: str
    says: str
    seconds: float = UNAFFECTED_SECONDS


TROUBLES = [
    Trouble(stopped, "RedisUnavailable", "Connect"),
    Trouble(paused, "RedisUnavailable", "imeout", HANGING_SECONDS),
    Trouble(writes_wait, "RedisUnavailable", "imeout", HANGING_SECONDS),
    Trouble(full, "RedisOutOfMemory", "maxmemory"),
    Trouble(replica, "RedisReadOnly", "read only replica"),
    Trouble(other_password, "RedisAccessDenied", "password"),
    Trouble(disk_refuses, "RedisRefused", "MISCONF"),
    Trouble(failed_over, "RedisUnavailable", "Connect"),
]


@dataclass
class Bench:
    """A laboratory with a namespace and an operator, and how long a job takes there."""

    lab: Laboratory
    namespace: Namespace
    control: float = 0.0

    def run(self, name: str, code: str = "print('kept')") -> tuple[Json, float]:
        """Run a job; its status, and the seconds until it was Finished."""
        began = time.monotonic()
        status = self.namespace.run(inline(name, code, requestId=name))
        return status, time.monotonic() - began

    def delivered(self, name: str) -> bool:
        """Whether the status says so."""
        told = condition(self.namespace.status(name), "ResultDelivered")
        return bool(told["status"] == "True")

    def entries(self, name: str) -> list[str]:
        """The results of a request in the stream."""
        found = self.lab.redis.client().xrange(names.REDIS_STREAM)
        return [fields["result"] for _, fields in found if fields["requestId"] == name]

    def one_delivery(self, name: str) -> None:
        """One entry in the stream; a late reader finds the same under the key, which ends."""
        entries, client = self.entries(name), self.lab.redis.client()
        assert len(entries) == 1, f"{len(entries)} entries in the stream"
        assert client.get(names.result_key(name)) == entries[0]
        assert 0 < client.ttl(names.result_key(name)) <= 86_400


@pytest.fixture(scope="module")
def bench(lab_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    name = f"lab-redis-{uuid.uuid4().hex[:6]}"
    kubectl("create", "namespace", name)
    try:
        with laboratory(name, tmp_path_factory.mktemp("redis")) as lab:
            lab.operator().start().wait_ready()
            bench = Bench(lab, Namespace(name))
            bench.run("warm-up")
            status, bench.control = bench.run("control")
            assert condition(status, "ResultDelivered")["status"] == "True"
            bench.one_delivery("control")
            yield bench
    finally:
        kubectl("delete", "namespace", name, "--wait=false")


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda t: t.state.__name__)
def test_a_job_ends_as_ever_and_is_delivered_late(
    bench: Bench, trouble: Trouble, tmp_path: Path
) -> None:
    name = f"job-{trouble.state.__name__.replace('_', '-')}"
    with trouble.state(bench.lab, tmp_path) as heal:
        status, took = bench.run(name)
        told = condition(status, "ResultDelivered")
        heal()
        began = time.monotonic()
        eventually("delivered", partial(bench.delivered, name), LATE_SECONDS)
        late = time.monotonic() - began
        bench.one_delivery(name)
    print(f"\n{name}: {told['reason']}, ended after {took:.1f} s (control {bench.control:.1f} s), "
          f"delivered {late:.1f} s after")  # fmt: skip
    assert (status["phase"], status["result"]["stdout"]) == ("Succeeded", "kept\n")
    assert (told["status"], told["reason"]) == ("False", trouble.reason), told["message"]
    assert trouble.says in told["message"]
    assert took < bench.control + trouble.seconds
    assert bench.lab.operators[0].starts == 1
    assert bench.lab.operators[0].running


def test_redis_goes_while_the_code_runs(bench: Bench) -> None:
    bench.namespace.apply(inline("amid", "import time; time.sleep(3)", requestId="amid"))
    eventually("it runs", lambda: bench.namespace.sandbox("amid").get("running"))
    bench.lab.redis.stop()
    try:
        status = bench.namespace.finished("amid")
        assert condition(status, "ResultDelivered")["reason"] == "RedisUnavailable"
    finally:
        bench.lab.redis.start()
    eventually("delivered", partial(bench.delivered, "amid"), LATE_SECONDS)
    bench.one_delivery("amid")


def test_redis_goes_between_the_report_and_its_delivery(bench: Bench) -> None:
    fault = bench.lab.api.fault(
        lambda call: call.path.endswith("/tokenreviews"), Before(bench.lab.redis.stop), times=1
    )
    try:
        status, _ = bench.run("between")
        assert fault.hits == 1
        assert condition(status, "ResultDelivered")["reason"] == "RedisUnavailable"
    finally:
        bench.lab.redis.start()
    eventually("delivered", partial(bench.delivered, "between"), LATE_SECONDS)
    bench.one_delivery("between")


@pytest.mark.slow
def test_fifty_jobs_end_during_an_outage(bench: Bench) -> None:
    wanted = [f"many-{n}" for n in range(50)]
    bench.lab.redis.stop()
    try:
        jobs = [inline(name, "print('kept')", requestId=name) for name in wanted]
        bench.namespace.apply(*jobs)
        words = [f"ej/{name}" for name in wanted]
        bench.namespace.kubectl("wait", *words, "--for=condition=Finished", "--timeout=110s")
    finally:
        bench.lab.redis.start()
    began = time.monotonic()
    client = bench.lab.redis.client()
    eventually("all are there", lambda: client.xlen(names.REDIS_STREAM) >= 50, LATE_SECONDS)
    took = time.monotonic() - began
    connections = client.info("stats")["total_connections_received"]
    print(f"\n50 results {took:.1f} s after Redis was back, over {connections} connections")
    assert connections <= 40, "workers and checks have a pool; the rest would be a rush"
    eventually("all say so", partial(_all_delivered, bench, wanted), LATE_SECONDS)
    for name in wanted:
        bench.one_delivery(name)


def _all_delivered(bench: Bench, wanted: list[str]) -> bool:
    found = kubectl_json("-n", bench.namespace.name, "get", "ej")["items"]
    state = {job["metadata"]["name"]: job["status"]["delivery"]["state"] for job in found}
    return all(state[name] == "Delivered" for name in wanted)
