"""Sessions without Kubernetes: jobs and pods in a fake API server, agents, router processes."""

import asyncio
import contextlib
import itertools
import json
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from nanogrid import names
from support.alb.targets import Endpoint
from support.routing.agent import FakeAgent
from support.routing.kube import JOBS, PODS, FakeKube
from support.routing.serving import running
from support.s3_server import free_port

KEY = "a session key for tests"
NAMESPACE = "team-a"
START_SECONDS = 90.0
WAIT_SECONDS = 60.0
HOST = "127.0.0.1"
_numbers = itertools.count(1)


def loopback_ip() -> str:
    """A loopback address that no other test on this machine uses."""
    number = next(_numbers)
    return f"127.{64 + os.getpid() % 128}.{os.getpid() // 128 % 250}.{number % 250 + 2}"


async def until(check: Callable[[], Any], what: str, seconds: float = WAIT_SECONDS) -> None:
    """Wait until the check is true; it may be a coroutine function."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        found = check()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        await asyncio.sleep(0.02)


@dataclass
class FakeSession:
    """One session: its objects in the API server, and its agent."""

    name: str
    agent: FakeAgent
    uid: str
    namespace: str = NAMESPACE

    @property
    def path(self) -> str:
        """The session's path at the router."""
        return names.session_path(self.namespace, self.name)

    @property
    def token(self) -> str:
        """The session's bearer token."""
        return names.session_token(KEY.encode(), self.uid)

    @property
    def auth(self) -> dict[str, str]:
        """The Authorization header of the session."""
        return {"Authorization": f"Bearer {self.token}"}

    @property
    def pod_name(self) -> str:
        """The name of its pod."""
        return f"{self.name}-pod"

    def job(self, **status: Any) -> dict[str, Any]:
        """Its ExecutionJob."""
        return {
            "metadata": {"namespace": self.namespace, "name": self.name, "uid": self.uid},
            "spec": {"mode": names.MODE_SESSION, "requestId": self.agent.session_id},
            "status": {"phase": "Running", "podName": self.pod_name} | status,
        }

    def pod(self, *, ready: bool = True, owner: str = "", ip: str = "") -> dict[str, Any]:
        """Its pod."""
        return {
            "metadata": {
                "namespace": self.namespace,
                "name": self.pod_name,
                "uid": f"pod-{self.uid}",
                "labels": {names.LABEL_MODE: names.MODE_SESSION, names.LABEL_JOB_UID: self.uid},
                "ownerReferences": [{"kind": names.KIND, "uid": owner or self.uid}],
            },
            "status": {
                "phase": "Running",
                "podIP": ip or self.agent.ip,
                "conditions": [{"type": "Ready", "status": str(ready)}],
            },
        }


@dataclass
class Router:
    """A router process."""

    process: asyncio.subprocess.Process
    endpoint: Endpoint
    log: Path

    @property
    def url(self) -> str:
        """The router's base URL."""
        return f"http://{self.endpoint.host}:{self.endpoint.port}"

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    async def exit_code(self, seconds: float = WAIT_SECONDS) -> int:
        """Wait for the exit code."""
        return await asyncio.wait_for(self.process.wait(), seconds)


@dataclass
class World:
    """The surroundings of the routers of one test."""

    kube: FakeKube
    directory: Path
    client: aiohttp.ClientSession
    stack: contextlib.AsyncExitStack
    routers: list[Router] = field(default_factory=list)

    async def session(
        self,
        name: str,
        *,
        ready: bool = True,
        ip: str = "",
        namespace: str = NAMESPACE,
        **status: Any,
    ) -> FakeSession:
        """A session with a pod, which is ready by default."""
        uid = str(uuid.uuid4())
        name = f"{name}-{uid[:6]}"
        token = names.session_token(KEY.encode(), uid)
        agent = FakeAgent(ip or loopback_ip(), f"id-{name}", token)
        session = FakeSession(name, agent, uid, namespace)
        await self.stack.enter_async_context(running(agent))
        await self.kube.put(JOBS, session.job(**status))
        await self.kube.put(PODS, session.pod(ready=ready))
        return session

    async def ready(
        self, router: "Router", name: str, *, ip: str = "", namespace: str = NAMESPACE
    ) -> FakeSession:
        """A ready session that the router already knows."""
        session = await self.session(name, ip=ip, namespace=namespace)
        await self.reaches(router, f"{session.path}/known", 200, session.auth)
        return session

    async def get(
        self, router: Router, path: str, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """GET an encoded path without following redirects; the status and the body.

        The body is JSON if it is an object, else text.
        """
        url = URL(router.url + path, encoded=True)
        async with self.client.get(url, headers=headers, allow_redirects=False) as response:
            text = await response.text()
        return response.status, json.loads(text) if text.startswith("{") else text

    async def router(self, **env: str) -> Router:
        """Start a router process; returns when it is ready."""
        number = len(self.routers)
        port = free_port()
        log = self.directory / f"router-{number}.log"
        settings = {
            "PATH": os.environ["PATH"],
            "KUBECONFIG": str(self.kube.kubeconfig(self.directory)),
            "NANOGRID_SESSION_KEY": KEY,
            "NANOGRID_HOST": HOST,
            "NANOGRID_PORT": str(port),
            "NANOGRID_DRAIN_START_SECONDS": "2",
            "NANOGRID_DRAIN_SECONDS": "240",
        }
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "nanogrid_gateway.router",
                env=settings | env,
                stdout=out,
                stderr=out,
            )
        router = Router(process, Endpoint(HOST, port), log)
        self.routers.append(router)
        await self.reaches(router, "/readyz", 200)
        return router

    async def reaches(
        self, router: Router, path: str, status: int, headers: dict[str, str] | None = None
    ) -> None:
        """Wait until a GET of a path returns that status."""

        async def has_status() -> bool:
            if router.process.returncode is not None:
                raise AssertionError(f"the router exited:\n{router.log.read_text()[-2000:]}")
            try:
                async with self.client.get(router.url + path, headers=headers) as response:
                    return response.status == status
            except (aiohttp.ClientError, TimeoutError):
                return False

        await until(has_status, f"{path} returns {status}", START_SECONDS)

    async def stop(self) -> None:
        """Kill the routers that still run."""
        for router in self.routers:
            if router.process.returncode is None:
                router.process.kill()
                await router.process.wait()


@contextlib.asynccontextmanager
async def running_world(directory: Path, *, field_selectors: bool = True) -> AsyncIterator[World]:
    """A fake API server, a client, and room for sessions and routers."""
    async with contextlib.AsyncExitStack() as stack:
        kube = await stack.enter_async_context(running(FakeKube(field_selectors=field_selectors)))
        client = await stack.enter_async_context(
            aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=WAIT_SECONDS),
            )
        )
        made = World(kube, directory, client, stack)
        stack.push_async_callback(made.stop)
        yield made
