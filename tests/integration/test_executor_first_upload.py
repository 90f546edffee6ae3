"""S3 may refuse a new pod for a moment after the operator accepts it: nothing is lost then."""

import json
import os
import time

import pytest

from nanogrid import names
from nanogrid_executor.paths import Paths
from support.executor_pod import operator, running
from support.gate_ports import Port
from support.relay import Relay
from support.s3_server import BUCKET, S3Server, make_task
from support.waiting import wait_until

pytestmark = pytest.mark.integration

# Longer than both tries of a result, which are half a second apart.
REFUSED_SECONDS = 1.2


def test_a_result_is_stored_when_s3_accepts_the_pod_later(
    s3: S3Server, paths: Paths, launcher_dir: str, denied: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, _, port = s3.endpoint.removeprefix("http://").partition(":")
    relay = Relay((host, int(port)))
    relay.close()
    monkeypatch.setenv(names.ENV_S3_ENDPOINT, f"http://127.0.0.1:{relay.port}")
    code = "open('started', 'w').close()"
    task = make_task(code_inline=code, gate_port=denied.number, bucket=BUCKET)
    with operator() as endpoint, running(task, paths, launcher_dir, url=endpoint.url) as pod:
        wait_until(lambda: os.path.exists(f"{paths.workspace}/started"))
        time.sleep(REFUSED_SECONDS)
        relay.open()
        ended = pod.wait()
    relay.close()
    assert "s3-first-connection" in ended.agent_log
    assert "not-stored" not in ended.agent_log
    assert json.loads(s3.get(names.result_object(task.request_id)))["status"] == "SUCCESS"
