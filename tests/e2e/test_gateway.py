"""Functions on the cluster: upload, run and read through the gateway, as clients do."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from examples.gateway_client import Gateway, GatewayError
from nanogrid.client.jobs.packing import zip_directory
from scripts.devaccess import DevAccess
from support.archive_cases import REFUSED
from support.gateways import GatewayAnswer, a_token, an_echo, jobs_of, send
from support.kubectl import KubectlError, eventually, kubectl
from support.release import IN_RELEASE

WAIT_SECONDS = 25  # the gateway's default
IN_TIME, LATE = WAIT_SECONDS - 10, WAIT_SECONDS + 1


@pytest.fixture(scope="module")
def gateway(gateway_url: str, gateway_token: str) -> Gateway:
    return Gateway(gateway_url, gateway_token)


@pytest.fixture(scope="module")
def function(gateway: Gateway) -> Iterator[str]:
    with an_echo(gateway) as function_id:
        yield function_id


def test_the_clients_script_uploads_runs_and_reads(gateway_url: str, gateway_token: str) -> None:
    command = [
        *(sys.executable, "examples/gateway_client.py"),
        *("--url", gateway_url, "--token", gateway_token),
    ]
    done = subprocess.run(
        [*command, "examples/http-function", "--input", '{"names": ["민지", "Jiho"]}'],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["status"] == "SUCCESS"
    assert result["stdout"] == "Hello, 민지!\nHello, Jiho!\n"
    assert result["peakMemoryBytes"] > 0
    assert "output greetings.txt" in done.stderr


def test_an_empty_zip_is_refused_at_upload(gateway: Gateway) -> None:
    build, _ = REFUSED["34 bytes: no entry, comment"]
    with pytest.raises(GatewayError, match="34 bytes, 0 files") as caught:
        gateway.upload(build())

    assert (caught.value.status, caught.value.reason) == (422, "EmptyArchive")


@pytest.mark.parametrize(("sleep", "in_time"), [(0, True), (8, False)])
def test_a_result_within_the_wait_time_and_one_after_it(
    gateway: Gateway, function: str, request_id: str, sleep: int, in_time: bool
) -> None:
    wait = 60 if in_time else 2
    started = time.monotonic()

    result = gateway.run(function, {"sleep": sleep, "name": "x"}, request_id, wait=wait)

    assert result["status"] == "SUCCESS"
    assert result["requestId"] == request_id
    assert (time.monotonic() - started >= sleep) or in_time
    (job,) = jobs_of(function, request_id)
    # Whether a subscriber still waited when the result was published.
    assert job["status"]["delivery"]["receivers"] == (1 if in_time else 0)


def test_the_default_wait_decides_between_result_and_link(
    gateway_url: str, gateway_token: str, function: str, request_id: str
) -> None:
    def call(seconds: int) -> GatewayAnswer:
        request = {"functionId": function, "requestId": f"{request_id}-{seconds}"}
        data = {"name": f"after-{seconds}", "until": time.time() + seconds}
        return send(gateway_url, gateway_token, "POST", "/run", request | {"inputData": data})

    with ThreadPoolExecutor(2) as pool:
        in_time, late = pool.map(call, (IN_TIME, LATE))

    assert in_time.seconds >= IN_TIME
    # On a busy machine a run can take longer than the remaining time; it gets the link too.
    assert in_time.status == 200 or in_time.seconds >= WAIT_SECONDS
    assert (late.status, late.body["status"]) == (202, "RUNNING")
    assert late.seconds >= WAIT_SECONDS
    for answer, seconds in ((in_time, IN_TIME), (late, LATE)):
        link = f"/runs/{request_id}-{seconds}"
        assert answer.status == 200 or answer.headers["Location"] == link
        seen = eventually("the result", partial(_result, gateway_url, gateway_token, link))
        assert seen["status"] == "SUCCESS"
        assert seen["stdout"].endswith(f"after-{seconds}\n")
        assert answer.status == 202 or seen == answer.body
        assert send(gateway_url, gateway_token, "GET", link).body == seen


def _result(url: str, token: str, link: str) -> Any:
    answer = send(url, token, "GET", link)
    assert answer.status in (200, 202)
    return answer.body if answer.status == 200 else None


def test_failure_is_delivered_like_success(gateway: Gateway, function: str) -> None:
    result = gateway.run(function, {"exit": 3}, wait=60)

    assert (result["status"], result["exitCode"]) == ("FAILED", 3)


def test_a_repeated_request_runs_once(gateway: Gateway, function: str, request_id: str) -> None:
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(gateway.run, function, {"name": "once"}, request_id) for _ in range(3)]
        results = [call.result(120) for call in calls]

    assert results[0] == results[1] == results[2]
    with pytest.raises(GatewayError) as caught:
        gateway.run(function, {"name": "twice"}, request_id)
    assert caught.value.reason == "IdempotencyConflict"


def test_large_input_arrives_as_a_file(gateway: Gateway, function: str) -> None:
    result = gateway.run(function, {"pad": "가" * 50_000, "name": "large"}, wait=60)

    assert result["status"] == "SUCCESS", result["stderr"]
    assert result["stdout"].endswith("large\n")
    assert int(result["stdout"].split()[0]) > 100_000


def test_callers_without_rights_are_refused(gateway_url: str) -> None:
    with pytest.raises(GatewayError) as unknown:
        Gateway(gateway_url).run("f-1", None)
    without_rights = kubectl(*IN_RELEASE, "create", "token", "default", "--duration=1h").strip()
    with pytest.raises(GatewayError) as forbidden:
        Gateway(gateway_url, without_rights).run("f-1", None)

    assert (unknown.value.status, forbidden.value.status) == (401, 403)


def test_a_caller_who_may_only_create_cannot_replace_the_code_of_a_function(
    gateway_url: str, gateway_token: str, function: str
) -> None:
    code = zip_directory(Path("examples/function"))
    call = partial(send, gateway_url, gateway_token)
    before = call("GET", f"/functions/{function}/versions").body
    with a_token("create") as token:
        creator = Gateway(gateway_url, token)
        for field in ("functionId", "name"):
            with pytest.raises(GatewayError, match="may not patch functions") as caught:
                creator.upload(code, **{field: function})
            assert (caught.value.status, caught.value.reason) == (403, "Forbidden")
        own = creator.upload(code)["functionId"]
    with a_token("patch") as token:
        changer = Gateway(gateway_url, token)
        with pytest.raises(GatewayError, match="may not create functions"):
            changer.upload(code)
        assert changer.upload(code, functionId=own)["version"] == 2
    assert call("GET", f"/functions/{function}/versions").body == before
    assert call("DELETE", f"/functions/{own}").body["deletedObjects"] == 2


def test_a_function_that_is_being_deleted_gets_no_version(
    gateway: Gateway, gateway_url: str, gateway_token: str, request_id: str
) -> None:
    code, name = zip_directory(Path("examples/function")), f"leaving-{request_id}"
    gateway.upload(code, name=name)
    patch = (*IN_RELEASE, "patch", "fn", name, "--type=merge", "-p")
    kubectl(*patch, json.dumps({"metadata": {"finalizers": ["example.com/hold"]}}))
    try:
        kubectl(*IN_RELEASE, "delete", "fn", name, "--wait=false")
        for field in ("functionId", "name"):
            with pytest.raises(GatewayError, match="is being deleted") as caught:
                gateway.upload(code, **{field: name})
            assert (caught.value.status, caught.value.reason) == (409, "FunctionInUse")
    finally:
        kubectl(*patch, json.dumps({"metadata": {"finalizers": None}}))
    found = partial(kubectl, *IN_RELEASE, "get", "fn", name, "-o", "name", "--ignore-not-found")
    eventually("it is gone", lambda: not found())

    # The ZIP of the first one stays: kubectl deletes no code. No key is used twice.
    assert gateway.upload(code, name=name)["s3Key"].endswith(f"/{name}/v2.zip")
    gone = send(gateway_url, gateway_token, "DELETE", f"/functions/{name}").body
    assert gone["deletedObjects"] == 1


def test_uploads_of_one_new_name_at_the_same_time_are_versions_of_one_function(
    dev: DevAccess, gateway: Gateway, gateway_url: str, gateway_token: str, request_id: str
) -> None:
    code, name = zip_directory(Path("examples/function")), f"contended-{request_id}"
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(gateway.upload, code, name=name) for _ in range(3)]
        answers = [call.result(120) for call in calls]
    call = partial(send, gateway_url, gateway_token)
    listed = {one["s3Key"] for one in call("GET", f"/functions/{name}/versions").body["versions"]}
    folder = answers[0]["s3Key"].rpartition("/")[0]
    stored = dev.s3.list_objects_v2(Bucket=dev.bucket, Prefix=f"{folder}/")

    assert len(listed) == 3
    assert {one["s3Key"] for one in answers} == listed
    assert {one["Key"] for one in stored["Contents"]} == listed
    assert call("DELETE", f"/functions/{name}").body["deletedObjects"] == 3
    assert "Contents" not in dev.s3.list_objects_v2(Bucket=dev.bucket, Prefix=f"{folder}/")


def test_versions_are_only_added(gateway: Gateway, function: str) -> None:
    second = gateway.upload(zip_directory(Path("examples/function")), functionId=function)
    assert second["version"] == 2

    for patch in (
        [{"op": "remove", "path": "/spec/versions/0"}],
        [{"op": "replace", "path": "/spec/versions/0/s3/key", "value": "functions/other.zip"}],
    ):
        with pytest.raises(KubectlError, match="versions cannot be changed or removed"):
            kubectl(*IN_RELEASE, "patch", "fn", function, "--type=json", "-p", json.dumps(patch))
    shown = kubectl(*IN_RELEASE, "get", "fn", function)
    assert shown.split()[:2] == ["NAME", "NEWEST"]
    assert "2" in shown.splitlines()[1].split()
