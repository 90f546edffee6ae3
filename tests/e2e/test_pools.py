"""Warm pools: jobs take waiting pods, the pool is filled again, and nothing passes between jobs."""

import json
from pathlib import Path
from typing import Any

import pytest

from e2e.pools import SMALL, filled, pool, pool_status, waiting_pods
from examples.gateway_client import Gateway
from nanogrid import names
from nanogrid.types import Json
from scripts.devaccess import NAMESPACE, DevAccess
from support.dev_objects import put_object, read_object
from support.gateways import an_echo, jobs_of, send
from support.kubectl import Namespace, eventually, inline, kubectl_json

LARGE = {"limits": {"memory": "512Mi", "cpu": "1"}, "requests": {"cpu": "20m", "memory": "128Mi"}}
ALL_FILES = """
import json, os
found = []
for top in ('/app', '/tmp', '/dev/shm', '/run/nanogrid'):
    for folder, _, files in os.walk(top):
        found += [os.path.join(folder, name) for name in files]
print(json.dumps(sorted(found)))
"""
LEAVE = """
import os
for folder in ('/app', '/app/output', '/tmp'):
    open(os.path.join(folder, 'secret-of-the-first.txt'), 'w').write('secret')
print(os.getpid())
"""


def warm(name: str, code: str, **spec: Any) -> Json:
    """A job of the pool ``ready``."""
    return inline(name, code, **{"poolRef": {"name": "ready"}, **spec})


@pytest.fixture
def ready(namespace: Namespace) -> list[str]:
    """The waiting pods of a pool with two."""
    namespace.apply(pool("ready", minReady=2))
    return filled(namespace, "ready", 2)


def events(namespace: Namespace, job: str) -> dict[str, str]:
    """The messages of a job's Events by reason."""
    found = kubectl_json(
        "--namespace", namespace.name, "get", "events", "--field-selector",
        f"involvedObject.name={job}",
    )["items"]  # fmt: skip
    return {event["reason"]: event["message"] for event in found}


def test_a_job_takes_a_waiting_pod_and_the_pool_is_filled_again(
    namespace: Namespace, ready: list[str]
) -> None:
    status = namespace.run(warm("first", "print('warm')"))

    assert (status["phase"], status["start"]) == ("Succeeded", "Warm"), status
    assert status["result"]["stdout"] == "warm\n"
    assert status["podName"] in ready
    assert status["podName"] in events(namespace, "first")["PodClaimed"]
    (pod,) = namespace.pods("first")
    owners = pod["metadata"]["ownerReferences"]
    assert [(owner["kind"], owner["name"]) for owner in owners] == [(names.KIND, "first")]
    again = filled(namespace, "ready", 2)
    assert status["podName"] not in again
    eventually("the claim counts", lambda: pool_status(namespace, "ready").get("claims") == 1)
    namespace.kubectl("delete", "ej", "first")
    eventually("the pod goes with its job", lambda: not namespace.pods("first"))


def test_inputs_are_proven_before_the_code_starts(
    namespace: Namespace, ready: list[str], dev: DevAccess, request_id: str
) -> None:
    base = namespace.key(f"t/{request_id}")
    put_object(dev, f"{base}/tree/a.txt", b"a")
    inputs = [{"name": "tree", "s3": {"prefix": f"{base}/tree/"}}]
    code = "print(open('/app/data/a.txt').read())"

    status = namespace.run(warm("with-input", code, requestId=request_id, inputs=inputs))

    assert (status["phase"], status["start"]) == ("Succeeded", "Warm"), status
    assert status["result"]["stdout"] == "a\n"
    assert status["inputs"]["files"] == 1
    key = namespace.key(names.manifest_object(request_id))
    assert json.loads(read_object(dev, key))["entries"][0]["path"] == "/app/data/a.txt"


def test_a_missing_input_has_the_reason_of_a_cold_job(
    namespace: Namespace, ready: list[str], request_id: str
) -> None:
    prefix = f"{namespace.key('t')}/{request_id}/none/"
    inputs = [{"name": "none", "s3": {"prefix": prefix}}]

    cold = namespace.run(inline("cold", "print(1)", inputs=inputs))
    found = namespace.run(warm("missing", "print(1)", inputs=inputs))

    assert (found["start"], cold["start"]) == ("Warm", "Cold")
    assert (found["reason"], found["message"]) == (cold["reason"], cold["message"])
    assert found["reason"] == "InputNotFound"


@pytest.mark.security
def test_a_second_job_finds_nothing_of_a_first(namespace: Namespace, ready: list[str]) -> None:
    first = namespace.run(warm("first", LEAVE))
    second = namespace.run(warm("second", ALL_FILES))

    assert (first["start"], second["start"]) == ("Warm", "Warm")
    assert first["podName"] != second["podName"]
    files = json.loads(second["result"]["stdout"])
    assert not [file for file in files if "first" in file]
    assert "/app/main.py" in files  # what there is, is found


def test_a_job_that_does_not_fit_starts_cold_and_says_why(
    namespace: Namespace, ready: list[str]
) -> None:
    large = {"limits": {"memory": "192Mi"}, "requests": {"cpu": "20m", "memory": "64Mi"}}
    status = namespace.run(warm("large", "print('cold')", resources=large))

    assert (status["phase"], status["start"]) == ("Succeeded", "Cold"), status
    why = "resources.limits.memory is 192Mi, and that of the pool is 128Mi"
    assert why in status["startMessage"]
    assert why in events(namespace, "large")["StartedCold"]
    assert waiting_pods(namespace, "ready") == ready


def test_a_job_of_an_empty_pool_starts_cold(namespace: Namespace) -> None:
    namespace.apply(pool("ready", minReady=0))

    status = namespace.run(warm("alone", "print('cold')"))

    assert (status["phase"], status["start"]) == ("Succeeded", "Cold"), status
    assert "No pod of ExecutionPool ready was ready" in status["startMessage"]
    eventually("the miss counts", lambda: pool_status(namespace, "ready").get("misses") == 1)


def test_a_failed_attempt_is_tried_again_in_another_pod(
    namespace: Namespace, ready: list[str]
) -> None:
    status = namespace.run(warm("fails", "import sys; sys.exit(3)", backoffLimit=1))

    assert (status["phase"], status["reason"]) == ("Failed", "NonZeroExit"), status
    pods = [attempt["podName"] for attempt in status["attempts"]]
    assert len(set(pods)) == 2
    assert set(pods) & set(ready)


def test_labels_choose_the_pool_and_modules_are_preloaded(namespace: Namespace) -> None:
    selector = {"matchLabels": {"speed": "high"}}
    namespace.apply(pool("fast", jobSelector=selector, preload=["decimal", "sqlite3"]))
    filled(namespace, "fast", 1)
    code = "import sys; print('sqlite3' in sys.modules, __name__, sys.argv)"
    job = inline("labelled", code, resources=SMALL)
    job["metadata"]["labels"] = {"speed": "high"}

    status = namespace.run(job)

    assert (status["phase"], status["start"]) == ("Succeeded", "Warm"), status
    assert status["result"]["stdout"] == "True __main__ ['main.py']\n"


def test_pandas_is_imported_before_a_job_is_there(namespace: Namespace) -> None:
    image = json.loads(Path("build/images.json").read_text())["python-data"]
    namespace.apply(
        pool("ready", runtime={"image": image}, preload=["pandas"], resources=LARGE),
    )
    filled(namespace, "ready", 1)
    code = (
        "import sys; known = 'pandas' in sys.modules; import pandas\n"
        "print(known, pandas.DataFrame({'a': [1, 2]}).a.sum())"
    )

    status = namespace.run(warm("analysis", code))

    assert (status["phase"], status["start"]) == ("Succeeded", "Warm"), status
    assert status["result"]["stdout"] == "True 3\n"


@pytest.mark.parametrize(("strategy", "containers"), [("Init", 1), ("Agent", 0)])
def test_a_cold_job_copies_its_inputs_in_an_init_container_or_in_the_agent(
    namespace: Namespace, dev: DevAccess, request_id: str, strategy: str, containers: int
) -> None:
    prefix = namespace.key(f"t/{request_id}/tree/")
    put_object(dev, f"{prefix}a.txt", b"a")
    code = "print(open('/app/data/a.txt').read())"
    given: Json = {"inputs": [{"name": "tree", "s3": {"prefix": prefix}}]}
    given["inputStrategy"] = strategy

    status = namespace.run(inline("found", code, requestId=request_id, **given))
    given["inputs"][0]["s3"]["prefix"] = f"{prefix}none/"
    missing = namespace.run(inline("missing", code, **given))

    assert (status["phase"], status["result"]["stdout"]) == ("Succeeded", "a\n"), status
    assert status["inputs"]["files"] == 1
    assert (missing["phase"], missing["reason"]) == ("Failed", "InputNotFound"), missing
    (pod,) = namespace.pods("found")
    assert len(pod["spec"].get("initContainers", [])) == containers
    key = namespace.key(names.manifest_object(request_id))
    assert json.loads(read_object(dev, key))["entries"][0]["path"] == "/app/data/a.txt"


def test_a_run_of_the_gateway_takes_a_waiting_pod(
    gateway_url: str, gateway_token: str, request_id: str
) -> None:
    release, name = Namespace(NAMESPACE), f"e2e-{request_id}"
    gateway = Gateway(gateway_url, gateway_token)
    release.apply(pool(name, minReady=1))
    try:
        (waiting,) = filled(release, name, 1)
        with an_echo(gateway) as function:
            run = {"functionId": function, "requestId": request_id, "pool": name}
            answer = send(gateway_url, gateway_token, "POST", "/run", run | {"inputData": {}})
            (job,) = jobs_of(function, request_id)
    finally:
        release.kubectl("delete", names.POOL_PLURAL, name)

    assert (answer.status, answer.body["status"]) == (200, "SUCCESS"), answer.body
    status = job["status"]
    assert (status["start"], status["podName"]) == ("Warm", waiting), status


def test_a_deleted_pool_leaves_no_pod(namespace: Namespace, ready: list[str]) -> None:
    assert ready
    namespace.kubectl("delete", names.POOL_PLURAL, "ready")
    eventually("its pods are gone", lambda: not waiting_pods(namespace, "ready"))
