"""Latency of an inline job, compared with a batch/v1 Job and a bare pod of the same image.

Each round runs one of each, in random order, after the pods of the one before it are gone.
Milliseconds from just before the create request to: the first instruction of the user's code (it
prints its clock; all nodes share this machine's clock), the message at a Redis subscriber, and the
terminal state in a watch (inline job: its phase; Job: the condition Complete or Failed, which its
controller delays until it has counted the pod; pod: its phase). Ratios are those of a round's pair.
"""

import argparse
import json
import random
import sys
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from kubernetes import client, config, watch

from bench.steps import executor_image
from nanogrid import names
from scripts.devaccess import DevAccess, dev_access
from support.figures import paired_ratio, spread, table
from support.kubectl import eventually

CODE = "import time; print(time.time())"
WAIT_SECONDS = 60
FIRST, REDIS, TERMINAL = COLUMNS = ("first instruction", "result on Redis", "terminal state")
INLINE, BATCH, POD = KINDS = ("inline job", "batch/v1 Job", "bare pod")
# When a caller knows the result: an inline job's is a message, the others have a state only.
KNOWN = {INLINE: REDIS, BATCH: TERMINAL, POD: TERMINAL}
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
        FIRST: 1000 * (float(result["stdout"]) - start),
        REDIS: 1000 * (published - start),
        TERMINAL: 1000 * (terminal - start),
    }


def pod_spec(image: str) -> dict[str, Any]:
    """A pod that runs the code, with the default limits of an inline job's sandbox."""
    container = {
        "name": "main",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-c", CODE],
        "resources": {"limits": {"cpu": "1", "memory": "256Mi"}, "requests": {"cpu": "100m"}},
    }
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "containers": [container],
    }


def run_pod(namespace: str, image: str) -> Row:
    """Run one bare pod of the same image; returns the times of two columns."""
    name = f"bench-{uuid.uuid4().hex[:8]}"
    api: Any = client.CoreV1Api()
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": pod_spec(image)}
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
    return {FIRST: 1000 * (first - start), TERMINAL: 1000 * (terminal - start)}


def run_batch(namespace: str, image: str) -> Row:
    """Run one batch/v1 Job of the same image; returns the times of two columns."""
    name = f"bench-{uuid.uuid4().hex[:8]}"
    api: Any = client.BatchV1Api()
    core: Any = client.CoreV1Api()
    body = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": {"spec": pod_spec(image)}},
    }

    def ended(job: Any) -> bool:
        conditions = job["status"].get("conditions", [])
        return any(
            c["type"] in ("Complete", "Failed") and c["status"] == "True" for c in conditions
        )

    end = Terminal(lambda **more: api.list_namespaced_job(namespace, **more), name, ended)
    start = time.time()
    api.create_namespaced_job(namespace, body)
    terminal = end.wait()
    (pod,) = core.list_namespaced_pod(namespace, label_selector=f"job-name={name}").items
    first = float(core.read_namespaced_pod_log(pod.metadata.name, namespace))
    api.delete_namespaced_job(name, namespace, propagation_policy="Background")
    return {FIRST: 1000 * (first - start), TERMINAL: 1000 * (terminal - start)}


def summary(rows: dict[str, list[Row]]) -> str:
    """Median, minimum and maximum of each column, in milliseconds, and the ratios of pairs."""
    cells = {
        kind: [spread([run[c] for run in runs if c in run]) for c in COLUMNS]
        for kind, runs in rows.items()
    }
    ratios = {}
    for other in (BATCH, POD):
        pairs = [(FIRST, FIRST), (KNOWN[INLINE], KNOWN[other])]
        ratios[f"{INLINE} / {other}"] = [
            str(paired_ratio([r[ours] for r in rows[INLINE]], [r[theirs] for r in rows[other]]))
            for ours, theirs in pairs
        ]
    return "\n\n".join(
        (
            table(("ms: median (min-max)", *COLUMNS), cells),
            table(("median of the rounds' ratios (95 %)", FIRST, "result known"), ratios),
        )
    )


def measure(namespace: str, image: str, runs: int) -> dict[str, list[Row]]:
    """The times of all rounds, by kind; a first round is not counted."""
    core: Any = client.CoreV1Api()
    rows: dict[str, list[Row]] = {kind: [] for kind in KINDS}
    with dev_access() as access:
        run = {
            INLINE: lambda: run_job(namespace, access),
            BATCH: lambda: run_batch(namespace, image),
            POD: lambda: run_pod(namespace, image),
        }
        for number in range(runs + 1):
            for kind in random.sample(KINDS, len(KINDS)):
                row = run[kind]()
                if number:  # the first job creates the namespace's Secret
                    rows[kind].append(row)
                eventually("no pod", lambda: not core.list_namespaced_pod(namespace).items)
            print(f"latency: round {number} of {runs}", file=sys.stderr, flush=True)
    return rows


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10, help="number of runs of each kind")
    parser.add_argument("-o", "--output", choices=["table", "json"], default="table")
    options = parser.parse_args()
    config.load_kube_config()  # type: ignore[no-untyped-call]
    namespace = f"bench-{uuid.uuid4().hex[:8]}"
    core: Any = client.CoreV1Api()
    core.create_namespace({"metadata": {"name": namespace}})
    try:
        rows = measure(namespace, executor_image(), options.runs)
    finally:
        core.delete_namespace(namespace)
    print(json.dumps(rows, indent=2) if options.output == "json" else summary(rows))


if __name__ == "__main__":
    main()
