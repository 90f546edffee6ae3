"""Pictures of the dashboards from a cluster: `make dashboard-pictures`.

For some minutes jobs of three namespaces succeed, fail for several reasons and queue, functions run
through the gateway, and sessions execute code, while a Prometheus in the cluster scrapes the
release. Each kind of work waits for its end before it goes on, so its amount has a bound.
"""

import argparse
import contextlib
import itertools
import json
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Final

from examples.gateway_client import Gateway, GatewayError
from nanogrid import names
from nanogrid.types import Json
from pictures.answers import span_of
from pictures.draw import DrawError, draw
from support.gateways import a_token, forwarded, uploaded
from support.kubectl import KubectlError, Namespace, created, inline, job, kubectl
from support.prometheus_api import PrometheusError
from support.prometheus_pod import a_prometheus, monitoring_of_release
from support.release import IN_RELEASE, RELEASE, RELEASE_NAMESPACE, wait_for_operator
from support.sessions import path_of, router, session, starting

TEAMS: Final = ("analytics", "team-a", "team-b")
MONITORING: Final = "dashboard-pictures"
FUNCTIONS: Final = ("monthly-report", "resize-images")
DELETE_SECONDS: Final = 300  # of a namespace; the next run creates it again
EXECUTIONS: Final = 15  # of a session, before the next one starts
# Without requests a pod requests its limits, and few pods of one CPU fit on small nodes.
LITTLE: Final = {"cpu": "50m"}
SMALL: Final = {"resources": {"limits": {"cpu": "1", "memory": "96Mi"}, "requests": LITTLE}}
SESSION: Final = {"resources": {"limits": {"cpu": "1", "memory": "192Mi"}, "requests": LITTLE}}
# One job at a time queues the others; names outside the cluster are reached through the proxy.
TENANTS: Final[dict[str, Json]] = {
    "analytics": {"limits": {"jobs": 1}},
    "team-b": {"network": {"egress": "Internet"}},
}
WORK: Final = """\
import os, time
time.sleep({})
os.makedirs("output", exist_ok=True)
open("output/total.txt", "w").write("42")
"""
FETCH: Final = """\
import urllib.request
for host in ("example.com", "other.example.com"):
    try:
        print(urllib.request.urlopen(f"https://{host}", timeout=10).status)
    except OSError as error:
        print(error)
"""
FUNCTION: Final = b"""\
import json, os, sys, time
data = json.load(open(os.environ["FUNCTION_INPUT"]))
block = b"x" * (data["mebibytes"] << 20)
time.sleep(data["seconds"])
sys.exit(data["exit"])
"""


def batch(space: Namespace, number: int) -> list[Json]:
    """The jobs of a round: in every third round one of them fails."""
    team, name = TEAMS.index(space.name), f"{number:04d}"
    found = [
        inline(f"report-{name}-{each}", WORK.format(0.3 * (1 + (number + each) % 5)), **SMALL)
        for each in range(2)
    ]
    if "network" in TENANTS.get(space.name, {}):
        network = {"egress": "Allowlist", "hosts": ["example.com"]}
        found.append(inline(f"fetch-{name}", FETCH, network=network, **SMALL))
    if number % 3 == team:
        found.append(job(f"fails-{name}", **SMALL, **failures(space)[(number // 3 + team) % 4]))
    return found


def failures(space: Namespace) -> list[Json]:
    """What four jobs have that fail for different reasons."""
    missing = {"name": "data", "s3": {"key": space.key("missing.csv")}}
    late = "import time\ntime.sleep(600)\n"
    return [
        {"code": {"inline": "import sys\nsys.exit(3)\n"}, "backoffLimit": 1},
        {"code": {"inline": "bytearray(512 << 20)\n"}},
        {"code": {"inline": late}, "timeouts": {"executionSeconds": 3}},
        {"code": {"inline": "print(1)\n"}, "inputs": [missing]},
    ]


def jobs(space: Namespace, stop: threading.Event) -> None:
    """Rounds of jobs in a namespace."""
    space.wait_for_account()
    for number in itertools.count():
        if stop.is_set():
            return
        applied = batch(space, number)
        space.apply(*applied)
        for one in applied:
            space.finished(one["metadata"]["name"])


def functions(stop: threading.Event) -> None:
    """Runs through the gateway, some of which fail, and requests that it refuses."""
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(forwarded(f"svc/{RELEASE}-gateway"))
        gateway = Gateway(url, stack.enter_context(a_token()))
        for name in FUNCTIONS:
            stack.enter_context(uploaded(gateway, FUNCTION, name=name, memory="256Mi"))
        for number in itertools.count():
            if stop.is_set():
                return
            exit_code = 3 if number % 11 == 10 else 0
            data = {"mebibytes": 20 + 40 * (number % 4), "seconds": 0.2 * (1 + number % 6)}
            gateway.run(FUNCTIONS[number % 5 // 3], {**data, "exit": exit_code})
            if number % 4 == 0:
                for client, function in ((Gateway(url, "wrong"), FUNCTIONS[0]), (gateway, "none")):
                    with contextlib.suppress(GatewayError):
                        client.run(function, {})


def sessions(idle: Namespace, busy: Namespace, stop: threading.Event) -> None:
    """One session that waits, and others, one after another, that execute code."""
    with router() as url:
        for space in (idle, busy):
            space.wait_for_account()
        starting(idle, url, session("notebook", **SESSION))
        for number in itertools.count():
            name = f"notebook-{number}"
            caller = starting(busy, url, session(name, **SESSION))
            for each in range(EXECUTIONS):
                if stop.is_set():
                    return
                code = f"import time\ntime.sleep({0.2 * (1 + each % 4)})"
                caller.execute(path_of(busy, name), code)
            busy.kubectl("delete", "ej", name, "--wait=false")


@contextlib.contextmanager
def teams() -> Iterator[list[Namespace]]:
    """The namespaces, with what they may do."""
    with contextlib.ExitStack() as stack:
        for name in FUNCTIONS:
            if kubectl(*IN_RELEASE, "get", "fn", name, "--ignore-not-found", "-o", "name"):
                raise DrawError(f"there is a function {name}: this would delete it")
        spaces = []
        for name in (*TEAMS, MONITORING):
            spaces.append(created(name))
            stack.callback(kubectl, "delete", "namespace", name, timeout=DELETE_SECONDS)
        for name, spec in TENANTS.items():
            body = {"apiVersion": names.API_VERSION, "kind": names.TENANT_KIND}
            tenant = {**body, "metadata": {"name": name}, "spec": spec}
            kubectl(*IN_RELEASE, "create", "-f", "-", stdin=json.dumps(tenant))
            stack.callback(kubectl, *IN_RELEASE, "delete", "ngt", name)
        yield spaces


def work(spaces: list[Namespace], minutes: float) -> float:
    """Let everything work for some minutes; returns the time when it is asked to stop.

    Raises:
        Exception: that of the first part that fails; the others stop.
    """
    stop = threading.Event()
    with ThreadPoolExecutor(len(spaces) + 2) as pool:
        try:
            tasks = [pool.submit(jobs, space, stop) for space in spaces]
            tasks.append(pool.submit(functions, stop))
            tasks.append(pool.submit(sessions, spaces[1], spaces[2], stop))
            wait(tasks, minutes * 60, FIRST_EXCEPTION)
            end = time.time()
        finally:
            stop.set()
    for task in tasks:
        task.result()
    return end


def main() -> int:
    """The exit code: 1 if a picture cannot be drawn."""
    parser = argparse.ArgumentParser(prog="pictures.traffic", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="of work; default 10")
    parser.add_argument("--to", type=Path, default=Path("docs/images"), metavar="FOLDER")
    options = parser.parse_args()
    wait_for_operator()
    try:
        with (
            teams() as (*spaces, space),
            a_prometheus(space, *monitoring_of_release()) as prometheus,
        ):
            end = work(spaces, options.minutes)
            wishes = {"namespace": RELEASE_NAMESPACE, "function": FUNCTIONS[0]}
            draw(prometheus, options.to, span_of(end, options.minutes), wishes)
    except (DrawError, KubectlError, PrometheusError) as error:
        print(f"pictures: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
