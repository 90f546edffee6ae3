"""Sessions on the cluster: an analyst's whole story, and what ends, restarts and is refused."""

import base64
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.sessions import Answer, Caller, path_of, ready, router, session, token_of
from e2e.support import (
    Json,
    Namespace,
    condition,
    eventually,
    in_redis,
    in_stream,
    kubectl,
    kubectl_json,
)
from examples.sales.generate import FILE_NAME, csv_bytes
from examples.session.steps import STEPS
from nanogrid import names
from scripts.devaccess import DevAccess, PortForward, zip_folder

PNG = b"\x89PNG\r\n\x1a\n"
SMALL = {"limits": {"cpu": "1", "memory": "192Mi"}, "requests": {"cpu": "50m", "memory": "96Mi"}}


@pytest.fixture
def base(cluster: None) -> Iterator[str]:
    """The router's URL."""
    with router() as url:
        yield url


def start(namespace: Namespace, base: str, manifest: Json) -> tuple[Caller, str, Json]:
    """Apply a session and wait until it is ready: a caller with its token, its path, its status."""
    name = manifest["metadata"]["name"]
    namespace.apply(manifest)
    status = ready(namespace, name)
    return Caller(base, token_of(namespace, status)), path_of(namespace, name), status


def records(dev: DevAccess, session_id: str) -> dict[str, Json]:
    """The execution records in S3 by file name."""
    prefix = names.session_prefix(session_id) + names.SESSION_DEBUG
    found = dev.s3.list_objects_v2(Bucket=dev.bucket, Prefix=prefix).get("Contents", [])
    return {
        entry["Key"].removeprefix(prefix): json.loads(
            dev.s3.get_object(Bucket=dev.bucket, Key=entry["Key"])["Body"].read()
        )
        for entry in found
    }


def artifacts(dev: DevAccess, session_id: str) -> set[str]:
    """The names of the artifacts in S3."""
    prefix = names.session_prefix(session_id) + names.SESSION_ARTIFACTS
    found = dev.s3.list_objects_v2(Bucket=dev.bucket, Prefix=prefix).get("Contents", [])
    return {entry["Key"].removeprefix(prefix) for entry in found}


def test_an_analysts_sixteen_executions_through_the_router(
    namespace: Namespace, base: str, dev: DevAccess, request_id: str
) -> None:
    inputs = names.session_prefix(request_id) + names.SESSION_INPUT
    code = f"t/{request_id}/report.zip"
    dev.s3.put_object(Bucket=dev.bucket, Key=inputs + FILE_NAME, Body=csv_bytes())
    dev.s3.put_object(Bucket=dev.bucket, Key=code, Body=zip_folder(Path("examples/sales/report")))
    image = json.loads(Path("build/images.json").read_text())["python-data"]
    manifest = session(
        "analysis",
        requestId=request_id,
        runtime={"image": image},
        code={"s3": {"key": code}},
        resources={
            "limits": {"cpu": "1", "memory": "512Mi"},
            "requests": {"cpu": "100m", "memory": "256Mi"},
        },
    )
    caller, path, _ = start(namespace, base, manifest)

    # The older system's way: one request that names the session, then plain paths and the cookie.
    info = caller.call("GET", f"{path}/container-info?session_id={request_id}")
    assert (info.status, info.body["session_id"]) == (200, request_id)
    plain = Caller(base, jar=caller.jar)
    assert plain.call("GET", "/health").body["status"] == "healthy"
    synced = plain.call(
        "POST",
        "/file-sync",
        {
            "action": "sync_data_from_s3",
            "bucket_name": dev.bucket,
            "s3_key_prefix": inputs,
            "local_path": "/app/data/",
        },
    )
    assert (synced.status, synced.body["files"]) == (200, 1), synced
    assert synced.body["bytes"] == len(csv_bytes())
    assert FILE_NAME in json.dumps(plain.call("GET", "/debug/files?path=data").body)

    pictures: list[bytes] = []
    for number, step in enumerate(STEPS, 1):
        more = {"context": step.context} if step.context else {}
        told = plain.execute("", step.code, **more)
        assert told["execution_num"] == number
        assert told["success"] is not step.fails, (step, told)
        assert step.expected in told["stdout"], (step, told)
        pictures += [
            base64.b64decode(shown["image/png"])
            for shown in told["results"]
            if "image/png" in shown
        ]
    assert pictures
    assert pictures[0].startswith(PNG)

    assert plain.call("POST", "/end", {}).status == 202
    status = namespace.finished("analysis", 120)

    assert (status["phase"], status["reason"]) == ("Succeeded", "SessionEnded")
    assert status["session"]["executions"] == len(STEPS)
    assert condition(status, "Ready")["status"] == "False"
    kept = records(dev, request_id)
    assert set(kept) == {f"execution_{n}.json" for n in range(1, len(STEPS) + 1)}
    third = kept["execution_3.json"]
    assert "128,425,270원" in third["stdout"]
    assert {"execution_num", "timestamp", "code", "stdout", "container_ip"} <= set(third)
    assert kept["execution_6.json"]["exit_code"] == 1
    assert "KeyError" in kept["execution_6.json"]["stderr"]
    wanted = {"by-category.png", "by-day.png", "report.pdf", "categories.json"}
    assert wanted <= artifacts(dev, request_id)
    assert json.loads(in_redis(dev, request_id))["reason"] == "SessionEnded"
    assert len(in_stream(dev, request_id)) == 1

    namespace.kubectl("delete", "ej", "analysis")
    eventually("nothing is left", lambda: not leftovers(namespace))


def leftovers(namespace: Namespace) -> list[str]:
    """Pods, Services, Ingresses and token Secrets of sessions in the namespace."""
    return namespace.kubectl(
        "get", "pods,services,ingresses,secrets", "-l", names.LABEL_JOB_UID, "-o", "name"
    ).split()


def test_a_session_that_is_not_ready_answers_503_and_one_that_ended_410(
    namespace: Namespace, base: str, dev: DevAccess, request_id: str
) -> None:
    missing = {"name": "data", "mountPath": "/app/data", "s3": {"prefix": f"none/{request_id}/"}}
    namespace.apply(session("waits", requestId=f"{request_id}-w", inputs=[missing]))
    path = path_of(namespace, "waits")
    status = namespace.finished("waits")
    assert (status["phase"], status["reason"]) == ("Failed", "InputNotFound")
    caller = Caller(base, token_of(namespace, status))
    gone = eventually("410", lambda: answer_with(caller, f"{path}/health", 410))
    assert gone.body["error"]["reason"] == "InputNotFound"

    # A pod that cannot be scheduled is a session that is not ready for long enough to be asked.
    large = {"limits": {"memory": "900Gi"}}
    namespace.apply(session("large", resources=large, timeouts={"startupSeconds": 600}))
    path = path_of(namespace, "large")
    told = eventually("its token", lambda: namespace.status("large").get("session"))
    caller = Caller(base, token_of(namespace, {"session": told}))
    busy = eventually("503", lambda: answer_with(caller, f"{path}/health", 503))
    assert busy.body["status"] == "initializing"
    assert busy.headers["Retry-After"]
    refused = caller.call("POST", f"{path}/execute", {"code": "print(1)"})
    assert refused.status == 503
    namespace.kubectl("delete", "ej", "large", "waits")


def answer_with(caller: Caller, path: str, status: int) -> Answer | None:
    """The answer, once it has this status."""
    answer = caller.call("GET", path)
    return answer if answer.status == status else None


def test_only_its_own_token_opens_a_session(namespace: Namespace, base: str) -> None:
    namespace.apply(session("one", resources=SMALL), session("two", resources=SMALL))
    one, two = ready(namespace, "one"), ready(namespace, "two")
    mine = Caller(base, token_of(namespace, one))

    assert mine.execute(path_of(namespace, "one"), "print('mine')")["stdout"] == "mine\n"
    for caller in (mine, Caller(base), Caller(base, "ngs_" + "A" * 43)):
        answer = caller.call("POST", f"{path_of(namespace, 'two')}/execute", {"code": "print(1)"})
        assert (answer.status, answer.body["error"]["reason"]) == (401, "Unauthorized")
    assert Caller(base, token_of(namespace, two)).execute(
        path_of(namespace, "two"), "print('two')"
    )["stdout"] == "two\n"  # fmt: skip

    # User code reaches its own agent's port, and has no token to use there.
    probe = (
        "import urllib.request, urllib.error\n"
        "try:\n"
        f"    urllib.request.urlopen('http://127.0.0.1:{names.SESSION_PORT}/executions')\n"
        "except urllib.error.HTTPError as e:\n"
        "    print(e.code)\n"
    )
    assert mine.execute(path_of(namespace, "one"), probe)["stdout"] == "401\n"


def test_variables_live_on_and_a_killed_sandbox_is_told(
    namespace: Namespace, base: str, dev: DevAccess, request_id: str
) -> None:
    caller, path, _ = start(
        namespace, base, session("memory", requestId=request_id, resources=SMALL)
    )

    assert caller.execute(path, "x = 20", context="c")["success"]
    assert caller.execute(path, "print(x + 1)", context="c")["stdout"] == "21\n"
    died = caller.execute(path, "import os, signal; os.kill(os.getpid(), 9)", context="c")
    assert (died["success"], died["reason"]) == (False, "ContextLost")
    fresh = caller.execute(path, "print('x' in globals())", context="c")
    assert fresh["stdout"] == "False\n"

    hungry = "x = []\nwhile True: x.append(bytearray(16 << 20))"
    oom = caller.execute(path, hungry)
    assert oom["success"] is False
    assert oom["reason"] in ("OOMKilled", "SandboxRestarted")
    after = caller.execute(path, "print('alive')")
    assert after["stdout"] == "alive\n"
    assert after["execution_num"] == 6, "the numbering goes on"

    caller.call("POST", f"{path}/end", {})
    assert namespace.finished("memory")["reason"] == "SessionEnded"
    assert set(records(dev, request_id)) == {f"execution_{n}.json" for n in range(1, 7)}


def test_a_session_ends_by_idleness_and_one_that_works_does_not(
    namespace: Namespace, base: str, dev: DevAccess, request_id: str
) -> None:
    rules = {"idleTimeoutSeconds": 6}
    caller, path, _ = start(
        namespace, base, session("idle", rules, requestId=request_id, resources=SMALL)
    )

    busy = caller.execute(path, "import time; time.sleep(8); print('worked')")
    assert busy["stdout"] == "worked\n", "a running execution is activity"
    caller.execute(path, "open('artifacts/note.txt', 'w').write('kept')")
    status = namespace.finished("idle", 60)

    assert (status["phase"], status["reason"]) == ("Succeeded", "IdleTimeout")
    assert artifacts(dev, request_id) == {"note.txt"}
    told = Caller(base, caller.token).call("POST", f"{path}/execute", {"code": "print(1)"})
    assert (told.status, told.body["error"]["reason"]) == (410, "IdleTimeout")


def test_cancel_keeps_artifacts_and_records(
    namespace: Namespace, base: str, dev: DevAccess, request_id: str
) -> None:
    caller, path, _ = start(namespace, base, session("stop", requestId=request_id, resources=SMALL))
    caller.execute(path, "open('artifacts/half.txt', 'w').write('half')")

    namespace.kubectl("patch", "ej", "stop", "--type=merge", "-p", '{"spec":{"cancel":true}}')
    status = namespace.finished("stop", 90)

    assert (status["phase"], status["reason"]) == ("Failed", "Cancelled")
    assert artifacts(dev, request_id) >= {"half.txt"} or artifacts(dev, request_id) == {
        ".partial/half.txt"
    }
    assert "execution_1.json" in records(dev, request_id)


def test_a_way_in_of_its_own_comes_and_goes_with_the_session(
    namespace: Namespace, base: str
) -> None:
    caller, path, status = start(
        namespace, base, session("own", {"expose": "Ingress"}, resources=SMALL)
    )
    own = status["session"]["serviceName"]
    ingress = kubectl_json("--namespace", namespace.name, "get", "ingress", own)
    assert ingress["metadata"]["ownerReferences"][0]["name"] == "own"
    (rule,) = ingress["spec"]["rules"]
    assert rule["http"]["paths"][0]["path"] == path

    # What a load balancer sends to its target: the pod's own port, the path as it came.
    (pod,) = namespace.pods("own")
    with PortForward(namespace.name, f"pod/{pod['metadata']['name']}", names.SESSION_PORT) as port:
        direct = Caller(f"http://127.0.0.1:{port.wait_ready()}", caller.token)
        assert direct.execute(path, "print('direct')")["stdout"] == "direct\n"

    began = time.monotonic()
    namespace.kubectl("patch", "ej", "own", "--type=merge", "-p", '{"spec":{"cancel":true}}')
    namespace.finished("own", 60)
    # The kubelet lets the load balancer deregister the target first.
    assert time.monotonic() - began >= 3
    assert not namespace.kubectl("get", "services,ingresses", "-o", "name").split()


def test_two_sessions_never_answer_for_each_other(namespace: Namespace, base: str) -> None:
    found = ("left", "right")
    namespace.apply(*(session(name, resources=SMALL) for name in found))
    callers = {name: Caller(base, token_of(namespace, ready(namespace, name))) for name in found}
    wrong: list[str] = []

    def ask(name: str) -> None:
        for number in range(25):
            said = callers[name].execute(path_of(namespace, name), f"print('{name}', {number})")
            if said["stdout"] != f"{name} {number}\n":
                wrong.append(f"{name} {number}: {said}")

    threads = [threading.Thread(target=ask, args=(name,)) for name in found for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not wrong


def test_the_router_is_replaced_under_a_running_execution(
    namespace: Namespace, base: str, cluster: None
) -> None:
    caller, path, _ = start(namespace, base, session("long", resources=SMALL))
    with router() as url:
        other = Caller(url, caller.token)
        answers: list[Json] = []
        thread = threading.Thread(
            target=lambda: answers.append(
                other.execute(path, "import time; time.sleep(12); print('whole')")
            )
        )
        thread.start()
        eventually("it runs", lambda: caller.call("GET", f"{path}/health").body.get("running"))
        began = time.monotonic()
        kubectl("-n", "nanogrid-system", "rollout", "restart", "deploy/nanogrid-router")
        thread.join(60)
    assert answers
    assert answers[0]["stdout"] == "whole\n"
    print(f"the answer came {time.monotonic() - began:.1f} s after the restart began")
    kubectl("-n", "nanogrid-system", "rollout", "status", "deploy/nanogrid-router", "--timeout=90s")
    assert kubectl_json("-n", "nanogrid-system", "get", "deploy", "nanogrid-router")["status"][
        "readyReplicas"
    ]
