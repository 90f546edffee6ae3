"""The router's overhead: requests per second and latency through it and direct, interleaved.

One agent process, one router process on one CPU of its own choice, and this client, all on
loopback. Rounds alternate between the two routes, so that other load on the machine affects both.
CPU and memory are those of the router's process. Run in tests/: python -m bench.router
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
from aiohttp import web

from bench.load import Request, a_client, load
from nanogrid import names
from support.process_usage import cpu_millis, usage_of_process
from support.routing.agent import FakeAgent
from support.routing.kube import JOBS, PODS
from support.routing.world import (
    NAMESPACE,
    FakeSession,
    Router,
    World,
    loopback_ip,
    running_world,
    until,
)

BODY = json.dumps({"code": "print('hello')"}).encode()
ANSWER = json.dumps({"status": "SUCCESS", "stdout": "hello\n" * 20}).encode()
ROUTES = ("direct", "router")
STREAM = "/stream"
Times = list[float]  # seconds


async def serve_agent(ip: str) -> None:
    """The agent's process: the cheapest response of aiohttp, and streams without an end."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        await request.read()
        if request.path.endswith(STREAM):
            stream = web.StreamResponse()
            await stream.prepare(request)
            await asyncio.Event().wait()
        return web.Response(body=ANSWER, content_type="application/json")

    runner = web.ServerRunner(web.Server(handle, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, ip, names.SESSION_PORT).start()
    await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def agent_process(routing: World) -> AsyncIterator[FakeSession]:
    """A session whose agent is a separate process."""
    ip, uid = loopback_ip(), "bench-uid"
    command = (sys.executable, "-m", "bench.router", "--agent", ip)
    process = await asyncio.create_subprocess_exec(*command)
    session = FakeSession("bench", FakeAgent(ip, "bench", ""), uid, NAMESPACE)

    async def is_listening() -> bool:
        with contextlib.suppress(aiohttp.ClientError):
            async with routing.client.get(f"http://{ip}:{names.SESSION_PORT}/") as answer:
                return answer.status == 200
        return False

    try:
        await until(is_listening, "the agent listens", 30)
        await routing.kube.put(JOBS, session.job())
        await routing.kube.put(PODS, session.pod())
        yield session
    finally:
        process.terminate()
        await process.wait()


def summary(times: Times, seconds: float, cpu: list[float]) -> dict[str, float]:
    """Requests per second, latency in milliseconds at p50 and p99, the median CPU of the rounds."""
    cuts = statistics.quantiles(times, n=100)
    found = {"rps": len(times) / seconds, "p50": 1000 * cuts[49], "p99": 1000 * cuts[98]}
    return found | {"cpu": statistics.median(cpu)}


async def compare(
    session: FakeSession, router: Router, options: argparse.Namespace, at_once: int
) -> dict[str, dict[str, float]]:
    """Measure both routes in alternating rounds."""
    urls = {
        "direct": f"http://{session.agent.ip}:{names.SESSION_PORT}/execute",
        "router": f"{router.url}{session.path}/execute",
    }
    requests = {route: Request(urls[route], "POST", BODY, session.auth) for route in ROUTES}
    times: dict[str, Times] = {route: [] for route in ROUTES}
    cpu: dict[str, list[float]] = {route: [] for route in ROUTES}
    seconds = dict.fromkeys(ROUTES, 0.0)
    pid = router.process.pid
    async with a_client() as client:
        for route in ROUTES:
            await load(client, [requests[route]] * 10 * at_once, at_once)
        for number in range(options.rounds):
            for route in ROUTES if number % 2 else reversed(ROUTES):
                before = usage_of_process(pid)
                found, duration = await load(client, [requests[route]] * options.requests, at_once)
                cpu[route].append(cpu_millis(before, usage_of_process(pid), options.requests))
                times[route] += found
                seconds[route] += duration
    return {route: summary(times[route], seconds[route], cpu[route]) for route in ROUTES}


def pin(pid: int) -> None:
    """Let all threads of a process use one CPU only, on a system that can."""
    if hasattr(os, "sched_setaffinity"):
        for thread in os.listdir(f"/proc/{pid}/task"):
            os.sched_setaffinity(int(thread), {max(os.sched_getaffinity(0))})


async def open_streams(session: FakeSession, router: Router, count: int) -> float:
    """KiB of the router's memory for each of ``count`` streams that are open and silent."""
    url = f"{router.url}{session.path}{STREAM}"
    async with a_client() as client, contextlib.AsyncExitStack() as stack:
        before = usage_of_process(router.process.pid)
        for _ in range(count):
            answer = await stack.enter_async_context(client.get(url, headers=session.auth))
            if answer.status != 200:
                raise RuntimeError(f"{url} answered {answer.status}")
        after = usage_of_process(router.process.pid)
    return (after.resident - before.resident) / 1024 / count


async def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as directory:
        async with running_world(Path(directory)) as routing, agent_process(routing) as session:
            router = await routing.router(NANOGRID_LOG_LEVEL="WARNING")
            await routing.reaches(router, f"{session.path}/x", 200, session.auth)
            pin(router.process.pid)
            # First: later, streams would use memory that the router has already.
            held = await open_streams(session, router, options.streams)
            found = {n: await compare(session, router, options, n) for n in options.connections}
    if options.json:
        print(json.dumps(found | {"KiB": held}, indent=2))
        return
    print("connections  route   req/s   p50 ms   p99 ms   CPU ms")
    for connections, routes in found.items():
        for route, row in routes.items():
            print(
                f"{connections:11}  {route:6} {row['rps']:6.0f} {row['p50']:8.2f} {row['p99']:8.2f}"
                f" {row['cpu']:8.2f}"
            )
        direct, routed = routes["direct"], routes["router"]
        added = [routed[p] - direct[p] for p in ("p50", "p99")]
        print(f"{connections:11}  added          {added[0]:8.2f} {added[1]:8.2f}")
    print(f"memory of each of {options.streams} open streams: {held:.0f} KiB")


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10, help="rounds of each route")
    parser.add_argument("--requests", type=int, default=500, help="requests per round")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--streams", type=int, default=60, help="open streams")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--agent", metavar="IP", help=argparse.SUPPRESS)
    options = parser.parse_args()
    asyncio.run(serve_agent(options.agent) if options.agent else run(options))


if __name__ == "__main__":
    main()
