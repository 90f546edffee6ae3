"""Sessions on the cluster: an analyst's executions, tokens, contexts and states."""

import base64
import json
import threading
from pathlib import Path

import pytest

from e2e.sessions import SMALL, answer_with, artifacts, objects_of_sessions, records, start
from examples.sales.generate import FILE_NAME, csv_bytes
from examples.session.steps import STEPS
from nanogrid import names
from nanogrid.client.jobs.packing import zip_directory
from nanogrid.types import Json
from scripts.devaccess import DevAccess
from support.kubectl import (
    Namespace,
    condition,
    eventually,
    in_redis,
    in_stream,
)
from support.sessions import Caller, path_of, ready, session, token_of

pytestmark = pytest.mark.security

PNG = b"\x89PNG\r\n\x1a\n"


def sync_as_older_clients(
    caller: Caller, path: str, session_id: str, bucket: str, prefix: str
) -> Caller:
    """Copy the session's input as clients of the older system do; returns a caller for plain paths.

    One request names the session; after it the cookie selects the session.
    """
    info = caller.call("GET", f"{path}/container-info?session_id={session_id}")
    assert (info.status, info.body["session_id"]) == (200, session_id)
    plain = Caller(caller.base, jar=caller.jar)
    assert plain.call("GET", "/health").body["status"] == "healthy"
    request = {
        "action": "sync_data_from_s3",
        "bucket_name": bucket,
        "s3_key_prefix": prefix,
        "local_path": "/app/data/",
    }
    synced = plain.call("POST", "/file-sync", request)
    assert (synced.status, synced.body["files"]) == (200, 1), synced
    assert synced.body["bytes"] == len(csv_bytes())
    assert FILE_NAME in json.dumps(plain.call("GET", "/debug/files?path=data").body)
    return plain


def run_steps(caller: Caller) -> list[bytes]:
    """Run the analyst's steps and check each result; returns the images."""
    images: list[bytes] = []
    for number, step in enumerate(STEPS, 1):
        more = {"context": step.context} if step.context else {}
        done = caller.execute("", step.code, **more)
        assert done["execution_num"] == number
        assert done["success"] is not step.fails, (step, done)
        assert step.expected in done["stdout"], (step, done)
        images += [
            base64.b64decode(shown["image/png"])
            for shown in done["results"]
            if "image/png" in shown
        ]
    return images


def assert_records(stored: dict[str, Json]) -> None:
    """Check the records of the analyst's executions."""
    assert set(stored) == {f"execution_{n}.json" for n in range(1, len(STEPS) + 1)}
    third = stored["execution_3.json"]
    assert "128,425,270원" in third["stdout"]
    assert {"execution_num", "timestamp", "code", "stdout", "container_ip"} <= set(third)
    assert stored["execution_6.json"]["exit_code"] == 1
    assert "KeyError" in stored["execution_6.json"]["stderr"]


def test_an_analysts_sixteen_executions_through_the_router(
    namespace: Namespace, router_url: str, dev: DevAccess, request_id: str
) -> None:
    inputs = namespace.key(names.session_prefix(request_id) + names.SESSION_INPUT)
    code = namespace.key(f"t/{request_id}/report.zip")
    dev.s3.put_object(Bucket=dev.bucket, Key=inputs + FILE_NAME, Body=csv_bytes())
    dev.s3.put_object(
        Bucket=dev.bucket, Key=code, Body=zip_directory(Path("examples/sales/report"))
    )
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
    caller, path, _ = start(namespace, router_url, manifest)

    plain = sync_as_older_clients(caller, path, request_id, dev.bucket, inputs)
    images = run_steps(plain)
    assert images
    assert images[0].startswith(PNG)

    assert plain.call("POST", "/end", {}).status == 202
    status = namespace.finished("analysis")

    assert (status["phase"], status["reason"]) == ("Succeeded", "SessionEnded")
    assert status["session"]["executions"] == len(STEPS)
    assert condition(status, "Ready")["status"] == "False"
    assert_records(records(namespace, dev, request_id))
    wanted = {"by-category.png", "by-day.png", "report.pdf", "categories.json"}
    assert wanted <= artifacts(namespace, dev, request_id)
    assert json.loads(in_redis(dev, request_id))["reason"] == "SessionEnded"
    assert len(in_stream(dev, request_id)) == 1

    namespace.kubectl("delete", "ej", "analysis")
    eventually("nothing is left", lambda: not objects_of_sessions(namespace))


def test_a_session_that_is_not_ready_answers_503_and_one_that_ended_410(
    namespace: Namespace, router_url: str, dev: DevAccess, request_id: str
) -> None:
    nowhere = namespace.key(f"none/{request_id}/")
    missing = {"name": "data", "mountPath": "/app/data", "s3": {"prefix": nowhere}}
    namespace.apply(session("waits", requestId=f"{request_id}-w", inputs=[missing]))
    path = path_of(namespace, "waits")
    status = namespace.finished("waits")
    assert (status["phase"], status["reason"]) == ("Failed", "InputNotFound")
    caller = Caller(router_url, token_of(namespace, status))
    gone = eventually("410", lambda: answer_with(caller, f"{path}/health", 410))
    assert gone.body["error"]["reason"] == "InputNotFound"

    # A session whose pod cannot be scheduled stays unready long enough for a request.
    large = {"limits": {"memory": "900Gi"}}
    namespace.apply(session("large", resources=large, timeouts={"startupSeconds": 600}))
    path = path_of(namespace, "large")
    session_status = eventually("its token", lambda: namespace.status("large").get("session"))
    caller = Caller(router_url, token_of(namespace, {"session": session_status}))
    busy = eventually("503", lambda: answer_with(caller, f"{path}/health", 503))
    assert busy.body["status"] == "initializing"
    assert busy.headers["Retry-After"]
    refused = caller.call("POST", f"{path}/execute", {"code": "print(1)"})
    assert refused.status == 503
    namespace.kubectl("delete", "ej", "large", "waits")


def test_only_its_own_token_opens_a_session(namespace: Namespace, router_url: str) -> None:
    namespace.apply(session("one", resources=SMALL), session("two", resources=SMALL))
    one, two = ready(namespace, "one"), ready(namespace, "two")
    mine = Caller(router_url, token_of(namespace, one))

    assert mine.execute(path_of(namespace, "one"), "print('mine')")["stdout"] == "mine\n"
    for caller in (mine, Caller(router_url), Caller(router_url, "ngs_" + "A" * 43)):
        answer = caller.call("POST", f"{path_of(namespace, 'two')}/execute", {"code": "print(1)"})
        assert (answer.status, answer.body["error"]["reason"]) == (401, "Unauthorized")
    assert Caller(router_url, token_of(namespace, two)).execute(
        path_of(namespace, "two"), "print('two')"
    )["stdout"] == "two\n"  # fmt: skip

    # User code reaches its own agent's port but has no token for it.
    probe = (
        "import urllib.request, urllib.error\n"
        "try:\n"
        f"    urllib.request.urlopen('http://127.0.0.1:{names.SESSION_PORT}/executions')\n"
        "except urllib.error.HTTPError as e:\n"
        "    print(e.code)\n"
    )
    assert mine.execute(path_of(namespace, "one"), probe)["stdout"] == "401\n"


def test_variables_persist_and_a_killed_sandbox_is_reported(
    namespace: Namespace, router_url: str, dev: DevAccess, request_id: str
) -> None:
    caller, path, _ = start(
        namespace, router_url, session("memory", requestId=request_id, resources=SMALL)
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
    assert after["execution_num"] == 6, "the numbering continues"

    caller.call("POST", f"{path}/end", {})
    assert namespace.finished("memory")["reason"] == "SessionEnded"
    assert set(records(namespace, dev, request_id)) == {f"execution_{n}.json" for n in range(1, 7)}


def test_background_processes_await_and_the_limit_of_contexts(
    namespace: Namespace, router_url: str
) -> None:
    caller, path, _ = start(
        namespace, router_url, session("programs", resources={"limits": {"memory": "512Mi"}})
    )
    serve = "BASH: (while :; do date +%s%N > alive; sleep 0.1; done) & echo $! > pid"
    assert caller.execute(path, serve, keepProcesses=True)["success"]
    first = caller.execute(path, "print(open('alive').read())")["stdout"]

    def changed() -> bool:
        now = caller.execute(path, "print(open('alive').read())")["stdout"]
        return now.strip() not in ("", first.strip())

    assert eventually("the background process writes", changed)
    assert caller.execute(path, "BASH: kill $(cat pid)")["success"]

    code = "import asyncio\nprint(await asyncio.sleep(0, 'awaited'))"
    assert caller.execute(path, code)["stdout"] == "awaited\n"
    assert caller.execute(path, "import sys; sys.stdout.close()", context="c0")["success"]
    assert caller.execute(path, "print('again')", context="c0")["stdout"] == "again\n"

    for number in range(1, 8):
        assert caller.execute(path, "1", context=f"c{number}")["success"]
    refused = caller.call("POST", f"{path}/execute", {"code": "1", "context": "c8"})
    assert (refused.status, refused.body["error"]["reason"]) == (409, "ContextLimit")
    encoding = {"code": "# coding: latin-1\nprint('가')"}
    assert caller.call("POST", f"{path}/execute", encoding).status == 400


def test_two_sessions_never_answer_for_each_other(namespace: Namespace, router_url: str) -> None:
    found = ("left", "right")
    namespace.apply(*(session(name, resources=SMALL) for name in found))
    callers = {
        name: Caller(router_url, token_of(namespace, ready(namespace, name))) for name in found
    }
    wrong: list[str] = []

    def execute(name: str) -> None:
        for number in range(25):
            done = callers[name].execute(path_of(namespace, name), f"print('{name}', {number})")
            if done["stdout"] != f"{name} {number}\n":
                wrong.append(f"{name} {number}: {done}")

    threads = [threading.Thread(target=execute, args=(name,)) for name in found for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not wrong
