"""The router's overhead: requests per second and latency through it and direct, interleaved.

One agent process, one router process and this client, all on loopback. Rounds alternate between the
two routes, so that other load on the machine affects both. Run in tests/: python -m bench.router
"""

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
from aiohttp import web

from nanogrid import names
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
Times = list[float]  # seconds


async def serve_agent(ip: str) -> None:
    """The agent's process: the cheapest response of aiohttp."""

    async def handle(request: web.BaseRequest) -> web.Response:
        await request.read()
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


async def measure(
    client: aiohttp.ClientSession, url: str, headers: dict[str, str], count: int, at_once: int
) -> tuple[Times, float]:
    """Send ``count`` requests over ``at_once`` connections; seconds of each one and in total."""
    times: Times = []
    left = iter(range(count))

    async def one_connection() -> None:
        for _ in left:
            began = time.perf_counter()
            async with client.post(url, data=BODY, headers=headers) as answer:
                await answer.read()
                if answer.status != 200:
                    raise RuntimeError(f"{url} answered {answer.status}")
            times.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(one_connection() for _ in range(at_once)))
    return times, time.perf_counter() - began


def summary(times: Times, seconds: float) -> dict[str, float]:
    """Requests per second, and latency in milliseconds at p50 and p99."""
    cuts = statistics.quantiles(times, n=100)
    return {"rps": len(times) / seconds, "p50": 1000 * cuts[49], "p99": 1000 * cuts[98]}


async def compare(
    session: FakeSession, router: Router, options: argparse.Namespace, at_once: int
) -> dict[str, dict[str, float]]:
    """Measure both routes in alternating rounds."""
    urls = {
        "direct": f"http://{session.agent.ip}:{names.SESSION_PORT}/execute",
        "router": f"{router.url}{session.path}/execute",
    }
    times: dict[str, Times] = {route: [] for route in ROUTES}
    seconds = dict.fromkeys(ROUTES, 0.0)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar()
    ) as client:
        for route in ROUTES:
            await measure(client, urls[route], session.auth, 10 * at_once, at_once)
        for number in range(options.rounds):
            for route in ROUTES if number % 2 else reversed(ROUTES):
                round_times, duration = await measure(
                    client, urls[route], session.auth, options.requests, at_once
                )
                times[route] += round_times
                seconds[route] += duration
    return {route: summary(times[route], seconds[route]) for route in ROUTES}


async def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as directory:
        async with running_world(Path(directory)) as routing, agent_process(routing) as session:
            router = await routing.router(NANOGRID_LOG_LEVEL="WARNING")
            await routing.reaches(router, f"{session.path}/x", 200, session.auth)
            found = {n: await compare(session, router, options, n) for n in options.connections}
    if options.json:
        print(json.dumps(found, indent=2))
        return
    print("connections  route   req/s   p50 ms   p99 ms")
    for connections, routes in found.items():
        for route, row in routes.items():
            print(
                f"{connections:11}  {route:6} {row['rps']:6.0f} {row['p50']:8.2f} {row['p99']:8.2f}"
            )
        direct, routed = routes["direct"], routes["router"]
        added = [routed[p] - direct[p] for p in ("p50", "p99")]
        print(f"{connections:11}  added          {added[0]:8.2f} {added[1]:8.2f}")


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10, help="rounds of each route")
    parser.add_argument("--requests", type=int, default=500, help="requests per round")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--agent", metavar="IP", help=argparse.SUPPRESS)
    options = parser.parse_args()
    asyncio.run(serve_agent(options.agent) if options.agent else run(options))


if __name__ == "__main__":
    main()
