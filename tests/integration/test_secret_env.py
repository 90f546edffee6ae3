"""The value of a Secret reaches the code, and nothing that agent and launcher write."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from nanogrid import names
from nanogrid_executor.paths import Paths
from support.executor_pod import operator
from support.s3_server import BUCKET, S3Server, make_rules
from support.session_pod import session_pod, session_task

pytestmark = [pytest.mark.integration, pytest.mark.security]

CANARY = "c4n4ry-51d0f7"
DIGEST = hashlib.sha256(CANARY.encode()).hexdigest()
CODE = """
import hashlib, os, subprocess, sys
print(hashlib.sha256(os.environ["DB"].encode()).hexdigest())
print(sorted(name for name in os.environ if name.startswith("NANOGRID_")))
open("output/file.txt", "w").write("made") if os.path.isdir("output") else None
"""


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kubelet sets the variable in the agent's container."""
    monkeypatch.setenv(names.SECRET_ENV_PREFIX + "DB", CANARY)


def stored(s3: S3Server) -> dict[str, bytes]:
    """All objects of the bucket."""
    found = s3.client.list_objects_v2(Bucket=BUCKET).get("Contents", [])
    return {entry["Key"]: s3.get(entry["Key"]) for entry in found}


def files_below(root: str) -> dict[str, bytes]:
    """All files that the containers left."""
    return {str(p): p.read_bytes() for p in Path(root).rglob("*") if p.is_file()}


def test_a_batch_job_leaves_no_byte_of_it(run: Any, s3: S3Server, paths: Paths) -> None:
    with operator() as server:
        ended = run(CODE, bucket=BUCKET, outputs=make_rules(), request_id="secret", url=server.url)

    assert ended.result.stdout.split("\n")[:2] == [DIGEST, "[]"], ended.agent_log
    outputs = [
        ended.agent_log.encode(),
        ended.sandbox_log,
        ended.sandbox_errors,
        *server.bodies,
        *stored(s3).values(),
        *files_below(paths.root).values(),
    ]
    assert any(DIGEST.encode() in text for text in outputs)
    assert [text for text in outputs if CANARY.encode() in text] == []


def test_a_session_leaves_no_byte_of_it(s3: S3Server, paths: Paths, launcher_dir: str) -> None:
    with (
        operator() as server,
        session_pod(session_task("secret-s"), paths, launcher_dir, server.url) as pod,
    ):
        pod.wait_ready()
        answers = [
            pod.client.run(CODE),
            pod.client.run(f'BASH: test "$DB" = {CANARY[:6]}"{CANARY[6:]}" && echo same'),
            pod.client.run("import os; print(os.environ['DB'])", env={"DB": "of the call"}),
        ]
        status, ended = pod.client.ask("POST", "/end", {})
        pod.wait_end()

    assert answers[0]["stdout"].startswith(DIGEST), answers[0]
    assert answers[1]["stdout"] == "same\n", answers[1]
    assert answers[2]["stdout"] == "of the call\n", answers[2]
    assert status == 202, ended
    outputs = [
        str(answers).encode(),
        *server.bodies,
        *stored(s3).values(),
        *files_below(paths.root).values(),
    ]
    assert any(DIGEST.encode() in text for text in outputs)
    assert [text for text in outputs if CANARY.encode() in text] == []
