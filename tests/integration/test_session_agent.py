"""A session's agent as a process, with the real launcher and a real S3 server."""

import json
import signal
import socket
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from nanogrid import names, wire
from nanogrid_executor.paths import Paths
from support.executor_pod import operator
from support.s3_server import BUCKET, S3Server
from support.session_pod import RULES, Client, records, session_pod, session_task
from support.waiting import wait_until

OLDER_KEYS = {"execution_num", "timestamp", "code", "stdout", "container_ip"}
TOTAL = """
import csv
rows = list(csv.DictReader(open("data/sales/a.csv", encoding="utf-8")))
print(sum(int(row["금액"]) for row in rows))
"""
COUNT = """
import os
count = int(open("count").read()) if os.path.exists("count") else 2
open("count", "w").write(str(count + 1))
open(f"artifacts/{count + 1}.txt", "w").write("made")
print(count + 1)
"""


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
        assert client.run(TOTAL)["output"] == "350\n"
        for number in range(3, 17):  # each uses the file of the one before
            answer = client.run(COUNT)
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


def test_numbers_and_answers_survive_restarts_of_both_containers(
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
        pod.sandbox.wait(60)  # a launcher ends without its agent
        pod.start_agent()
        pod.start_sandbox()
        pod.wait_ready()
        again = client.ask("POST", "/execute", {"code": "print(x)", "context": "c"}, key)[1]
        assert again == first
        assert client.run("print(4)")["execution_num"] == 4
        assert sorted(records(s3, "restart1")) == [1, 2, 3, 4]


def test_numbers_continue_after_the_records_of_an_earlier_pod(
    s3: S3Server, paths: Paths, launcher_dir: str
) -> None:
    s3.put("sessions/again1/debug/execution_7.json", b'{"execution_num":7}')
    with session_pod(session_task("again1"), paths, launcher_dir) as pod:
        pod.wait_ready()
        assert pod.client.run("1")["execution_num"] == 8


def test_sigterm_stops_the_code_and_stores_its_outputs(
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
    assert {body["result"]["reason"] for body in finals} == {"Terminated"}
    states = [body for path, body in sent if path == names.SESSIONS_PATH]
    assert states[0]["ready"] is True
    assert states[0]["uid"] == "0b6d"
    assert states[-1]["running"] == 1


def test_a_session_ends_by_itself(s3: S3Server, paths: Paths, launcher_dir: str) -> None:
    """Without a drain; tests/integration/test_session_drain.py has all reasons of an end."""
    task = session_task("life", replace(RULES, idle_timeout_seconds=6.0))
    with session_pod(task, paths, launcher_dir) as pod:
        pod.wait_ready()
        assert pod.client.run("print('last')")["stdout"] == "last\n"
        report = pod.wait_end()
    assert (report.result.status, report.result.reason) == ("SUCCESS", "IdleTimeout")
    assert (report.result.exit_code, report.result.stdout) == (0, "last\n")


def test_without_s3_answers_say_that_nothing_is_recorded(paths: Paths, launcher_dir: str) -> None:
    task = replace(session_task("none1"), bucket="")
    task = replace(task, outputs=replace(task.outputs, bucket=""))
    with session_pod(task, paths, launcher_dir) as pod:
        pod.wait_ready()
        assert pod.client.run("print(1)")["recorded"] is False
        assert pod.client.ask("GET", "/executions/1")[1]["stdout"] == "1\n"


def test_the_body_of_an_unauthorised_request_is_not_read(
    s3: S3Server, paths: Paths, launcher_dir: str
) -> None:
    with session_pod(session_task("unread1"), paths, launcher_dir) as pod:
        pod.wait_ready()
        for head in (b"Content-Length: 5000000000\r\n", b"Transfer-Encoding: chunked\r\n"):
            with socket.create_connection(("127.0.0.1", pod.port), timeout=60) as sock:
                sock.sendall(b"POST /execute HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n")
                answer = b""
                while data := sock.recv(
                    65536
                ):  # the server closes the connection after its response
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
        while b'"one' not in text:  # the line break may be an event of its own
            text += response.read1(65536)
        assert not Path(paths.workspace, "go").exists()
        response.close()  # the client disconnects; the execution continues
        Path(paths.workspace, "go").touch()
        wait_until(lambda: pod.client.ask("GET", "/executions/1")[1]["status"] == "SUCCESS")
        replay = pod.client.open("GET", "/executions/1/stream").read().decode()
        assert "event: end" in replay
        assert "two" in replay
