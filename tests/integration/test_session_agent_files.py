"""Files of a session, with its real agent, launcher and S3 server: sources, uploads, outages."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nanogrid import names, wire
from nanogrid_executor.paths import Paths
from support.relay import Relay
from support.s3_server import BUCKET, S3Server, free_port
from support.session_pod import Client, records, session_pod, session_task
from support.waiting import wait_until


def test_only_sources_of_the_session_are_allowed(
    s3: S3Server, paths: Paths, launcher_dir: str
) -> None:
    s3.put("shared/reference/r.csv", b"reference")
    s3.put("sessions/other/input/secret.csv", b"secret")
    s3.put("sessions/sync1/input/x.csv", b"mine")
    reference = wire.Input(
        name="reference",
        s3=wire.S3Source(bucket=BUCKET, prefix="shared/reference/"),
        mount_path="/app/data/reference",
    )
    manifest = wire.Manifest(
        report=wire.InputReport(files=1, bytes=9, duration_millis=1, retries=0), entries=[]
    )
    os.makedirs(paths.run_dir)
    paths.write_manifest(wire.dumps(manifest))
    task = session_task("sync1", inputs=[reference])
    with session_pod(task, paths, launcher_dir) as pod:
        pod.wait_ready()

        def sync(prefix: str, bucket: str = BUCKET, local: str = "/app/data/") -> tuple[int, Any]:
            body = {
                "action": "sync_data_from_s3",
                "bucket_name": bucket,
                "s3_key_prefix": prefix,
                "local_path": local,
            }
            status, answer = pod.client.ask("POST", "/file-sync", body)
            return status, answer.get("error", {}).get("reason", answer.get("status"))

        assert sync("sessions/sync1/input/") == (200, "success")
        assert sync("shared/reference/", local="/app/data/again") == (200, "success")
        for prefix in ("sessions/other/input/", "sessions/", "", "sessions/sync12/", "shared"):
            assert sync(prefix) == (403, "PrefixNotAllowed")
        assert sync("sessions/sync1/../other/input") == (400, "UnsafePath")
        assert sync("sessions/sync1/input/", bucket="elsewhere") == (403, "PrefixNotAllowed")
        assert sync("sessions/sync1/none/") == (404, "InputNotFound")
        for local in ("/app", "/etc", "/app/data/../x", "data", "/app/database"):
            assert sync("sessions/sync1/input/", local=local) == (400, "UnsafePath")
        data = Path(paths.real(names.DEFAULT_DATA_PATH))
        assert (data / "again/r.csv").read_bytes() == b"reference"

        # Links that the code creates are not followed.
        outside = Path(paths.root, "outside")
        outside.mkdir()
        (data / "x.csv").unlink()
        (data / "x.csv").symlink_to(outside / "x.csv")
        (data / "trap").symlink_to(outside)
        assert sync("sessions/sync1/input/") == (200, "success")
        assert sync("sessions/sync1/input/", local="/app/data/trap") == (409, "PathConflict")
        assert list(outside.iterdir()) == []
        assert (data / "x.csv").read_bytes() == b"mine"


def test_uploaded_files_are_copied_to_s3(s3: S3Server, paths: Paths, launcher_dir: str) -> None:
    with session_pod(session_task("files1"), paths, launcher_dir) as pod:
        pod.wait_ready()
        large = os.urandom(12_000_000)
        status, sent = pod.client.ask("PUT", "/files/data/large.bin", large)
        assert (status, sent["bytes"]) == (201, len(large))
        assert sent["url"] == f"s3://{BUCKET}/sessions/files1/data/large.bin"
        assert s3.get("sessions/files1/data/large.bin") == large
        assert pod.client.ask("PUT", "/files/src/a.py", b"x = 1")[0] == 201
        assert s3.get("sessions/files1/data/.app/src/a.py") == b"x = 1"
        assert pod.client.run("print(len(open('data/large.bin', 'rb').read()))")["stdout"] == (
            f"{len(large)}\n"
        )
        response = pod.client.open("GET", "/files/data/large.bin")
        assert response.read() == large


def test_records_are_stored_when_s3_is_available_again(
    s3: S3Server, paths: Paths, launcher_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, port = s3.endpoint.removeprefix("http://").split(":")
    gate = Relay((host, int(port)))
    monkeypatch.setenv(names.ENV_S3_ENDPOINT, f"http://127.0.0.1:{gate.port}")
    with session_pod(session_task("away1"), paths, launcher_dir) as pod:
        pod.wait_ready()
        assert pod.client.run("print(1)")["recorded"] is True
        gate.close()
        answer = pod.client.run("print(2)")
        assert (answer["stdout"], answer["recorded"]) == ("2\n", False)
        assert pod.client.ask("PUT", "/files/data/x", b"x")[0] == 502
        assert Path(paths.real("/app/data/x")).read_bytes() == b"x"
        gate.open()
        wait_until(lambda: sorted(records(s3, "away1")) == [1, 2])
    gate.close()


def test_health_reports_the_sync_until_it_ends(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = socket.create_server(("127.0.0.1", 0))  # an S3 server that never responds
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "key")  # without them the client would ask a metadata service
    monkeypatch.setenv(names.ENV_S3_ENDPOINT, f"http://127.0.0.1:{silent.getsockname()[1]}")
    item = wire.Input(name="a", s3=wire.S3Source(bucket=BUCKET, prefix="x"), mount_path="/app/data")
    task = session_task("sync2", inputs=[item], input_sync_timeout_seconds=120.0)
    monkeypatch.setenv(names.ENV_TASK, wire.dumps(task))
    port = free_port()
    command = [sys.executable, "-m", "nanogrid_executor", "sync", "--root", paths.root]
    process = subprocess.Popen([*command, "--session-port", str(port)])
    try:
        client = Client(port)
        wait_until(lambda: process.poll() is not None or client.health()[0])
        assert client.health() == (503, "initializing")
        body = client.ask("GET", "/health")[1]
        assert "sync2" not in json.dumps(body), "a caller without a token learns no id"
        assert body["sync"]["totalFiles"] == 0
        process.terminate()
        process.wait(60)
        socket.create_server(("127.0.0.1", port)).close()  # the agent can listen on the port now
    finally:
        process.kill()
        process.wait()
        silent.close()
