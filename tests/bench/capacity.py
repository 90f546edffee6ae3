"""What one replica of the gateway and of the router bears: CPU per request, memory per waiter.

Against the Deployments of the installed chart, through port-forwards to one pod of each, which no
other client should use. Rounds of all kinds of requests alternate. CPU is that of the process
before and after a kind's requests, minus what it uses when it is idle. Prints a table, or JSON.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from typing import Final

import aiohttp

from bench.calls import CALLERS, Case, GatewayCalls, Held, Row, SessionCalls
from bench.load import Request, a_client, load, send
from examples.gateway_client import Gateway
from nanogrid import names
from scripts.devaccess import NAMESPACE, PortForward
from support.figures import spread, table
from support.gateways import ECHO, PORT, a_token, uploaded
from support.kubectl import created, kubectl, kubectl_json
from support.process_usage import FILES, Usage, cpu_millis, parse_usage
from support.sessions import path_of, ready, session, token_of

SETTLE_SECONDS: Final = 5.0
HOLD_SECONDS: Final = 20.0
IDLE_SECONDS: Final = 15.0
SLEEP: Final = 170


def say(text: str) -> None:
    """Show progress."""
    print(f"capacity: {text}", file=sys.stderr, flush=True)


def pod_of(component: str) -> str:
    """The name of one ready pod of a component."""
    label = f"app.kubernetes.io/component={component}"
    for pod in kubectl_json("-n", NAMESPACE, "get", "pods", "-l", label)["items"]:
        conditions = pod["status"].get("conditions", [])
        if any(c["type"] == "Ready" and c["status"] == "True" for c in conditions):
            return str(pod["metadata"]["name"])
    raise RuntimeError(f"no pod of {component} is ready; run `make deploy`")


async def hold(
    client: aiohttp.ClientSession, read: Callable[[], Usage], requests: list[Request], idle: float
) -> Held:
    """Let requests wait; ``idle`` is the CPU of the process per second without them.

    Raises:
        RuntimeError: a request did not wait.
    """
    before = read()
    tasks = [asyncio.create_task(send(client, request)) for request in requests]
    try:
        await asyncio.sleep(SETTLE_SECONDS)
        began, first = time.monotonic(), read()
        await asyncio.sleep(HOLD_SECONDS)
        last, seconds = read(), time.monotonic() - began
        if ended := [task for task in tasks if task.done()]:
            raise RuntimeError(f"{len(ended)} requests did not wait") from ended[0].exception()
        cpu = cpu_millis(first, last, len(tasks), idle * seconds) / seconds
        return Held(len(tasks), (last.resident - before.resident) / 1024 / len(tasks), cpu)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Bench:
    """The measurement of both components."""

    def __init__(self, client: aiohttp.ClientSession, pods: dict[str, str]) -> None:
        self._client, self._pods = client, pods
        self.rows: dict[str, Row] = {}
        self.held: dict[str, Held] = {}
        self.idle: dict[str, list[float]] = {name: [] for name in pods}  # CPU seconds per second
        self.memory: dict[str, list[Usage]] = {name: [self.read(name)] for name in pods}

    def read(self, component: str) -> Usage:
        """The usage of a component's process."""
        files = (f"/proc/1/{name}" for name in FILES)
        pod = self._pods[component]
        return parse_usage(kubectl("-n", NAMESPACE, "exec", pod, "--", "cat", *files))

    async def be_idle(self) -> None:
        """Measure the components without requests."""
        began, before = time.monotonic(), {name: self.read(name) for name in self._pods}
        await asyncio.sleep(IDLE_SECONDS)
        for name, first in before.items():
            used = self.read(name).cpu_seconds - first.cpu_seconds
            self.idle[name].append(used / (time.monotonic() - began))

    async def run(self, case: Case) -> None:
        """Measure one round of a case."""
        row = self.rows.setdefault(case.name, Row())
        began, before = time.monotonic(), self.read(case.pod) if case.pod else None
        requests = (case.request(number) for number in range(case.count))
        times, seconds = await load(self._client, requests, case.at_once)
        row.rate.append(case.count / seconds)
        row.median_millis.append(1000 * statistics.median(times))
        if before is not None:
            after = self.read(case.pod)
            idle = statistics.median(self.idle[case.pod]) * (time.monotonic() - began)
            row.cpu_millis.append(cpu_millis(before, after, case.count, idle))
            self.memory[case.pod].append(after)

    async def waiting(self, gateway: GatewayCalls, at: SessionCalls, count: int) -> None:
        """Measure requests that wait for one run, streams of its log, streams of a session."""
        run = f"bench-{uuid.uuid4().hex[:8]}"
        started = gateway.run(0, run, wait=0, sleep=SLEEP, status=202)
        waits = [gateway.run(n, run, sleep=SLEEP) for n in range(count)]
        logs = [gateway.request(n, "GET", f"/runs/{run}/logs") for n in range(2 * CALLERS)]
        await send(self._client, started)
        await asyncio.sleep(SETTLE_SECONDS)  # its pod starts
        await self._hold("POST /run that waits", "gateway", waits)
        await self._hold("stream of a log", "gateway", logs)
        await send(self._client, gateway.request(0, "DELETE", f"/runs/{run}", status=202))
        code = {"code": f"import time; time.sleep({SLEEP})"}
        execution = asyncio.create_task(send(self._client, at.request("POST", "/execute", code)))
        await asyncio.sleep(SETTLE_SECONDS)  # it is accepted
        listed = json.loads(await send(self._client, at.request("GET", "/executions")))
        path = f"/executions/{listed['count']}"
        streams = [at.request("GET", f"{path}/stream") for _ in range(count // 2)]
        await self._hold("open stream of a session", "router", streams)
        await send(self._client, at.request("DELETE", path, status=202))
        await execution

    async def _hold(self, name: str, component: str, requests: list[Request]) -> None:
        say(f"{len(requests)} times: {name}")
        idle = statistics.median(self.idle[component])
        self.held[name] = await hold(self._client, lambda: self.read(component), requests, idle)


def report(bench: Bench) -> str:
    """All figures as tables."""
    rows = {
        name: [spread(row.cpu_millis, 1), spread(row.median_millis), spread(row.rate, 1)]
        for name, row in bench.rows.items()
    }
    held = {
        name: [str(one.count), f"{one.kibibytes:.0f}", f"{one.cpu_millis_per_second:.2f}"]
        for name, one in bench.held.items()
    }
    memory = {
        name: [f"{1000 * statistics.median(bench.idle[name]):.1f}"]
        + [f"{size / 2**20:.0f}" for size in (*(r.resident for r in read[:2]), read[-1].peak)]
        for name, read in bench.memory.items()
    }
    tables = (
        table(("median (min-max)", "CPU ms/request", "ms/request", "requests/s"), rows),
        table(("waiting", "at once", "KiB each", "CPU ms/s each"), held),
        table(("process", "idle CPU ms/s", "MiB idle", "MiB after burst", "MiB highest"), memory),
    )
    return "\n\n".join(tables)


async def measure(
    pods: dict[str, str], gateway: GatewayCalls, at: SessionCalls, options: argparse.Namespace
) -> Bench:
    """All cases, in alternating rounds, after what waits."""
    async with a_client() as client:
        bench = Bench(client, pods)
        runs = [gateway.run(n) for n in range(20)]
        say(f"{len(runs)} first runs, which are not counted")
        await load(client, runs, CALLERS)
        known = json.loads(runs[0].body or b"")["requestId"]
        cases = gateway.cases(known) + at.cases()
        for case in cases:
            await load(client, (case.request(n) for n in range(CALLERS)), case.at_once)
        # Each of them needs a connection behind it too.
        say(f"bursts of {options.waiting} requests at once")
        for burst in (lambda n: gateway.result(n, known), at.health):
            await load(client, [burst(n) for n in range(2 * options.waiting)], options.waiting)
        for name, read in bench.memory.items():
            read.append(bench.read(name))
        await bench.be_idle()
        await bench.waiting(gateway, at, options.waiting)
        for number in range(options.rounds):
            await bench.be_idle()
            for case in cases if number % 2 else reversed(cases):
                say(f"round {number + 1} of {options.rounds}: {case.name}")
                await bench.run(case)
        return bench


def main() -> None:
    """Make callers, functions and a session; measure and print."""
    parser = argparse.ArgumentParser(description="What a gateway and a router bear.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--waiting", type=int, default=60, help="requests that wait at a time")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with ExitStack() as stack:

        def forwarded(namespace: str, pod: str, port: int) -> str:
            return stack.enter_context(PortForward(namespace, f"pod/{pod}", port)).wait_url()

        pods = {name: pod_of(name) for name in ("gateway", "router")}
        url, routed = [forwarded(NAMESPACE, pod, PORT) for pod in pods.values()]
        tokens = [stack.enter_context(a_token()) for _ in range(CALLERS)]
        owner = Gateway(url, tokens[0])
        functions = [stack.enter_context(uploaded(owner, ECHO)) for _ in tokens]
        namespace = created(f"bench-{uuid.uuid4().hex[:8]}")
        stack.callback(kubectl, "delete", "namespace", namespace.name, "--wait=false")
        namespace.apply(session("bench"))
        token = token_of(namespace, ready(namespace, "bench"))
        pod = namespace.only_pod("bench")["metadata"]["name"]
        direct = forwarded(namespace.name, pod, names.SESSION_PORT)
        at = SessionCalls(routed, direct, path_of(namespace, "bench"), token)
        bench = asyncio.run(measure(pods, GatewayCalls(url, tokens, functions), at, options))
    if options.json:
        found = {n: getattr(bench, n) for n in ("rows", "held", "idle", "memory")}
        print(json.dumps(found, default=asdict, indent=2))
    else:
        print(report(bench))


if __name__ == "__main__":
    main()
