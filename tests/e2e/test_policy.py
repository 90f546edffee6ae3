"""Allow-lists of a namespace, and values of Secrets that only the code gets.

Each test has a NanoGridTenant of its own, which the operator reads while it runs.
"""

import base64
import hashlib
import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from e2e.sessions import start
from nanogrid import names
from nanogrid.types import Json
from scripts.devaccess import DevAccess
from support.dev_objects import read_object
from support.kubectl import KubectlError, Namespace, eventually, inline, kubectl, redis_of
from support.release import IN_RELEASE, OPERATOR
from support.sessions import router, session

pytestmark = pytest.mark.security

CANARY = f"c4n4ry-{uuid.uuid4().hex}"
DIGEST = hashlib.sha256(CANARY.encode()).hexdigest()
SECRET = "policy-canary"
PRIORITY = f"nanogrid-e2e-{uuid.uuid4().hex[:8]}"
ENV = [
    {"name": "DB", "valueFrom": {"secretKeyRef": {"name": SECRET, "key": "password"}}},
    {
        "name": "NONE",
        "valueFrom": {"secretKeyRef": {"name": SECRET, "key": "no-such-key", "optional": True}},
    },
]
CODE = """
import hashlib, os
print(hashlib.sha256(os.environ["DB"].encode()).hexdigest(), "NONE" in os.environ)
"""


def apply_tenant(namespace: Namespace, **allow: Any) -> None:
    """Give the namespace a NanoGridTenant with these allow-lists."""
    body = {
        "apiVersion": names.API_VERSION,
        "kind": names.TENANT_KIND,
        "metadata": {"name": namespace.name},
        "spec": {"allow": allow},
    }
    kubectl(*IN_RELEASE, "apply", "-f", "-", stdin=json.dumps(body))


@pytest.fixture(autouse=True)
def no_tenant_is_left(namespace: Namespace) -> Iterator[None]:
    yield
    kubectl(*IN_RELEASE, "delete", "ngt", namespace.name, "--ignore-not-found")


@pytest.fixture
def priority_class(cluster: None) -> Iterator[str]:
    """A PriorityClass of the tests; it is an object of the whole cluster."""
    kubectl("create", "priorityclass", PRIORITY, "--value=0", "--preemption-policy=Never")
    yield PRIORITY
    kubectl("delete", "priorityclass", PRIORITY)


def run_until_allowed(namespace: Namespace, stem: str, code: str, **spec: Any) -> Json:
    """Run new jobs with this spec until one is not refused; returns its status and its name."""

    def tried() -> Json | None:
        name = f"{stem}-{uuid.uuid4().hex[:6]}"
        status = namespace.run(inline(name, code, **spec))
        return None if status["reason"] == "InvalidSpec" else status | {"name": name}

    found: Json = eventually("the new tenant applies", tried)
    return found


def create_secret(namespace: Namespace) -> None:
    namespace.kubectl("create", "secret", "generic", SECRET, f"--from-literal=password={CANARY}")


def test_values_are_refused_until_the_namespace_allows_them(
    namespace: Namespace, priority_class: str, python_image: str
) -> None:
    namespace.kubectl("create", "serviceaccount", "reports")
    apply_tenant(namespace)  # allows nothing, unlike the installation's defaults
    wanted: Json = {
        "runtime": {"image": python_image},
        "serviceAccountName": "reports",
        "priorityClassName": priority_class,
    }
    lists = {"images": [python_image], "serviceAccounts": ["reports"],
             "priorityClasses": [priority_class]}  # fmt: skip

    def refused() -> bool:
        name = f"refused-{uuid.uuid4().hex[:6]}"
        message = namespace.run(inline(name, "print(1)", **wanted))["message"]
        named = [f"(NanoGridTenant {namespace.name}, allow.{each})" in message for each in lists]
        return all(named)

    # The installation's defaults allow the image and refuse the others.
    eventually("the empty tenant refuses all three values", refused)

    apply_tenant(namespace, **lists)
    status = run_until_allowed(namespace, "allowed", "print(1)", **wanted)

    assert status["phase"] == "Succeeded", status["message"]
    (pod,) = namespace.pods(status["name"])
    assert pod["spec"]["priorityClassName"] == priority_class
    assert pod["spec"]["serviceAccountName"] == "reports"


def test_privileges_of_the_platform_are_always_refused(namespace: Namespace) -> None:
    image = "jsonpath={.spec.template.spec.containers[0].image}"
    operator = kubectl(*IN_RELEASE, "get", OPERATOR, "-o", image)
    own_secret = {"secretKeyRef": {"name": "nanogrid-s3", "key": "AWS_SECRET_ACCESS_KEY"}}
    specs: Json = {
        "priority": {"priorityClassName": "system-node-critical"},
        "image": {"runtime": {"image": operator}},
        "secret": {"env": [{"name": "X", "valueFrom": own_secret}]},
        "class": {"runtime": {"runtimeClassName": "weaker"}},
    }
    namespace.apply(*(inline(name, "print(1)", **spec) for name, spec in specs.items()))
    namespace.apply(inline("plain", "print(1)"))

    assert {n: namespace.finished(n)["reason"] for n in specs} == dict.fromkeys(
        specs, "InvalidSpec"
    )
    assert all(namespace.pods(name) == [] for name in specs)
    assert namespace.finished("plain")["phase"] == "Succeeded"
    with pytest.raises(KubectlError, match="for the cluster's own pods"):
        apply_tenant(namespace, priorityClasses=["system-node-critical"])
    with pytest.raises(KubectlError, match="before the first '/'"):
        apply_tenant(namespace, images=["*/python"])


def everything_about(namespace: Namespace, dev: DevAccess, job: str, ids: list[str]) -> Json:
    """All that the job left, by place."""
    pages = dev.s3.get_paginator("list_objects_v2").paginate(Bucket=dev.bucket)
    every = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
    keys = [key for key in every if any(i in key for i in ids)]
    redis = redis_of(dev)
    streams = redis.scan_iter(match="results*", _type="stream")
    logs = {
        f"log of {container}": namespace.kubectl(
            "logs", "-l", f"{names.LABEL_JOB}={job}", "-c", container, "--tail=-1"
        )
        for container in (names.CONTAINER_AGENT, names.CONTAINER_SANDBOX)
    }
    return logs | {
        "S3": [read_object(dev, key).decode(errors="replace") for key in keys],
        "Redis": [redis.get(k) for i in ids for k in redis.scan_iter(match=f"*{i}*")],
        "streams": [redis.xrevrange(stream, count=200) for stream in streams],
        "operator": kubectl(*IN_RELEASE, "logs", OPERATOR, "--tail=2000"),
        "objects": namespace.kubectl("get", "ej,pods,events", "-o", "json"),
    }


def test_the_value_of_a_secret_reaches_the_code_and_nothing_else(
    namespace: Namespace, dev: DevAccess, request_id: str
) -> None:
    create_secret(namespace)
    refused = namespace.run(inline("refused", CODE, env=ENV))
    assert refused["reason"] == "InvalidSpec"
    assert "allow.secrets" in refused["message"]
    apply_tenant(namespace, secrets=[SECRET])
    status = run_until_allowed(namespace, "canary", CODE, env=ENV)
    uid = namespace.get(status["name"])["metadata"]["uid"]
    manifest = session("talk", requestId=request_id, env=ENV)
    with router() as url:
        caller, path, _ = start(namespace, url, manifest)
        answer = caller.call("POST", f"{path}/execute", {"code": CODE})
        found = everything_about(namespace, dev, "talk", [request_id])
        caller.call("POST", f"{path}/end", {})
        namespace.finished("talk")

    assert status["result"]["stdout"] == f"{DIGEST} False\n", status["message"]
    assert DIGEST in str(answer.body)
    encoded = base64.b64encode(CANARY.encode()).decode()
    for places in (found, everything_about(namespace, dev, status["name"], [uid, request_id])):
        for place, content in places.items():
            assert CANARY not in str(content), place
            assert encoded not in str(content), place
    assert DIGEST in str(places["S3"])
    assert DIGEST in str(places["Redis"])
    assert DIGEST in places["objects"]


def test_a_missing_key_is_shown_within_seconds(namespace: Namespace) -> None:
    create_secret(namespace)
    apply_tenant(namespace, secrets=[SECRET])
    run_until_allowed(namespace, "control", CODE, env=ENV)
    missing = {"secretKeyRef": {"name": SECRET, "key": "no-such-key"}}
    env = [{"name": "DB", "valueFrom": missing}]
    namespace.apply(
        inline("waits", "print(1)", env=env, timeouts={"startupSeconds": 600}),
        inline("lacks", "print(1)", env=env, timeouts={"startupSeconds": 25}),
    )

    # Shown long before the end of the time to start.
    eventually("shown", lambda: namespace.status("waits").get("reason") == "ConfigError")
    status = namespace.finished("lacks")

    assert (status["phase"], status["reason"]) == ("Failed", "ConfigError")
    assert "no-such-key" in status["message"]
