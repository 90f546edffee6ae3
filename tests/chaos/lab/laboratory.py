"""The servers and proxies of a fault test, started and ended together.

    with laboratory(namespace, tmp_path) as lab:
        operator = lab.operator().start()
        namespace.apply(inline("job", "print(1)"))
        lab.api.fault(...)     # in front of the API server
        lab.s3.fault(...)      # in front of the S3 server, for pods and operator
        lab.redis.stop()

Pods reach the S3 proxy and the operators at this machine's address in the cluster's network.
Nothing else listens there.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from chaos.lab.apiserver import api_server, kubeconfig
from chaos.lab.faultproxy import FaultProxy
from chaos.lab.redisprocess import PASSWORD, RedisProcess
from nanogrid.tenancy import Area
from support.operator_process import OperatorProcess
from support.s3_server import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server, free_port, running_server

IMAGES = Path(__file__).parents[3] / "build" / "images.json"
ABSENT_BUCKET = "no-such-bucket"  # jobs may name it
TENANT_DEFAULTS = {"allow": {"buckets": [{"name": ABSENT_BUCKET}]}}
RESYNC_SECONDS = "20"  # the default of five minutes is too long for a fault test


def bridge_address() -> str:
    """This machine's address in the network of the cluster's nodes.

    Skips the test if the cluster's nodes are not containers on this machine.
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

    @property
    def area(self) -> Area:
        """Where the jobs' data is: the names of S3 and Redis are short."""
        return Area.of(self.namespace, bucket=self.bucket, compatibility_namespace=self.namespace)

    def operator(
        self,
        api: FaultProxy | None = None,
        *,
        module: str = "nanogrid_operator",
        **settings: str,
    ) -> OperatorProcess:
        """Create an operator for this namespace; the caller starts it.

        Args:
            api: the proxy of a second operator, in place of the laboratory's own.
            module: the module to run.
            settings: environment variables over the defaults; an empty value unsets one. Set
                NANOGRID_PORT to know the port in advance.
        """
        number = len(self.operators)
        config = self.directory / f"kubeconfig-{number}"
        kubeconfig(api or self.api, config)
        port = int(settings.get("NANOGRID_PORT") or free_port())
        watched = settings.get("NANOGRID_WATCH_NAMESPACES", self.namespace)
        environment = {
            "KUBECONFIG": str(config),
            "NANOGRID_EXECUTOR_IMAGE": json.loads(IMAGES.read_text())["executor"],
            "NANOGRID_RESULTS_URL": f"http://{self.address}:{port}/v1/results",
            "NANOGRID_RESULT_KEY_MASTER": "result-key-of-the-laboratory",
            "NANOGRID_WATCH_NAMESPACES": watched,
            "NANOGRID_COMPATIBILITY_NAMESPACE": watched,  # S3 keys and Redis keys are short
            "NANOGRID_TENANT_DEFAULTS": json.dumps(TENANT_DEFAULTS),
            "NANOGRID_S3_ENDPOINT": self.s3.url,
            "NANOGRID_S3_BUCKET": BUCKET,
            "NANOGRID_S3_SECRET": "nanogrid-s3",
            "NANOGRID_S3_SECRET_REPLICATE": "true",
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "NANOGRID_REDIS_URL": self.redis.url,
            "NANOGRID_REDIS_PASSWORD": PASSWORD,
            # Operator, Redis and S3 run outside of the cluster: sandboxes must reach this machine,
            # and no policy applies to the operator's ports. tests/e2e is about the policies.
            "NANOGRID_NETWORK_POLICIES": "false",
            "NANOGRID_ALLOW_UNENFORCED_NETWORK": "true",
            "NANOGRID_RESYNC_SECONDS": RESYNC_SECONDS,
            **settings,
        }
        operator = OperatorProcess(
            {k: v for k, v in environment.items() if v},
            port,
            self.directory / f"operator-{number}.log",
            module,
        )
        self.operators.append(operator)
        return operator


@contextmanager
def laboratory(
    namespace: str, directory: Path, *, persistent_redis: bool = False
) -> Iterator[Laboratory]:
    """Proxies, Redis and S3 server for operators of one namespace; all end with the context."""
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


@contextmanager
def two_operators(lab: Laboratory, *settings: Mapping[str, str]) -> Iterator[FaultProxy]:
    """Start two operators of the laboratory; yields the API proxy of the second one.

    ``settings`` are those of the first and of the second operator.
    """
    with api_server() as other:
        for api, own in zip((lab.api, other), settings or ({}, {}), strict=True):
            lab.operator(api, **own).start()
        for operator in lab.operators:
            operator.wait_ready()
        yield other
