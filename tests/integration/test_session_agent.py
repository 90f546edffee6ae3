"""A session's agent as a process, with the real launcher and a real S3 server."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from integration.pod import operator
from integration.session_pod import RULES, Client, session_pod, session_task, wait_until
from integration.support import BUCKET, S3Server, free_port
from nanogrid import names, wire
from nanogrid_executor.paths import Paths

OLDER_KEYS = {"execution_num", "timestamp", "code", "stdout", "container_ip"}


def records(s3: S3Server, request_id: str) -> dict[int, dict[str, Any]]:
    prefix = f"sessions/{request_id}/debug/"
    found = s3.client.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
    loaded = [json.loads(s3.get(entry["Key"])) for entry in found]
    assert {entry["Key"] for entry in found} == {
        names.execution_object(request_id, record["execution_num"]) for record in loaded
    }
    return {record["execution_num"]: record for record in loaded}


def test_a_client_of_the_older_system_works_unchanged(
    s3: S3Server, paths: Paths, launcher_dir: str
) -> None:
    csv = "날짜,금액\n1,100\n2,250\n".encode()
    s3.put("sessions/older/input/sales/a.csv", csv)
    s3.put("sessions/older/input/b.csv", b"x" * 3000)
    with session_pod(session_task("older"), paths, launcher_dir) as pod:
        client = pod.client
        pod.wait_ready()
        status, info = client.ask("GET", "/container-info?session_id=older")
        assert (status, info["session_id"], info["work_dir"]) == (200, "older", "/app")

        sync = {
            "action": "sync_data_from_s3",
            "bucket_name": BUCKET,
            "s3_key_prefix": "sessions/older/input/",
            "local_path": "/app/data/",
        }
        status, synced = client.ask("POST", "/file-sync", sync)
        assert (status, synced["status"], synced["files"]) == (200, "success", 2), synced
        assert synced["bytes"] == len(csv) + 3000
        status, listed = client.ask("GET", "/debug/files?path=/app/data")
        assert {f["path"] for f in listed["files"]} == {
            "data/sales", "data/sales/a.csv", "data/b.csv"
        }  # fmt: skip

        assert client.run("BASH: ls data")["stdout"] == "b.csv\nsales\n"
        total = (
            "import csv\n"
            "rows = list(csv.DictReader(open('data/sales/a.csv', encoding='utf-8')))\n"
            "print(sum(int(row['금액']) for row in rows))\n"
        )
        assert client.run(total)["output"] == "350\n"
        for number in range(3, 17):  # each builds on the one before
            code = (
                "import os\n"
                "count = int(open('count').read()) if os.path.exists('count') else 2\n"
                "open('count', 'w').write(str(count + 1))\n"
                "open(f'artifacts/{count + 1}.txt', 'w').write('made')\n"
                "print(count + 1)\n"
            )
            answer = client.run(code)
            assert (answer["execution_num"], answer["stdout"]) == (number, f"{number}\n")
            assert answer["recorded"] is True

        found = records(s3, "older")
        assert sorted(found) == list(range(1, 17))
        for number, record in found.items():
            assert set(record) >= OLDER_KEYS
            assert record["exit_code"] == 0
            assert number == 1 or record["peakMemoryBytes"] > 0
        assert found[1]["code"] == "BASH: ls data"

        assert client.ask("POST", "/end")[0] == 202
        report = pod.wait_end()

    result = report.result
    assert (result.status, result.exit_code, result.reason) == ("SUCCESS", 0, "SessionEnded")
    assert result.stdout == "16\n"
    assert s3.get("sessions/older/artifacts/16.txt") == b"made"
    stored = wire.loads(wire.Result, s3.get(names.result_object("older")))
    assert len(stored.output_files) == 14
    assert stored.duration_millis > 0
    assert stored.peak_memory_bytes


def test_sources_that_are_not_the_sessions_own_are_refused(
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

        # What the code puts in the way is not followed.
        outside = Path(paths.root, "outside")
        outside.mkdir()
        (data / "x.csv").unlink()
        (data / "x.csv").symlink_to(outside / "x.csv")
        (data / "trap").symlink_to(outside)
        assert sync("sessions/sync1/input/") == (200, "success")
        assert sync("sessions/sync1/input/", local="/app/data/trap") == (409, "PathConflict")
        assert list(outside.iterdir()) == []
        assert (data / "x.csv").read_bytes() == b"mine"


def test_files_that_are_sent_are_kept_in_s3_too(
    s3: S3Server, paths: Paths, launcher_dir: str
) -> None:
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


def test_numbers_contexts_and_answers_over_restarts_of_both_containers(
    s3: S3Server, paths: Paths, launcher_dir: str
) -> None:
    with session_pod(session_task("restart1"), paths, launcher_dir) as pod:
        client = pod.client
        pod.wait_ready()
        assert client.run("x = 1", context="c")["contextNew"] is True
        key = {"Idempotency-Key": "once"}
        first = client.ask("POST", "/execute", {"code": "print(x)", "context": "c"}, key)[1]
        assert first["stdout"] == "1\n"

        pod.sandbox.kill()
        pod.sandbox.wait()
        wait_until(lambda: client.health() == (503, "initializing"))
        pod.start_sandbox()
        pod.wait_ready()
        third = client.run("print('x' in globals())", context="c")
        assert (third["stdout"], third["sandboxRestarted"]) == ("False\n", True)

        pod.agent.kill()
        pod.agent.wait()
        pod.sandbox.wait(30)  # without its agent a launcher ends
        pod.start_agent()
        pod.start_sandbox()
        pod.wait_ready()
        again = client.ask("POST", "/execute", {"code": "print(x)", "context": "c"}, key)[1]
        assert again == first
        assert client.run("print(4)")["execution_num"] == 4
        assert sorted(records(s3, "restart1")) == [1, 2, 3, 4]


def test_numbers_go_on_where_s3_has_records_of_an_earlier_pod(
    s3: S3Server, paths: Paths, launcher_dir: str
) -> None:
    s3.put("sessions/again1/debug/execution_7.json", b'{"execution_num":7}')
    with session_pod(session_task("again1"), paths, launcher_dir) as pod:
        pod.wait_ready()
        assert pod.client.run("1")["execution_num"] == 8


def test_sigterm_stops_the_code_and_keeps_what_there_is(
    s3: S3Server, paths: Paths, launcher_dir: str
) -> None:
    with (
        operator() as endpoint,
        session_pod(session_task("term1"), paths, launcher_dir, endpoint.url) as pod,
    ):
        pod.wait_ready()
        code = "open('artifacts/a', 'w').write('kept')\nprint('begun', flush=True)\n"
        answers: list[dict[str, Any]] = []
        code += "import time; time.sleep(60)"
        thread = threading.Thread(target=lambda: answers.append(pod.client.run(code)))
        thread.start()
        wait_until(lambda: Path(paths.workspace, "artifacts/a").exists())
        wait_until(lambda: any(b'"running":1' in body for body in endpoint.bodies))
        pod.agent.send_signal(signal.SIGTERM)
        report = pod.wait_end()
        thread.join()
        sent = [
            (headers["Path"], json.loads(body))
            for headers, body in zip(endpoint.headers, endpoint.bodies, strict=True)
        ]

    assert (report.result.status, report.result.reason) == ("FAILED", "Terminated")
    assert "begun" in report.result.stdout
    assert (answers[0]["status"], answers[0]["reason"]) == ("FAILED", "Terminated")
    assert s3.get("sessions/term1/artifacts/a") == b"kept"
    assert records(s3, "term1")[1]["reason"] == "Terminated"
    finals = [body for path, body in sent if path == names.RESULTS_PATH]
    assert [body["result"]["reason"] for body in finals] == ["Terminated"]
    told = [body for path, body in sent if path == names.SESSIONS_PATH]
    assert told[0]["ready"] is True
    assert told[0]["uid"] == "0b6d"
    assert told[-1]["running"] == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"idle_timeout_seconds": 1.0}, "IdleTimeout"),
        ({"max_lifetime_seconds": 10.0}, "LifetimeExceeded"),
        ({"max_executions": 1}, "ExecutionLimit"),
    ],
)
def test_a_session_ends_by_itself(
    s3: S3Server, paths: Paths, launcher_dir: str, changes: dict[str, Any], reason: str
) -> None:
    task = session_task(f"life-{reason.lower()}", replace(RULES, **changes))
    with session_pod(task, paths, launcher_dir) as pod:
        pod.wait_ready()
        assert pod.client.run("print('last')")["stdout"] == "last\n"
        report = pod.wait_end()
    assert (report.result.status, report.result.reason) == ("SUCCESS", reason)
    assert (report.result.exit_code, report.result.stdout) == (0, "last\n")


def test_a_session_without_s3_answers_and_says_that_nothing_is_recorded(
    paths: Paths, launcher_dir: str
) -> None:
    task = replace(session_task("none1"), bucket="")
    task = replace(task, outputs=replace(task.outputs, bucket=""))
    with session_pod(task, paths, launcher_dir) as pod:
        pod.wait_ready()
        assert pod.client.run("print(1)")["recorded"] is False
        assert pod.client.ask("GET", "/executions/1")[1]["stdout"] == "1\n"


def test_records_reach_s3_once_it_is_back(
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


class Relay:
    """A port before S3 that can be shut: connections are refused then."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.port = 0
        self.open()

    def open(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._serve, args=(self._listener,), daemon=True).start()

    def close(self) -> None:
        for sock in [self._listener, *self._sockets]:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.create_connection(self.target)
            self._sockets += [near, far]
            for pair in ((near, far), (far, near)):
                threading.Thread(target=self._copy, args=pair, daemon=True).start()

    @staticmethod
    def _copy(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            return


def test_a_body_that_nobody_may_send_is_not_read(
    s3: S3Server, paths: Paths, launcher_dir: str
) -> None:
    with session_pod(session_task("unread1"), paths, launcher_dir) as pod:
        pod.wait_ready()
        for head in (b"Content-Length: 5000000000\r\n", b"Transfer-Encoding: chunked\r\n"):
            with socket.create_connection(("127.0.0.1", pod.port), timeout=20) as sock:
                sock.sendall(b"POST /execute HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n")
                answer = b""
                while data := sock.recv(65536):  # the connection is closed after the answer
                    answer += data
            assert answer.startswith(b"HTTP/1.1 401")
            assert b"Unauthorized" in answer
        assert Client(pod.port, "wrong").ask("GET", "/executions")[0] == 401
        assert pod.client.ask("GET", "/executions")[0] == 200


def test_output_is_streamed_through_the_real_server(
    s3: S3Server, paths: Paths, launcher_dir: str
) -> None:
    with session_pod(session_task("stream1"), paths, launcher_dir) as pod:
        pod.wait_ready()
        code = "import os, time\nprint('one', flush=True)\n"
        code += "while not os.path.exists('go'): time.sleep(0.01)\nprint('two')"
        response = pod.client.open("POST", "/execute", {"code": code, "stream": True})
        assert response.status == 200
        text = b""
        while b'"one' not in text:  # the line's end may come as an event of its own
            text += response.read1(65536)
        assert not Path(paths.workspace, "go").exists()
        response.close()  # who watched goes away; the execution goes on
        Path(paths.workspace, "go").touch()
        wait_until(lambda: pod.client.ask("GET", "/executions/1")[1]["status"] == "SUCCESS")
        replay = pod.client.open("GET", "/executions/1/stream").read().decode()
        assert "event: end" in replay
        assert "two" in replay


def test_health_tells_of_the_sync_until_the_sync_ends(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = socket.create_server(("127.0.0.1", 0))  # an S3 that never answers
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "key")  # without them a metadata service would be asked
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
        assert body["session_id"] == "sync2"
        assert body["sync"]["totalFiles"] == 0
        process.terminate()
        process.wait(60)
        socket.create_server(("127.0.0.1", port)).close()  # the agent can have the port now
    finally:
        process.kill()
        process.wait()
        silent.close()
