"""How sessions end, and a router that is replaced."""

import threading
import time

import pytest

from e2e.sessions import SMALL, artifacts, records, start
from nanogrid.types import Json
from scripts.devaccess import DevAccess
from support.kubectl import (
    Namespace,
    eventually,
    kubectl,
    kubectl_json,
)
from support.sessions import Caller, router, session

pytestmark = pytest.mark.alone


def test_an_idle_session_ends_and_a_busy_one_does_not(
    namespace: Namespace, router_url: str, dev: DevAccess, request_id: str
) -> None:
    rules = {"idleTimeoutSeconds": 7}
    caller, path, _ = start(
        namespace, router_url, session("idle", rules, requestId=request_id, resources=SMALL)
    )

    busy = caller.execute(path, "import time; time.sleep(9); print('worked')")
    assert busy["stdout"] == "worked\n", "a running execution is activity"
    caller.execute(path, "open('artifacts/note.txt', 'w').write('kept')")
    status = namespace.finished("idle")

    assert (status["phase"], status["reason"]) == ("Succeeded", "IdleTimeout")
    assert artifacts(namespace, dev, request_id) == {"note.txt"}
    answer = Caller(router_url, caller.token).call("POST", f"{path}/execute", {"code": "print(1)"})
    assert (answer.status, answer.body["error"]["reason"]) == (410, "IdleTimeout")


def test_cancel_keeps_artifacts_and_records(
    namespace: Namespace, router_url: str, dev: DevAccess, request_id: str
) -> None:
    caller, path, _ = start(
        namespace, router_url, session("stop", requestId=request_id, resources=SMALL)
    )
    caller.execute(path, "open('artifacts/half.txt', 'w').write('half')")

    namespace.patch("stop", cancel=True)
    status = namespace.finished("stop")

    assert (status["phase"], status["reason"]) == ("Failed", "Cancelled")
    kept = artifacts(namespace, dev, request_id)
    assert kept >= {"half.txt"} or kept == {".partial/half.txt"}
    assert "execution_1.json" in records(namespace, dev, request_id)


def test_the_router_is_replaced_during_an_execution(
    namespace: Namespace, router_url: str, cluster: None
) -> None:
    caller, path, _ = start(namespace, router_url, session("long", resources=SMALL))
    with router() as url:
        other = Caller(url, caller.token)
        answers: list[Json] = []
        thread = threading.Thread(
            target=lambda: answers.append(
                other.execute(path, "import time; time.sleep(12); print('whole')")
            )
        )
        thread.start()
        eventually(
            "the execution runs", lambda: caller.call("GET", f"{path}/health").body.get("running")
        )
        began = time.monotonic()
        kubectl("-n", "nanogrid-system", "rollout", "restart", "deploy/nanogrid-router")
        thread.join(120)
    assert answers
    assert answers[0]["stdout"] == "whole\n"
    print(f"the answer came {time.monotonic() - began:.1f} s after the restart began")
    kubectl(
        "-n", "nanogrid-system", "rollout", "status", "deploy/nanogrid-router", "--timeout=180s"
    )
    assert kubectl_json("-n", "nanogrid-system", "get", "deploy", "nanogrid-router")["status"][
        "readyReplicas"
    ]
