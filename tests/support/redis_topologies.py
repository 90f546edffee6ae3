"""Redis with Sentinels and a Redis Cluster for tests: real processes on the loopback interface."""

import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis
from redis.asyncio.cluster import ClusterNode
from redis.exceptions import RedisError

from nanogrid.redis_url import CLUSTER, SENTINEL
from nanogrid_operator.settings import Settings
from support.certificates import Certificates
from support.redis_server import PASSWORD, WAIT_SECONDS
from support.s3_server import free_port
from support.waiting import wait_for

MASTER = "results"  # the name that the Sentinels know
SENTINEL_PASSWORD = "sentinel-pw"
SLOTS = 16384
_MILLIS = 500  # without an answer, after which a server counts as down


def until(true: Callable[[], Any], what: str) -> None:
    """Wait for a condition; errors of Redis mean that it is not true yet."""

    def now() -> Any:
        try:
            return true()
        except RedisError:
            return False

    assert wait_for(now, WAIT_SECONDS), f"not within {WAIT_SECONDS} s: {what}"


class Node:
    """One redis-server process, also as a Sentinel."""

    def __init__(self, directory: Path, port: int, password: str = PASSWORD) -> None:
        self.port = port
        self._password = password
        self._directory = directory / str(port)
        self._directory.mkdir()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        own = ["--bind", "127.0.0.1", "--dir", str(self._directory), "--save", ""]
        listening = [word for line in self._listening() for word in f"--{line}".split()]
        self._run(["redis-server", *listening, *own, *options])

    def start_sentinel(self, master: int) -> None:
        """Start as a Sentinel; it finds the others and the replicas through the master."""
        lines = [
            *self._listening(),
            "bind 127.0.0.1",
            f"requirepass {self._password}",
            f"sentinel sentinel-pass {self._password}",
            f"sentinel monitor {MASTER} 127.0.0.1 {master} 2",
            f"sentinel auth-pass {MASTER} {PASSWORD}",
            f"sentinel down-after-milliseconds {MASTER} {_MILLIS}",
            f"sentinel failover-timeout {MASTER} 1500",
        ]
        file = self._directory / "sentinel.conf"
        file.write_text("\n".join(lines), encoding="utf-8")
        self._run(["redis-server", str(file), "--sentinel"])

    def _listening(self) -> list[str]:
        return [f"port {self.port}"]

    def _run(self, command: list[str]) -> None:
        with open(self._directory / "log", "ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        until(self.client().ping, f"redis-server on {self.port}")

    def kill(self) -> None:
        """End it at once, as a lost machine does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(WAIT_SECONDS)
            self._process = None

    def hang(self) -> None:
        """It keeps its connections and does not answer."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """It answers again after :meth:`hang`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, password=self._password, decode_responses=True)

    def call(self, *command: Any) -> Any:
        with self.client() as client:
            return client.execute_command(*command)


class TlsNode(Node):
    """A node whose clients and other nodes use TLS."""

    def __init__(self, directory: Path, port: int, tls: Certificates) -> None:
        super().__init__(directory, port)
        self._tls = tls

    def _listening(self) -> list[str]:
        return [
            "port 0",
            f"tls-port {self.port}",
            f"tls-cert-file {self._tls.certificate}",
            f"tls-key-file {self._tls.key}",
            f"tls-ca-cert-file {self._tls.ca}",
            "tls-auth-clients no",
            "tls-replication yes",
            "tls-cluster yes",
        ]

    def client(self) -> redis.Redis:
        return redis.Redis(
            port=self.port,
            password=self._password,
            decode_responses=True,
            ssl=True,
            ssl_ca_certs=str(self._tls.ca),
        )


def in_step(master: Node) -> bool:
    """Whether a replica has confirmed all that its master has written."""
    with master.client() as client:
        return bool(client.wait(1, 1000) == 1)


class Sentinels:
    """A master, its replica, and three Sentinels that want two votes."""

    def __init__(self, directory: Path) -> None:
        self.servers = [Node(directory, free_port()) for _ in range(2)]
        self.sentinels = [Node(directory, free_port(), SENTINEL_PASSWORD) for _ in range(3)]

    def start(self) -> None:
        """Start all; returns when each Sentinel knows the replica and the other Sentinels."""
        first, second = self.servers
        own = ["--requirepass", PASSWORD, "--masterauth", PASSWORD]
        own += ["--repl-diskless-sync-delay", "0"]
        first.start(*own)
        second.start(*own, "--replicaof", f"127.0.0.1 {first.port}")
        until(lambda: in_step(first), "the replica")
        for sentinel in self.sentinels:
            sentinel.start_sentinel(first.port)

        def knows(sentinel: Node) -> bool:
            found = sentinel.call("SENTINEL", "MASTER", MASTER)
            return (int(found["num-slaves"]), int(found["num-other-sentinels"])) == (1, 2)

        until(lambda: all(map(knows, self.sentinels)), "the Sentinels")

    def replicated(self) -> bool:
        """Whether the replica has what the master has."""
        return in_step(self.master())

    @property
    def nodes(self) -> list[Node]:
        return [*self.sentinels, *self.servers]

    def master(self) -> Node:
        """The master that the first Sentinel names."""
        port = int(self.sentinels[0].call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER)[1])
        return next(node for node in self.servers if node.port == port)

    def given(self, **changes: Any) -> dict[str, Any]:
        """Settings of operator and gateway."""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.sentinels)
        return {
            "redis_url": f"redis://{hosts}/0",
            "redis_mode": SENTINEL,
            "redis_sentinel_master": MASTER,
            "redis_sentinel_password": SENTINEL_PASSWORD,
            "redis_password": PASSWORD,
            "redis_timeout_seconds": 2.0,
            **changes,
        }

    def settings(self, **changes: Any) -> Settings:
        return Settings(**self.given(**changes))


class RedisCluster:
    """Three masters with a third of the slots each, and one replica of the first of them."""

    def __init__(self, directory: Path) -> None:
        self.nodes = [Node(directory, free_port()) for _ in range(4)]

    def start(self) -> None:
        """Start all; returns when each node knows that all slots are served."""
        for node in self.nodes:
            node.start(
                *("--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"),
                *("--cluster-node-timeout", str(_MILLIS), "--cluster-replica-validity-factor", "0"),
                *("--requirepass", PASSWORD, "--masterauth", PASSWORD),
                *("--repl-diskless-sync-delay", "0"),
            )
        masters, replica = self.nodes[:3], self.nodes[3]
        for number, node in enumerate(masters):
            first, last = SLOTS * number // 3, SLOTS * (number + 1) // 3 - 1
            node.call("CLUSTER", "ADDSLOTSRANGE", first, last)
            node.call("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in self.nodes[1:]:
            node.call("CLUSTER", "MEET", "127.0.0.1", masters[0].port)
        until(lambda: all(self._complete(node) for node in self.nodes), "the cluster")
        replica.call("CLUSTER", "REPLICATE", self.id_of(masters[0]))
        until(self.replicated, "the replica")
        until(lambda: all(self._has_replica(node) for node in self.nodes), "the replica's role")

    def _complete(self, node: Node) -> bool:
        info = str(node.call("CLUSTER", "INFO"))
        return "cluster_state:ok" in info and "cluster_known_nodes:4" in info

    def _has_replica(self, node: Node) -> bool:
        return "slave" in str(node.call("CLUSTER", "NODES"))

    def id_of(self, node: Node) -> str:
        return str(node.call("CLUSTER", "MYID"))

    def owner(self, name: str) -> Node:
        """The master with the slot of a key, as the nodes that run know it."""
        slot = self.slot(name)
        for first, last, primary, *_ in self.running()[-1].call("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(node for node in self.nodes if node.port == primary[1])
        raise AssertionError(f"no node has the slot {slot}")

    def replicated(self) -> bool:
        """Whether the replica has what its master has."""
        return in_step(self.nodes[0])

    @contextmanager
    def hanging(self, node: Node) -> Iterator[None]:
        """A node does not answer, and the others serve their own slots."""
        self._require_all_slots("no")
        node.hang()
        try:
            yield
        finally:
            node.resume()
            until(lambda: not any(map(self._fails, self.nodes)), "the node is back")
            self._require_all_slots("yes")

    def _require_all_slots(self, required: str) -> None:
        for node in self.nodes:
            node.call("CONFIG", "SET", "cluster-require-full-coverage", required)

    def _fails(self, node: Node) -> bool:
        return "fail" in str(node.call("CLUSTER", "NODES"))

    def begin_move(self, name: str, target: Node) -> Node:
        """The slot of a key begins to move; its owner."""
        source, slot = self.owner(name), self.slot(name)
        target.call("CLUSTER", "SETSLOT", slot, "IMPORTING", self.id_of(source))
        source.call("CLUSTER", "SETSLOT", slot, "MIGRATING", self.id_of(target))
        return source

    def move_keys(self, name: str, source: Node, target: Node) -> list[str]:
        """Move the keys of the slot, and return them; its owner stays the same."""
        keys: list[str] = source.call("CLUSTER", "GETKEYSINSLOT", self.slot(name), 10)
        migrate = ("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "AUTH", PASSWORD, "KEYS")
        if keys:
            source.call(*migrate, *keys)
        return keys

    def end_move(self, name: str, source: Node, target: Node) -> None:
        """The target is the owner from now on."""
        others = [node for node in self.nodes[:3] if node not in (source, target)]
        for node in (target, source, *others):
            node.call("CLUSTER", "SETSLOT", self.slot(name), "NODE", self.id_of(target))

    def slot(self, name: str) -> int:
        return int(self.running()[-1].call("CLUSTER", "KEYSLOT", name))

    def running(self) -> list[Node]:
        return [node for node in self.nodes if node._process is not None]

    def given(self, **changes: Any) -> dict[str, Any]:
        """Settings of operator and gateway."""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[1:3])
        return {
            "redis_url": f"redis://{hosts}",
            "redis_mode": CLUSTER,
            "redis_password": PASSWORD,
            "redis_timeout_seconds": 2.0,
            **changes,
        }

    def settings(self, **changes: Any) -> Settings:
        return Settings(**self.given(**changes))

    def client(self) -> redis.RedisCluster:
        return redis.RedisCluster(
            host="127.0.0.1",
            port=self.running()[-1].port,
            password=PASSWORD,
            decode_responses=True,
        )


Topology = TypeVar("Topology", Sentinels, RedisCluster)


@contextmanager
def started(topology: Topology) -> Iterator[Topology]:
    """A topology that runs; all its processes end at the end."""
    with ExitStack() as stack:
        for node in topology.nodes:
            stack.callback(node.kill)
        topology.start()
        yield topology


def nodes_asked_for_slots(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The ports of the nodes that clients ask for the slots from now on, in order."""
    ports: list[int] = []
    execute = ClusterNode.execute_command

    async def spy(node: ClusterNode, *args: Any, **kwargs: Any) -> Any:
        if args == ("CLUSTER SLOTS",):
            ports.append(int(node.port))
        return await execute(node, *args, **kwargs)

    monkeypatch.setattr(ClusterNode, "execute_command", spy)
    return ports
