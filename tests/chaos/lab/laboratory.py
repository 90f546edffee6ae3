"""Everything that a fault test needs, started together and ended together.

    with laboratory(namespace, tmp_path) as lab:
        operator = lab.operator().start()
        namespace.apply(inline("job", "print(1)"))
        lab.api.fault(...)     # before the API server
        lab.s3.fault(...)      # before the S3 server, for pods and operator alike
        lab.redis.stop()

Pods reach the S3 proxy and the operators at the address that the cluster's network has on this
machine; nothing else listens there.
"""

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from chaos.lab.apiserver import api_server, kubeconfig
from chaos.lab.faultproxy import FaultProxy
from chaos.lab.operatorprocess import OperatorProcess
from chaos.lab.redisprocess import PASSWORD, RedisProcess
from integration.conftest import running_server
from integration.support import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server

IMAGES = Path(__file__).parents[3] / "build" / "images.json"
RESYNC_SECONDS = "20"  # a fault test has no five minutes for what an event should have said


def bridge_address() -> str:
    """This machine's address in the network of the cluster's nodes.

    Skips the test when the cluster is not made of containers of this machine.
    """
    if shutil.which("docker") is None:
        pytest.skip("needs a kind cluster on this machine: no docker command")
    done = subprocess.run(
        ["docker", "network", "inspect", "kind", "-f", "{{json .IPAM.Config}}"],
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        pytest.skip(f"needs a kind cluster on this machine: {done.stderr.strip()}")
    gateways: list[str] = [entry.get("Gateway", "") for entry in json.loads(done.stdout)]
    return next(address for address in gateways if "." in address)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))
        port: int = probe.getsockname()[1]
    return port


@dataclass
class Laboratory:
    """See the module's docstring."""

    namespace: str
    directory: Path
    address: str
    api: FaultProxy
    s3: FaultProxy
    s3_server: S3Server
    redis: RedisProcess
    operators: list[OperatorProcess] = field(default_factory=list)
    bucket: str = BUCKET

    def operator(self, api: FaultProxy | None = None, **settings: str) -> OperatorProcess:
        """An operator of this namespace, not yet started; ``settings`` are environment variables.

        Args:
            api: another proxy than the laboratory's own, for a second operator.
            settings: over the defaults; an empty value unsets one. NANOGRID_PORT is for those who
                must know before where it will listen.
        """
        number = len(self.operators)
        config = self.directory / f"kubeconfig-{number}"
        kubeconfig(api or self.api, config)
        port = int(settings.get("NANOGRID_PORT") or free_port())
        environment = {
            "KUBECONFIG": str(config),
            "NANOGRID_EXECUTOR_IMAGE": json.loads(IMAGES.read_text())["executor"],
            "NANOGRID_RESULTS_URL": f"http://{self.address}:{port}/v1/results",
            "NANOGRID_WATCH_NAMESPACES": self.namespace,
            "NANOGRID_S3_ENDPOINT": self.s3.url,
            "NANOGRID_S3_BUCKET": BUCKET,
            "NANOGRID_S3_SECRET": "nanogrid-s3",
            "NANOGRID_S3_SECRET_REPLICATE": "true",
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "NANOGRID_REDIS_URL": self.redis.url,
            "NANOGRID_REDIS_PASSWORD": PASSWORD,
            "NANOGRID_RESYNC_SECONDS": RESYNC_SECONDS,
            **settings,
        }
        operator = OperatorProcess(
            {k: v for k, v in environment.items() if v},
            port,
            self.directory / f"operator-{number}.log",
        )
        self.operators.append(operator)
        return operator


@contextmanager
def laboratory(
    namespace: str, directory: Path, *, persistent_redis: bool = False
) -> Iterator[Laboratory]:
    """Proxies, Redis and S3 server for operators of one namespace; ends all that it started."""
    assert os.environ.get("KUBECONFIG"), "run through `make chaos`"
    address = bridge_address()
    with ExitStack() as stack:
        api = stack.enter_context(api_server())
        server = stack.enter_context(running_server())
        s3 = stack.enter_context(FaultProxy(server.endpoint, host=address))
        redis = RedisProcess(directory, persistent=persistent_redis)
        stack.callback(redis.stop)
        lab = Laboratory(namespace, directory, address, api, s3, server, redis.start())
        try:
            yield lab
        finally:
            for operator in lab.operators:
                operator.kill()
