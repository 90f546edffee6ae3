"""The cost of POST /run compared with the job itself: both in turn, with the same code and input.

All times are milliseconds from just before the request. Job: from its creation at the API server
to its result at a Redis subscriber. Run: from POST /run to its answer; and, for the same runs, from
the result at a Redis subscriber to the answer. All through port-forwards. Prints a table.
"""

import argparse
import copy
import statistics
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from kubernetes import client, config

from examples.gateway_client import Gateway
from nanogrid import names
from nanogrid.types import Json
from scripts.devaccess import NAMESPACE, RELEASE, DevAccess, dev_access
from support.gateways import a_token, an_echo, forwarded, jobs_of, send

WAIT_SECONDS = 60
POLL_SECONDS = 1.0


class ResultListener(threading.Thread):
    """Records when the result of one requestId is published; listens from the start."""

    def __init__(self, access: DevAccess, request_id: str) -> None:
        super().__init__(daemon=True)
        connection: Any = access.redis(socket_timeout=None)
        self._pubsub = connection.pubsub()
        self._pubsub.subscribe(access.area(NAMESPACE).result_key(request_id))
        self._pubsub.get_message(timeout=WAIT_SECONDS)  # the confirmation
        self._at: float | None = None
        self.start()

    def run(self) -> None:
        """Wait for the message."""
        deadline = time.monotonic() + WAIT_SECONDS
        while self._at is None and time.monotonic() < deadline:
            message = self._pubsub.get_message(timeout=POLL_SECONDS)
            if message is not None and message["type"] == "message":
                self._at = time.perf_counter()

    def received_at(self) -> float:
        """The time, in seconds of the performance counter."""
        self.join(WAIT_SECONDS)
        self._pubsub.close()
        if self._at is None:
            raise TimeoutError(f"no result within {WAIT_SECONDS} s")
        return self._at


def run_job(access: DevAccess, template: Json) -> dict[str, float]:
    """One job as the gateway creates it, created directly."""
    name = f"bench-{uuid.uuid4().hex[:8]}"
    body = copy.deepcopy(template)
    body["metadata"]["name"] = body["spec"]["requestId"] = name
    api: Any = client.CustomObjectsApi()
    listener = ResultListener(access, name)
    began = time.perf_counter()
    api.create_namespaced_custom_object(
        names.GROUP, names.VERSION, NAMESPACE, names.PLURAL, body, _request_timeout=WAIT_SECONDS
    )
    return {"job": 1000 * (listener.received_at() - began)}


def run_function(access: DevAccess, post: Callable[[str], Any]) -> dict[str, float]:
    """One POST /run."""
    name = f"bench-{uuid.uuid4().hex[:8]}"
    listener = ResultListener(access, name)
    began = time.perf_counter()
    answer = post(name)
    ended = time.perf_counter()
    if answer.status != 200 or answer.body["status"] != "SUCCESS":
        raise RuntimeError(f"{name}: {answer.status} {answer.body}")
    return {"run": 1000 * (ended - began), "answer": 1000 * (ended - listener.received_at())}


def template_of(function_id: str, request_id: str) -> Json:
    """The gateway's own job, as a template for others."""
    (job,) = jobs_of(function_id, request_id)
    kept = {key: job["metadata"][key] for key in ("labels", "annotations")}
    return {key: job[key] for key in ("apiVersion", "kind", "spec")} | {"metadata": kept}


def line(title: str, values: list[float]) -> str:
    """A row: median, 99th percentile, minimum and maximum."""
    ordered = sorted(values)
    last = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    middle = statistics.median(ordered)
    return f"{title:42}{middle:8.0f}{last:8.0f}{ordered[0]:8.0f}{ordered[-1]:8.0f}"


def measure(count: int, seconds: float) -> list[dict[str, float]]:
    """Up to ``count`` pairs that begin within ``seconds``; a first pair is not counted."""
    with (
        dev_access() as access,
        a_token() as token,
        forwarded(f"svc/{RELEASE}-gateway") as url,
        an_echo(Gateway(url, token)) as function,
    ):

        def post(request_id: str) -> Any:
            body = {"functionId": function, "inputData": {}, "requestId": request_id}
            return send(url, token, "POST", "/run", body | {"wait": WAIT_SECONDS})

        first = f"bench-{uuid.uuid4().hex[:8]}"
        post(first)
        template = template_of(function, first)
        run_job(access, template)
        deadline = time.monotonic() + seconds
        pairs: list[dict[str, float]] = []
        while len(pairs) < count and time.monotonic() < deadline:
            pairs.append(run_job(access, template) | run_function(access, post))
        return pairs


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="POST /run compared with the job itself.")
    parser.add_argument("--count", type=int, default=30, help="of each")
    parser.add_argument(
        "--seconds", type=float, default=900.0, help="start no pair later than this"
    )
    options = parser.parse_args()
    config.load_kube_config()  # type: ignore[no-untyped-call]
    pairs = measure(options.count, options.seconds)
    print(f"{f'ms, {len(pairs)} of each, interleaved':42}{'p50':>8}{'p99':>8}{'min':>8}{'max':>8}")
    for title, key in (
        ("job created to result on Redis", "job"),
        ("POST /run to its answer", "run"),
        ("result on Redis to the answer of POST /run", "answer"),
    ):
        print(line(title, [pair[key] for pair in pairs]))
    print(line("POST /run minus the job before it", [pair["run"] - pair["job"] for pair in pairs]))


if __name__ == "__main__":
    main()
