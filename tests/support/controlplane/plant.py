"""The servers, the fake nodes and the operator of one run."""

import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from support.controlplane import fakenodes
from support.controlplane.client import Api, CallError
from support.controlplane.servers import Servers, programs
from support.controlplane.subjects import IMAGE, JOBS_DEFAULT, OURS, PODS
from support.controlplane.usage import cpu_seconds
from support.operator_process import OperatorProcess
from support.s3_server import free_port

TESTS = Path(__file__).parents[2]
CRDS = TESTS.parent / "crds"
MODULE = "support.controlplane.reporting_operator"
NAMESPACES = "/api/v1/namespaces"
CLEAN_SECONDS = 300.0
SERVED_SECONDS = 60.0


@dataclass
class Plant:
    """Everything that runs; see :func:`plant`."""

    servers: Servers
    operator: OperatorProcess
    api: Api

    def cpu(self) -> dict[str, float]:
        """Seconds of CPU of each server so far."""
        found = {name: cpu_seconds(process.pid) for name, process in self.servers.processes.items()}
        return {**found, "operator": cpu_seconds(self.operator.pid)}

    async def namespace(self, name: str) -> None:
        """Create a namespace; returns when pods may be created in it."""
        await self.api.call("POST", NAMESPACES, {"metadata": {"name": name}})
        accounts = f"{NAMESPACES}/{name}/serviceaccounts"
        await self.api.until("the service account", accounts, lambda n: n > 0, CLEAN_SECONDS)

    async def clean(self, namespace: str) -> None:
        """Delete all objects of a run; returns when they are gone.

        The empty namespace stays: its deletion would disturb the next run.
        """
        kinds = (OURS, JOBS_DEFAULT, PODS)
        body = {"propagationPolicy": "Background", "gracePeriodSeconds": 0}
        for subject in kinds:
            await self.api.call("DELETE", subject.path(namespace), body)
        for subject in kinds:
            path = subject.path(namespace)
            await self.api.until("the objects of a run", path, lambda n: n == 0, CLEAN_SECONDS)


@asynccontextmanager
async def plant() -> AsyncIterator[Plant]:
    """A control plane with fake nodes and an operator; all of it ends with the context."""
    found = await asyncio.to_thread(programs)
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="controlplane-")))
        servers = Servers(directory, found)
        stack.callback(servers.stop)
        await asyncio.to_thread(servers.start)
        api = Api(servers.url, servers.tokens["bench"], servers.tls())
        await stack.enter_async_context(api)
        await _prepare(api)
        operator = _operator(servers)
        stack.callback(operator.kill)
        operator.start()
        await asyncio.to_thread(operator.wait_ready)
        yield Plant(servers, operator, api)


async def _prepare(api: Api) -> None:
    """Create the fake nodes and our CRDs; returns when the API server serves them."""
    for number in range(fakenodes.NODES):
        manifest, status = fakenodes.node(number)
        path = "/api/v1/nodes"
        await api.call("POST", path, manifest)
        name = manifest["metadata"]["name"]
        # A new node has the taint of one that is not ready; no controller of nodes removes it here.
        await api.call("PATCH", f"{path}/{name}", {"spec": {"taints": None}})
        await api.call("PATCH", f"{path}/{name}/status", {"status": status})
    for file in sorted(CRDS.glob("*.yaml")):
        for manifest in yaml.safe_load_all(file.read_text()):
            path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
            await api.call("POST", path, manifest)
            await _served(api, manifest)


async def _served(api: Api, crd: dict[str, dict[str, object]]) -> None:
    names, group = crd["spec"]["names"], crd["spec"]["group"]
    assert isinstance(names, dict)
    deadline = time.monotonic() + SERVED_SECONDS
    while True:
        try:
            await api.call("GET", f"{OURS.api}/{names['plural']}?limit=1")
            return
        except CallError as error:
            if error.code != 404 or time.monotonic() > deadline:
                raise RuntimeError(f"{names['plural']}.{group} is not served") from error
            await asyncio.sleep(0.1)


def _operator(servers: Servers) -> OperatorProcess:
    """The operator of this checkout, for all namespaces, without S3: no job has a file."""
    port = free_port()
    environment = {
        "KUBECONFIG": str(servers.kubeconfig("operator")),
        "PYTHONPATH": str(TESTS),
        "NANOGRID_EXECUTOR_IMAGE": IMAGE,
        "NANOGRID_RESULTS_URL": f"http://127.0.0.1:{port}/v1/results",
        "NANOGRID_RESULT_KEY_MASTER": "result-key-of-the-benchmark",
        "NANOGRID_NAMESPACE": "default",
        "NANOGRID_TENANT_DEFAULTS": json.dumps({}),
        "NANOGRID_REDIS_URL": servers.redis_url,
        # No network plugin enforces a policy on nodes that do not exist.
        "NANOGRID_NETWORK_POLICIES": "false",
        "NANOGRID_ALLOW_UNENFORCED_NETWORK": "true",
    }
    return OperatorProcess(environment, port, servers.directory / "operator.log", MODULE)
