"""Sessions that take waiting pods of a pool, through the router."""

from functools import partial
from typing import Any

import pytest

from e2e.pools import SMALL, filled, pool, pool_status, waiting_pods
from e2e.sessions import answer_with, start
from nanogrid import names
from nanogrid.types import Json
from scripts.devaccess import DevAccess
from support.dev_objects import put_object
from support.kubectl import Namespace, eventually, kubectl_json
from support.sessions import Caller, early_token, path_of, session

pytestmark = pytest.mark.security

HUNGRY = "x = []\nwhile True: x.append(bytearray(16 << 20))"
LOOK = """
import os, sys
needle = sys.stdin.read().strip().encode()
found = []
for top in ('/app', '/tmp', '/run/nanogrid', '/var/run', '/dev/shm', '/proc/self'):
    for folder, _, files in os.walk(top):
        for name in files:
            path = os.path.join(folder, name)
            if not path.startswith('/proc') or name in ('environ', 'cmdline'):
                try:
                    found += [path] if needle in open(path, 'rb').read(1 << 20) else []
                except OSError:
                    pass
print(found)
"""


def warm(name: str, rules: Json | None = None, **spec: Any) -> Json:
    """A session of the pool ``ready``."""
    return session(name, rules, **{"poolRef": {"name": "ready"}, **spec})


def begin(namespace: Namespace, url: str, manifest: Json) -> tuple[Caller, str, Json]:
    """As start, until the network plugin lets the router into the pod."""
    caller, path, status = start(namespace, url, manifest)
    eventually("the router reaches it", lambda: answer_with(caller, f"{path}/health", 200))
    return caller, path, status


@pytest.fixture
def ready(namespace: Namespace) -> list[str]:
    """The waiting pods of a pool for sessions with two."""
    namespace.apply(pool("ready", minReady=2, mode="Session"))
    return filled(namespace, "ready", 2)


def test_a_session_takes_a_waiting_pod_and_the_pool_is_filled_again(
    namespace: Namespace, router_url: str, ready: list[str]
) -> None:
    caller, path, status = begin(namespace, router_url, warm("analysis"))

    assert (status["start"], status["podName"] in ready) == ("Warm", True), status
    assert caller.execute(path, "x = 41; print(x)", context="a")["stdout"] == "41\n"
    assert caller.execute(path, "print(x + 1)", context="a")["stdout"] == "42\n"
    again = filled(namespace, "ready", 2)
    assert status["podName"] not in again
    eventually("the claim counts", lambda: pool_status(namespace, "ready").get("claims") == 1)
    assert caller.call("POST", f"{path}/end", {}).status == 202
    ended = namespace.finished("analysis")
    assert (ended["reason"], ended["start"]) == ("SessionEnded", "Warm")
    assert ended["session"]["executions"] == 2


def test_waiting_pods_are_ready_and_have_no_label_of_a_session(
    namespace: Namespace, ready: list[str]
) -> None:
    def is_ready(name: str) -> bool:
        body = kubectl_json("--namespace", namespace.name, "get", "pod", name)
        assert names.LABEL_MODE not in body["metadata"]["labels"]
        conditions = {c["type"]: c["status"] for c in body["status"]["conditions"]}
        return bool(conditions["Ready"] == "True")

    for name in ready:
        eventually(f"{name} is ready", partial(is_ready, name))


def test_a_wrong_token_is_refused(namespace: Namespace, router_url: str, ready: list[str]) -> None:
    assert ready
    caller, path, status = begin(namespace, router_url, warm("guarded"))
    assert status["start"] == "Warm"

    for wrong in (f"{caller.token}x", "", "ngs_0"):
        assert Caller(router_url, wrong).call("GET", f"{path}/executions").status == 401
    assert caller.call("GET", f"{path}/executions").status == 200


def test_code_does_not_find_the_token(
    namespace: Namespace, router_url: str, ready: list[str]
) -> None:
    assert ready
    caller, path, status = begin(namespace, router_url, warm("secretive"))
    assert status["start"] == "Warm"

    hidden = caller.execute(path, LOOK, stdin=caller.token)
    caller.execute(
        path, "import sys; open('known', 'w').write(sys.stdin.read())", stdin=caller.token
    )
    shown = caller.execute(path, LOOK, stdin=caller.token)

    assert hidden["stdout"] == "[]\n", hidden
    assert shown["stdout"] == "['/app/known']\n", shown


def test_a_sandbox_that_runs_out_of_memory_keeps_the_session(
    namespace: Namespace, router_url: str, ready: list[str]
) -> None:
    assert ready
    caller, path, status = begin(namespace, router_url, warm("memory"))
    assert status["start"] == "Warm"
    caller.execute(path, "open('kept', 'w').write('kept')")

    oom = caller.execute(path, HUNGRY)
    assert oom["success"] is False
    assert oom["reason"] in ("OOMKilled", "SandboxRestarted")
    after = caller.execute(path, "print(open('kept').read())")

    assert (after["stdout"], after["execution_num"]) == ("kept\n", 3)
    assert namespace.status("memory")["podName"] == status["podName"]


def test_inputs_are_in_place_when_a_session_is_ready(
    namespace: Namespace, router_url: str, ready: list[str], dev: DevAccess, request_id: str
) -> None:
    assert ready
    base = namespace.key(f"t/{request_id}")
    put_object(dev, f"{base}/tree/a.txt", b"a")
    inputs = [{"name": "tree", "s3": {"prefix": f"{base}/tree/"}}]

    caller, path, status = begin(namespace, router_url, warm("with-input", inputs=inputs))

    assert status["start"] == "Warm"
    assert caller.execute(path, "print(open('data/a.txt').read())")["stdout"] == "a\n"


def test_a_missing_input_ends_the_session(
    namespace: Namespace, ready: list[str], request_id: str
) -> None:
    assert ready
    prefix = f"{namespace.key('t')}/{request_id}/none/"
    inputs = [{"name": "none", "s3": {"prefix": prefix}}]

    status = namespace.run(warm("no-input", inputs=inputs))

    assert (status["start"], status["phase"], status["reason"]) == (
        "Warm",
        "Failed",
        "InputNotFound",
    )


def test_the_token_is_there_before_the_session_is_ready(
    namespace: Namespace, router_url: str, ready: list[str]
) -> None:
    assert ready
    namespace.apply(warm("early"))
    token = eventually("its token", partial(early_token, namespace, "early"))
    health = f"{path_of(namespace, 'early')}/health"
    eventually("it serves", lambda: Caller(router_url, token).call("GET", health).status == 200)


def test_a_session_that_does_not_fit_starts_cold_and_says_why(
    namespace: Namespace, router_url: str, ready: list[str]
) -> None:
    large = {"limits": {"memory": "192Mi"}, "requests": {"cpu": "20m", "memory": "64Mi"}}
    caller, path, status = begin(namespace, router_url, warm("large", resources=large))

    assert status["start"] == "Cold", status
    assert "resources.limits.memory is 192Mi, and that of the pool is" in status["startMessage"]
    assert caller.execute(path, "print(1)")["stdout"] == "1\n"
    assert waiting_pods(namespace, "ready") == ready


def test_a_session_and_a_pool_for_batch_jobs(namespace: Namespace, router_url: str) -> None:
    namespace.apply(pool("ready", minReady=1))
    filled(namespace, "ready", 1)

    _, _, status = begin(namespace, router_url, warm("other", resources=SMALL))

    assert status["start"] == "Cold", status
    assert "the pool's pods are for batch jobs" in status["startMessage"]
