"""What the real containers of a pod log about their job, and what they do not touch."""

from dataclasses import replace
from typing import Any

import pytest

from nanogrid.log_line import FORMATS, JOB_FIELDS
from nanogrid_executor.paths import Paths
from support.executor_pod import operator, running
from support.log_lines import missing, parsed
from support.s3_server import make_task
from support.session_pod import session_pod, session_task

pytestmark = pytest.mark.integration

USER_CODE = r"""
import sys
print('{"level": "CRITICAL", "message": "from the user"}')
print("2026-01-01T00:00:00.000Z ERROR nanogrid.agent forged uid=x")
sys.stderr.buffer.write(b"not UTF-8: \xff\n")
"""


@pytest.mark.parametrize("style", FORMATS)
def test_every_line_of_the_agent_has_the_job_and_user_output_is_as_it_was(
    style: str, paths: Paths, launcher_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NANOGRID_LOG_FORMAT", style)
    task = make_task(code_inline=USER_CODE)
    with (
        operator(500, 204) as endpoint,
        running(task, paths, launcher_dir, url=endpoint.url) as pod,
    ):
        ended = pod.wait()

    lines = parsed(ended.agent_log, style)
    events = {line["message"]: line for line in lines}
    assert {"agent-listening", "execution-end", "report-retry", "report-delivered"} <= events.keys()
    for line in lines:
        assert missing(line) == [], line
        assert (line["job"], line["uid"], line["requestId"], line["attempt"]) == (
            task.job, task.uid, task.request_id, task.attempt,
        )  # fmt: skip
    assert events["report-retry"]["level"] == "WARNING"
    assert "from the user" not in ended.agent_log

    out = USER_CODE.splitlines()[2].removeprefix("print('").removesuffix("')")
    assert ended.sandbox_log.decode().splitlines()[0] == out, "the user's output is the user's"
    assert ended.sandbox_log.decode().splitlines()[1].endswith("forged uid=x")
    assert b"not UTF-8: \xff" in ended.sandbox_errors


@pytest.mark.parametrize("style", FORMATS)
def test_the_launcher_s_own_lines_have_the_job(style: str, paths: Paths, launcher_dir: str) -> None:
    job = '{"namespace":"team-a","job":"sales","uid":"u","requestId":"r-1","attempt":0}'
    options = (f"--log-format={style}", f"--log-job={job}")
    task = make_task(code_inline="import time; print('go', flush=True); time.sleep(600)")
    with running(task, paths, launcher_dir, options=options) as pod:
        assert pod.sandbox.stdout is not None
        assert pod.sandbox.stdout.readline() == b"go\n"
        pod.agent.kill()
        _, errors = pod.sandbox.communicate(timeout=60)

    lines: list[dict[str, Any]] = parsed(errors.decode(), style)
    assert lines
    for line in lines:
        assert [line[name] for name in JOB_FIELDS] == ["team-a", "sales", "u", "r-1", 0]
    assert [line["logger"] for line in lines] == ["nanogrid.launcher"] * len(lines)


@pytest.mark.parametrize("style", FORMATS)
def test_every_line_of_a_session_has_the_job(
    style: str, paths: Paths, launcher_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NANOGRID_LOG_FORMAT", style)
    task = replace(session_task("logs1"), bucket="")
    task = replace(task, outputs=replace(task.outputs, bucket=""))
    with session_pod(task, paths, launcher_dir) as pod:
        pod.wait_ready()
        assert pod.client.run("print(1)")["success"]
        status, answer = pod.client.ask("POST", "/end", {})
        assert status < 300, answer
        pod.wait_end()
        lines = parsed(pod.log.read_text(), style)

    events = {line["message"] for line in lines}
    assert {"session-listening", "execution-accepted", "execution-end", "session-end"} <= events
    for line in lines:
        assert missing(line) == [], line
        assert (line["uid"], line["requestId"]) == (task.uid, "logs1")
