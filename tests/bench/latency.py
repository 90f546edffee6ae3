"""Latency of an inline job, compared with a bare pod of the same image; the runs alternate.

Milliseconds from just before the create request to: the first instruction of the user's code (it
prints its clock; all nodes share this machine's clock), the message at a Redis subscriber, and the
terminal state in a watch (job: Finished, pod: Succeeded). Prints a table, or JSON.
"""

import argparse
import json
import statistics
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kubernetes import client, config, watch

from nanogrid import names
from scripts.devaccess import DevAccess, dev_access

CODE = "import time; print(time.time())"
WAIT_SECONDS = 60
COLUMNS = ("first instruction", "result on Redis", "terminal state")
Row = dict[str, float]


class Terminal(threading.Thread):
    """Records when an object of a watched collection first satisfies a predicate."""

    def __init__(self, call: Callable[..., Any], name: str, done: Callable[[Any], bool]) -> None:
        super().__init__(daemon=True)
        self.call, self.wanted, self.done = call, name, done
        self.at: float | None = None
        self.start()

    def run(self) -> None:
        """Watch until the object is done."""
        watcher: Any = watch.Watch()  # type: ignore[no-untyped-call]
        stream = watcher.stream(
            self.call, field_selector=f"metadata.name={self.wanted}", timeout_seconds=WAIT_SECONDS
        )
        for event in stream:
            if self.done(event["object"]):
                self.at = time.time()
                return

    def wait(self) -> float:
        """Wait for this time; returns it in seconds since the epoch.

        Raises:
            TimeoutError: the object is not done within WAIT_SECONDS.
        """
        self.join(WAIT_SECONDS)
        if self.at is None:
            raise TimeoutError(f"{self.wanted} did not end within {WAIT_SECONDS} s")
        return self.at


def run_job(namespace: str, access: DevAccess) -> Row:
    """Run one inline job; returns the times of the three columns."""
    name = f"bench-{uuid.uuid4().hex[:8]}"
    api = client.CustomObjectsApi()

    def listing(**more: Any) -> Any:
        return api.list_namespaced_custom_object(
            names.GROUP, names.VERSION, namespace, names.PLURAL, **more
        )

    def finished(job: Any) -> bool:
        return job.get("status", {}).get("phase") in ("Succeeded", "Failed")

    connection: Any = access.redis(socket_timeout=None)
    pubsub = connection.pubsub(ignore_subscribe_messages=True)
    pubsub.subscribe(access.area(namespace).result_key(name))
    received: list[tuple[float, str]] = []

    def receive() -> None:
        deadline = time.time() + WAIT_SECONDS
        while not received and time.time() < deadline:
            message = pubsub.get_message(timeout=1)
            if message:
                received.append((time.time(), message["data"]))

    subscriber = threading.Thread(target=receive, daemon=True)
    subscriber.start()
    end = Terminal(listing, name, finished)
    body = {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": name},
        "spec": {"requestId": name, "code": {"inline": CODE}},
    }
    start = time.time()
    api.create_namespaced_custom_object(names.GROUP, names.VERSION, namespace, names.PLURAL, body)
    terminal = end.wait()
    subscriber.join(WAIT_SECONDS)
    ((published, text),) = received
    result = json.loads(text)
    if result["status"] != "SUCCESS":
        raise RuntimeError(f"{name}: {result['reason']}: {result['message']}")
    pubsub.close()
    api.delete_namespaced_custom_object(names.GROUP, names.VERSION, namespace, names.PLURAL, name)
    return {
        "first instruction": 1000 * (float(result["stdout"]) - start),
        "result on Redis": 1000 * (published - start),
        "terminal state": 1000 * (terminal - start),
    }


def run_pod(namespace: str, image: str) -> Row:
    """Run one bare pod of the same image; returns the times of two columns."""
    name = f"bench-{uuid.uuid4().hex[:8]}"
    api: Any = client.CoreV1Api()
    container = {
        "name": "main",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-c", CODE],
        "resources": {"limits": {"cpu": "1", "memory": "256Mi"}, "requests": {"cpu": "100m"}},
    }
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "containers": [container],
    }
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
    end = Terminal(
        lambda **more: api.list_namespaced_pod(namespace, **more),
        name,
        lambda pod: pod["status"].get("phase") in ("Succeeded", "Failed"),
    )
    start = time.time()
    api.create_namespaced_pod(namespace, body)
    terminal = end.wait()
    first = float(api.read_namespaced_pod_log(name, namespace))
    api.delete_namespaced_pod(name, namespace, grace_period_seconds=0)
    return {
        "first instruction": 1000 * (first - start),
        "terminal state": 1000 * (terminal - start),
    }


def table(rows: dict[str, list[Row]]) -> str:
    """Median, minimum and maximum of each column, in milliseconds."""
    lines = [f"{'ms: p50 (min-max)':20}" + "".join(f"{c:>26}" for c in COLUMNS)]
    for kind, runs in rows.items():
        cells = []
        for column in COLUMNS:
            values = [r[column] for r in runs if column in r]
            cells.append(
                f"{statistics.median(values):.0f} ({min(values):.0f}-{max(values):.0f})"
                if values
                else "-"
            )
        lines.append(f"{kind:20}" + "".join(f"{c:>26}" for c in cells))
    return "\n".join(lines)


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10, help="number of runs of each kind")
    parser.add_argument("-o", "--output", choices=["table", "json"], default="table")
    options = parser.parse_args()
    config.load_kube_config()  # type: ignore[no-untyped-call]
    image = json.loads(Path("build/images.json").read_text())["executor"]
    namespace = f"bench-{uuid.uuid4().hex[:8]}"
    core: Any = client.CoreV1Api()
    core.create_namespace({"metadata": {"name": namespace}})
    rows: dict[str, list[Row]] = {"inline job": [], "bare pod": []}
    try:
        with dev_access() as access:
            run_job(namespace, access)  # the first job creates the namespace's Secret; not counted
            for _ in range(options.runs):
                rows["inline job"].append(run_job(namespace, access))
                rows["bare pod"].append(run_pod(namespace, image))
    finally:
        core.delete_namespace(namespace)
    print(json.dumps(rows, indent=2) if options.output == "json" else table(rows))


if __name__ == "__main__":
    main()
