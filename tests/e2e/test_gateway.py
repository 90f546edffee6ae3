"""Functions on the cluster: upload, run and read through the gateway, as clients do."""

import json
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from e2e.support import KubectlError, kubectl, kubectl_json
from examples.gateway_client import Gateway, GatewayError
from nanogrid import names
from scripts.devaccess import NAMESPACE, RELEASE, PortForward, zip_folder
from unit.hostile import REFUSED, make

GATEWAY_PORT = 8080
ECHO = b"""\
import json, os, sys, time
data = json.load(open(os.environ["FUNCTION_INPUT"]))
time.sleep(data.get("sleep", 0))
os.makedirs("output", exist_ok=True)
open("output/echo.json", "w").write(json.dumps(data))
print(len(json.dumps(data)), data.get("name", ""))
sys.exit(data.get("exit", 0))
"""


@pytest.fixture(scope="module")
def url(cluster: None) -> Iterator[str]:
    """The gateway on this machine."""
    target = f"svc/{RELEASE}-gateway"
    kubectl("-n", NAMESPACE, "rollout", "status", f"deploy/{RELEASE}-gateway", "--timeout=60s")
    with PortForward(NAMESPACE, target, GATEWAY_PORT) as forward:
        yield f"http://127.0.0.1:{forward.wait_ready()}"


@pytest.fixture(scope="module")
def token(cluster: None) -> Iterator[str]:
    """Of a service account that may do with functions and runs as it likes, and nothing else."""
    name = f"e2e-client-{uuid.uuid4().hex[:8]}"
    in_release = ("-n", NAMESPACE)
    kubectl(*in_release, "create", "serviceaccount", name)
    verbs = "--verb=create,get,list,patch,delete"
    kinds = f"--resource=executionjobs.{names.GROUP},functions.{names.GROUP}"
    kubectl(*in_release, "create", "role", name, verbs, kinds)
    account = f"--serviceaccount={NAMESPACE}:{name}"
    kubectl(*in_release, "create", "rolebinding", name, f"--role={name}", account)
    yield kubectl(*in_release, "create", "token", name, "--duration=1h").strip()
    for kind in ("rolebinding", "role", "serviceaccount"):
        kubectl(*in_release, "delete", kind, name, "--ignore-not-found")


@pytest.fixture(scope="module")
def gateway(url: str, token: str) -> Gateway:
    return Gateway(url, token)


@pytest.fixture(scope="module")
def function(gateway: Gateway) -> Iterator[str]:
    """A function that says what it was given."""
    known = gateway.upload(make(("main.py", ECHO)), runtime="python", memory="64Mi")["functionId"]
    yield known
    kubectl(
        "-n", NAMESPACE, "delete", "ej", "-l", f"{names.LABEL_FUNCTION}={known}", "--wait=false"
    )
    kubectl("-n", NAMESPACE, "delete", "fn", known, "--ignore-not-found")


def test_the_clients_script_uploads_runs_and_reads(url: str, token: str, tmp_path: Path) -> None:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "main.py").write_bytes(ECHO)
    command = [sys.executable, "examples/gateway_client.py", "--url", url, "--token", token]
    done = subprocess.run(
        [*command, str(folder), "--input", '{"name": "민지"}'],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    shutil.rmtree(folder)

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["status"] == "SUCCESS"
    assert result["stdout"].endswith("민지\n")
    assert result["peakMemoryBytes"] > 0
    assert "output echo.json" in done.stderr


def test_an_empty_zip_is_refused_at_upload(gateway: Gateway) -> None:
    build, _ = REFUSED["34 bytes: no entry, comment"]
    with pytest.raises(GatewayError, match="34 bytes holds 0 files") as caught:
        gateway.upload(build())

    assert (caught.value.status, caught.value.reason) == (422, "EmptyArchive")


@pytest.mark.parametrize(("sleep", "in_time"), [(0, True), (8, False)])
def test_a_result_within_the_wait_and_one_after_it(
    gateway: Gateway, function: str, request_id: str, sleep: int, in_time: bool
) -> None:
    wait = 60 if in_time else 2
    started = time.monotonic()

    result = gateway.run(function, {"sleep": sleep, "name": "x"}, request_id, wait=wait)

    assert result["status"] == "SUCCESS"
    assert result["requestId"] == request_id
    assert (time.monotonic() - started >= sleep) or in_time
    body = kubectl_json("-n", NAMESPACE, "get", "ej", "-l", f"{names.LABEL_FUNCTION}={function}")
    (job,) = [j for j in body["items"] if j["spec"]["requestId"] == request_id]
    # Somebody listened when the result was published, or nobody any more.
    assert job["status"]["delivery"]["receivers"] == (1 if in_time else 0)


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


def test_large_input_comes_as_a_file(gateway: Gateway, function: str) -> None:
    result = gateway.run(function, {"pad": "가" * 50_000, "name": "large"}, wait=60)

    assert result["status"] == "SUCCESS", result["stderr"]
    assert result["stdout"].endswith("large\n")
    assert int(result["stdout"].split()[0]) > 100_000


def test_strangers_do_not_enter(url: str) -> None:
    with pytest.raises(GatewayError) as unknown:
        Gateway(url).run("f-1", None)
    mine = kubectl("-n", NAMESPACE, "create", "token", "default", "--duration=1h").strip()
    with pytest.raises(GatewayError) as stranger:
        Gateway(url, mine).run("f-1", None)

    assert (unknown.value.status, stranger.value.status) == (401, 403)


def test_versions_are_only_added(gateway: Gateway, function: str) -> None:
    second = gateway.upload(zip_folder(Path("examples/function")), functionId=function)
    assert second["version"] == 2

    for patch in (
        [{"op": "remove", "path": "/spec/versions/0"}],
        [{"op": "replace", "path": "/spec/versions/0/s3/key", "value": "functions/other.zip"}],
    ):
        with pytest.raises(KubectlError, match="versions are only added"):
            kubectl(
                "-n", NAMESPACE, "patch", "fn", function, "--type=json", "-p", json.dumps(patch)
            )
    shown = kubectl("-n", NAMESPACE, "get", "fn", function)
    assert shown.split()[:2] == ["NAME", "RUNTIME"]
    assert "2" in shown.splitlines()[1].split()
