"""The command line against a real cluster."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from nanogrid import names
from nanogrid.cli.app.exits import Exit
from nanogrid.cli.main import app
from nanogrid.types import Json
from scripts.devaccess import DevAccess
from support.kubectl import FINISH_SECONDS, Namespace, eventually

PROGRAM = [sys.executable, "-c", "from nanogrid.cli.main import main; main()"]
CALL_SECONDS = 120
SMALL = ["--memory", "64Mi", "--cpu", "100m"]


@dataclass(frozen=True)
class Completed:
    """The result of a command."""

    returncode: int
    stdout: str
    stderr: str


RunCli = Callable[..., Completed]


@pytest.fixture
def cli(namespace: Namespace) -> RunCli:
    """Runs commands in the test's namespace, in this process, which saves the imports."""

    def run(*args: str) -> Completed:
        done = CliRunner(env={"NANOGRID_NAMESPACE": namespace.name}).invoke(app, list(args))
        # Any exception except SystemExit would be a traceback.
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
        return Completed(done.exit_code, done.stdout, done.stderr)

    return run


def in_a_process(namespace: Namespace, *args: str) -> Completed:
    """Runs the program in its own process."""
    done = subprocess.run(
        [*PROGRAM, *args],
        env={**os.environ, "NANOGRID_NAMESPACE": namespace.name},
        capture_output=True,
        text=True,
        timeout=CALL_SECONDS,
    )
    return Completed(done.returncode, done.stdout, done.stderr)


def data(done: Completed) -> Any:
    """The printed JSON; stderr must be empty."""
    assert done.stderr == "", done.stderr
    return json.loads(done.stdout)


def test_a_job_and_its_outputs(cli: RunCli, namespace: Namespace, tmp_path: Path) -> None:
    code = "import os; open('output/x.txt', 'w').write(os.environ['WHO']); print('hello')"
    args = ["run", "-c", code, "--name", "good", "-e", "WHO=me", *SMALL]
    ran = in_a_process(namespace, *args)
    assert (ran.returncode, ran.stdout) == (0, "hello\n"), ran.stderr
    assert "good: Succeeded in " in ran.stderr
    got = cli("outputs", "get", "good", "--to", str(tmp_path))
    assert got.returncode == 0, got.stderr
    assert (tmp_path / "x.txt").read_text() == "me"
    assert cli("logs", "good").stdout == "hello\n"
    (listed,) = data(cli("list", "-o", "json"))
    assert listed["metadata"]["name"] == "good"
    assert cli("list", "-o", "name").stdout == f"{names.SINGULAR}.{names.GROUP}/good\n"
    assert "Succeeded" in cli("get", "@latest").stdout


def test_a_failing_run_has_the_codes_exit_code_and_why_explains_it(cli: RunCli) -> None:
    ran = cli("run", "-c", "raise SystemExit(7)", "--name", "bad", "-o", "json", *SMALL)
    assert (ran.returncode, data(ran)["reason"]) == (7, "NonZeroExit")
    diagnosis: Json = data(cli("why", "bad", "-o", "json"))
    assert (diagnosis["reason"], diagnosis["phase"]) == ("NonZeroExit", "Failed")
    assert diagnosis["hint"]
    steps = {step["what"] for step in diagnosis["timeline"]}
    assert {"job created", "pod created", "Finished: yes"} <= steps
    again = cli("retry", "bad")
    assert (again.returncode, again.stdout) == (7, "")
    assert cli("get", "absent").returncode == Exit.FAILED


def test_a_detached_job_is_cancelled(cli: RunCli, namespace: Namespace) -> None:
    started = cli("run", "-c", "import time; time.sleep(300)", "-d", "--name", "long", *SMALL)
    assert (started.returncode, started.stdout) == (0, "long\n")
    eventually(
        "the code runs", lambda: namespace.status("long").get("phase") == "Running", FINISH_SECONDS
    )
    assert cli("cancel", "long").returncode == 0
    assert namespace.finished("long")["reason"] == "Cancelled"


def test_doctor_finds_no_problem_and_cleanup_finds_a_leftover(
    cli: RunCli, namespace: Namespace
) -> None:
    found = data(cli("doctor", "-o", "json"))
    assert [one for one in found if one["state"] == "fail"] == []
    assert {"CRD", "operator", "Redis", "S3", "permissions"} <= {one["check"] for one in found}
    lost = {"app.kubernetes.io/name": "lost", names.LABEL_JOB_UID: "gone", names.LABEL_JOB: "old"}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "lost", "labels": lost},
        "spec": {"ports": [{"port": 80}]},
    }
    namespace.apply(service)
    shown = data(cli("cleanup", "--dry-run", "-o", "json"))["items"]
    assert [(one["kind"], one["name"], one["removed"]) for one in shown] == [
        ("Service", "lost", False)
    ]
    namespace.kubectl("get", "service", "lost")
    assert cli("cleanup", "--force").returncode == 0
    assert "lost" not in namespace.kubectl("get", "services", "-o", "name")


LIVE = """\
import pathlib, sys, time
print("begin")
print("oops", file=sys.stderr)
while not pathlib.Path("/tmp/go").exists():
    time.sleep(0.05)
print("end")
"""


def test_run_shows_what_the_code_prints_while_it_runs(namespace: Namespace) -> None:
    """The code waits until its first line has been read."""
    args = ["run", "-c", LIVE, "--name", "live", *SMALL]
    running = subprocess.Popen(
        [*PROGRAM, *args],
        env={**os.environ, "NANOGRID_NAMESPACE": namespace.name, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert running.stdout is not None
    try:
        lines: list[str] = []
        while not {"begin", "oops"} <= set(lines):
            line = running.stdout.readline()
            assert line, lines
            lines.append(line.strip())
        assert namespace.status("live").get("phase") not in ("Succeeded", "Failed")
        pod = namespace.kubectl("get", "pods", "-o", "name").strip()
        go = "open('/tmp/go', 'w')"
        namespace.kubectl("exec", pod, "-c", names.CONTAINER_SANDBOX, "--", "python3", "-c", go)
        rest, _ = running.communicate(timeout=CALL_SECONDS)
    finally:
        running.kill()
        running.wait()
    assert running.returncode == 0
    lines += [line.strip() for line in rest.splitlines()]
    assert [line for line in lines if line in ("begin", "oops", "end")] in (
        ["begin", "oops", "end"],
        ["oops", "begin", "end"],
    )


def test_bytes_that_are_not_text_reach_a_pipe(
    cli: RunCli, namespace: Namespace, dev: DevAccess
) -> None:
    code = "import os\nfor _ in range(4): os.write(1, bytes(range(256)))"
    want = bytes(range(256)) * 4
    env = {**os.environ, "NANOGRID_NAMESPACE": namespace.name}
    command = [*PROGRAM, "run", "-c", code, "--name", "bytes", *SMALL]
    done = subprocess.run(command, env=env, capture_output=True, timeout=CALL_SECONDS)
    assert (done.returncode, done.stdout) == (0, want), done.stderr
    assert b"stdout is not UTF-8 text" in done.stderr

    result = data(cli("get", "bytes", "-o", "json"))["status"]["result"]
    assert (result["stdoutEncoding"], result["stderrEncoding"]) == ("binary", "utf-8")
    assert result["stdoutBytes"] == len(want)
    assert "\ufffd" in result["stdout"]
    key = result["stdoutUrl"].removeprefix(f"s3://{dev.bucket}/")
    assert dev.s3.get_object(Bucket=dev.bucket, Key=key)["Body"].read() == want
    logs = [*PROGRAM, "logs", "bytes"]
    logged = subprocess.run(logs, env=env, capture_output=True, timeout=CALL_SECONDS)
    assert (logged.returncode, logged.stdout) == (0, want), logged.stderr


def test_long_output_is_complete_and_logs_follow_to_the_end(
    cli: RunCli, namespace: Namespace
) -> None:
    code = "import sys\nfor n in range(9000): print(n, 'x' * 20)\nprint('err', file=sys.stderr)"
    ran = in_a_process(namespace, "run", "-c", code, "--name", "long", *SMALL)
    expected = "".join(f"{n} {'x' * 20}\n" for n in range(9000))
    assert ran.returncode == 0, ran.stderr
    # Longer than the 64 KiB of a result, so it comes from S3 if the log is not split.
    assert ran.stdout == expected
    assert "err\n" in ran.stderr
    assert "left out" not in ran.stderr
    logged = cli("logs", "long").stdout.splitlines()
    assert sorted(logged) == sorted([*expected.splitlines(), "err"])
    for number in range(3):
        name = f"quick-{number}"
        assert cli("run", "-c", "print('quick')", "-d", "--name", name, *SMALL).returncode == 0
        followed = cli("logs", "-f", name)
        assert followed.stdout == "quick\n", followed


def test_a_function_from_upload_to_rightsize(
    cli: RunCli, namespace: Namespace, tmp_path: Path
) -> None:
    (tmp_path / "main.py").write_text(
        "import json, os\n"
        "data = json.load(open(os.environ['FUNCTION_INPUT']))\n"
        "print('v1', data['name'])\n"
    )
    upload = ["function", "upload", str(tmp_path), "--name", "greet"]
    uploaded = cli(*upload, "--memory", "256Mi", "--cpu", "100m")
    assert (uploaded.returncode, uploaded.stdout) == (0, "greet 1\n"), uploaded.stderr
    run = ["function", "run", "greet", "--input", '{"name": "민지"}']
    for _ in range(5):
        ran = cli(*run)
        assert (ran.returncode, ran.stdout) == (0, "v1 민지\n"), ran.stderr
    (tmp_path / "main.py").write_text("import sys; print('v2'); sys.exit(3)")
    assert cli(*upload).stdout == "greet 2\n"
    assert cli(*run, "--version", "1").stdout == "v1 민지\n"
    failed = cli(*run)
    assert (failed.returncode, failed.stdout) == (3, "v2\n")
    assert cli("function", "logs", "greet").stdout == "v2\n"

    def counted() -> bool:
        return bool(data(cli("function", "get", "greet", "-o", "json"))["status"].get("runs") == 7)

    eventually("the runs are counted", counted, FINISH_SECONDS)
    row = cli("function", "list").stdout.splitlines()[1].split()
    assert row[:4] == ["greet", "2", "7", "FAILED"]
    (advice,) = data(cli("rightsize", "greet", "-o", "json"))
    assert (advice["missing"], advice["currentBytes"]) == (0, 256 << 20)
    assert advice["savedBytes"] > 0
    assert cli("rightsize", "greet", "--apply", "--yes").returncode == 0
    limits = data(cli("function", "get", "greet", "-o", "json"))["spec"]["resources"]["limits"]
    assert limits == {"memory": advice["recommended"], "cpu": "100m"}
    assert cli("function", "delete", "greet", "--yes").returncode == 0
    gone = cli(*run)
    assert gone.returncode == Exit.FAILED
    assert "there is no function greet" in gone.stderr


PROBLEMS: dict[str, tuple[Json, str]] = {
    "oom": ({"code": {"inline": "x = bytearray(400 << 20)"}}, "OOMKilled"),
    "absent": (
        {
            "code": {"inline": "1"},
            "inputs": [
                {"name": "d", "s3": {"prefix": "NAMESPACE/no/such/"}, "mountPath": "/app/data"}
            ],
        },
        "InputNotFound",
    ),
    "slow": (
        {"code": {"inline": "import time; time.sleep(99)"}, "timeouts": {"executionSeconds": 1}},
        "ExecutionTimeout",
    ),
    "nofn": ({"functionRef": {"name": "never-uploaded"}}, "FunctionNotFound"),
    "huge": (
        {"code": {"inline": "1"}, "resources": {"limits": {"cpu": "900"}}},
        "Unschedulable",
    ),
    "image": (
        {"code": {"inline": "1"}, "runtime": {"image": "registry.invalid/none:1"}},
        "ImagePullFailed",
    ),
}


def test_why_explains_each_problem(cli: RunCli, namespace: Namespace) -> None:
    for name, (spec, _) in PROBLEMS.items():
        limits = {"limits": {"memory": "64Mi", "cpu": "100m"}}
        # All keys of a namespace are below its root.
        body = json.loads(
            json.dumps({"resources": limits} | spec).replace("NAMESPACE", namespace.name)
        )
        namespace.apply(
            {
                "apiVersion": names.API_VERSION,
                "kind": names.KIND,
                "metadata": {"name": name},
                "spec": body,
            }
        )
    for name, (_, reason) in PROBLEMS.items():
        diagnoses: list[Json] = []

        def known(name: str = name, reason: str = reason, seen: list[Json] = diagnoses) -> bool:
            seen[:] = [data(cli("why", name, "-o", "json"))]
            # Events of the pod may come after its state.
            return bool(seen[0]["reason"] == reason and seen[0]["evidence"])

        eventually(f"{name} is {reason}", known, FINISH_SECONDS)
        (found,) = diagnoses
        assert found["cause"], found
        assert found["hint"], found
        assert "job created" in {step["what"] for step in found["timeline"]}
        text = cli("why", name).stdout
        assert f": {reason}\n" in text
        assert "\nhint   " in text
    stopped = cli("cancel", "huge", "image", "--wait", "--timeout", "180s")
    assert stopped.returncode == 0, stopped.stderr
    assert "huge: Failed, Cancelled" in stopped.stderr
    cancelled = data(cli("why", "huge", "-o", "json"))
    assert (cancelled["reason"], bool(cancelled["hint"])) == ("Cancelled", True)


def test_a_session_from_new_to_rm(cli: RunCli, namespace: Namespace) -> None:
    created = cli("session", "new", "mine", "--memory", "128Mi", "--cpu", "200m", "--idle", "5m")
    assert (created.returncode, created.stdout) == (0, "mine\n"), created.stderr
    assert cli("session", "exec", "mine", "x = 41").returncode == 0
    printed = cli("session", "exec", "mine", "print(x + 1)")
    assert (printed.returncode, printed.stdout) == (0, "42\n"), printed.stderr
    assert cli("session", "exec", "mine", "--bash", "exit 5").returncode == 5
    assert "mine" in cli("session", "ls").stdout
    assert cli("session", "rm", "mine").returncode == 0
    assert namespace.kubectl("get", "ej", "-o", "name") == ""
