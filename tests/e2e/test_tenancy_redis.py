"""Results of namespaces do not meet, and forged results in Redis and S3 are not believed."""

import json
import uuid
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest

from nanogrid import names, wire
from nanogrid.types import Json
from scripts.devaccess import DevAccess
from support.kubectl import Namespace, condition, eventually, in_redis, inline, kubectl, redis_of

pytestmark = pytest.mark.security

FORGED = "forged\n"


@pytest.fixture
def another(cluster: None) -> Iterator[Namespace]:
    """A second namespace."""
    ns = Namespace(f"e2e-{uuid.uuid4().hex[:8]}")
    kubectl("create", "namespace", ns.name)
    yield ns
    kubectl("delete", "namespace", ns.name, "--wait=false")


def result_key(dev: DevAccess, namespace: Namespace, request_id: str) -> str:
    return dev.area(namespace.name).result_key(request_id)


def key_of_results(dev: DevAccess, namespace: Namespace) -> str:
    """The S3 key of a result of the namespace, with ``ID`` for the requestId; runs a normal job."""
    request_id = f"control-{uuid.uuid4().hex[:8]}"
    status = namespace.run(inline("control", "print('control')", requestId=request_id))
    assert status["phase"] == "Succeeded"
    key = dev.area(namespace.name).key(names.result_object(request_id))
    body = dev.s3.get_object(Bucket=dev.bucket, Key=key)["Body"].read()
    assert body.decode() == in_redis(dev, request_id)
    assert json.loads(body)["authentication"].startswith("hmac-sha256:")
    return key.replace(request_id, "ID")


def a_forged_success(job: Json, request_id: str) -> str:
    """A result of the job as somebody writes it who knows everything but the key."""
    meta = job["metadata"]
    blank = wire.blank_result(
        request_id=request_id,
        function_id=None,
        status=wire.STATUS_SUCCESS,
        reason="Completed",
        job=wire.JobRef(namespace=meta["namespace"], name=meta["name"], uid=meta["uid"]),
        attempt=0,
        message="",
    )
    code = "hmac-sha256:" + "0" * 64
    return wire.dumps(replace(blank, exit_code=0, stdout=FORGED, authentication=code))


def has_event(namespace: Namespace, reason: str) -> bool:
    return reason in namespace.kubectl("get", "events", "-o", "jsonpath={.items[*].reason}").split()


def test_one_request_id_in_two_namespaces_gives_two_results(
    namespace: Namespace, another: Namespace, dev: DevAccess, request_id: str
) -> None:
    spaces = (namespace, another)
    for ns in spaces:
        ns.apply(inline("same", f"print('of {ns.name}')", requestId=request_id))
    statuses = {ns.name: ns.finished("same") for ns in spaces}

    for ns in spaces:
        status, redis = statuses[ns.name], redis_of(dev)
        assert status["phase"] == "Succeeded"
        assert condition(status, "ResultDelivered")["status"] == "True"
        assert condition(status, "ResultStored")["status"] == "True"
        text = redis.get(result_key(dev, ns, request_id))
        assert json.loads(text)["stdout"] == status["result"]["stdout"] == f"of {ns.name}\n"
        entries = redis.xrange(f"results:{ns.name}")
        assert [fields["result"] for _, fields in entries] == [text]
        assert {fields["namespace"] for _, fields in entries} == {ns.name}


def test_a_forged_key_in_redis_is_replaced_by_the_truth(
    namespace: Namespace, dev: DevAccess, request_id: str
) -> None:
    code = "import sys; print('true'); sys.exit(3)"
    # It starts when the forged value is there.
    namespace.apply(inline("forged-key", code, requestId=request_id, suspend=True))
    forged = a_forged_success(namespace.get("forged-key"), request_id)
    redis_of(dev).set(result_key(dev, namespace, request_id), forged)
    namespace.patch("forged-key", suspend=False)

    status = namespace.finished("forged-key")

    assert (status["phase"], status["reason"]) == ("Failed", "NonZeroExit")
    assert status["result"]["stdout"] == "true\n"
    published = json.loads(redis_of(dev).get(result_key(dev, namespace, request_id)))
    assert (published["stdout"], published["exitCode"]) == ("true\n", 3)
    assert condition(status, "ResultDelivered")["status"] == "True"
    eventually("an Event", partial(has_event, namespace, "ResultNotAuthentic"))


def test_a_forged_result_in_s3_does_not_become_the_result_of_a_lost_pod(
    namespace: Namespace, dev: DevAccess, request_id: str
) -> None:
    key = key_of_results(dev, namespace).replace("ID", request_id)
    assert not has_event(namespace, "ResultNotAuthentic"), "a normal job raises no alarm"
    namespace.apply(inline("lost", "import time; time.sleep(600)", requestId=request_id))
    eventually("the code runs", lambda: namespace.sandbox("lost").get("running"))
    forged = a_forged_success(namespace.get("lost"), request_id)
    dev.s3.put_object(Bucket=dev.bucket, Key=key, Body=forged.encode())

    pod = namespace.only_pod("lost")["metadata"]["name"]
    namespace.kubectl("delete", "pod", pod, "--force", "--grace-period=0")
    status = namespace.finished("lost")

    assert status["phase"] == "Failed"
    assert status["reason"] in ("PodLost", "Terminated")
    assert status["result"]["stdout"] != FORGED
    assert json.loads(in_redis(dev, request_id))["stdout"] != FORGED
    eventually("an Event", partial(has_event, namespace, "ResultNotAuthentic"))

    def stored_truth() -> bool:
        body = dev.s3.get_object(Bucket=dev.bucket, Key=key)["Body"].read().decode()
        return body != forged and json.loads(body)["stdout"] != FORGED

    eventually("S3 has the truth", stored_truth)
