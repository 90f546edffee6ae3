"""The command line on a cluster, as a user types it."""

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

from e2e.support import FINISH_SECONDS, Json, Namespace, eventually
from nanogrid import names
from nanogrid.cli.exits import Exit
from nanogrid.cli.main import app

PROGRAM = [sys.executable, "-c", "from nanogrid.cli.main import main; main()"]
CALL_SECONDS = 120
SMALL = ["--memory", "64Mi", "--cpu", "100m"]


@dataclass(frozen=True)
class Done:
    """What came of a command."""

    returncode: int
    stdout: str
    stderr: str


Typed = Callable[..., Done]


@pytest.fixture
def typed(namespace: Namespace) -> Typed:
    """The commands in a namespace of the test's own; in this process, which saves the imports."""

    def run(*words: str) -> Done:
        done = CliRunner(env={"NANOGRID_NAMESPACE": namespace.name}).invoke(app, list(words))
        # An exception that is no exit would be a traceback.
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
        return Done(done.exit_code, done.stdout, done.stderr)

    return run


def in_a_process(namespace: Namespace, *words: str) -> Done:
    """The program itself."""
    done = subprocess.run(
        [*PROGRAM, *words],
        env={**os.environ, "NANOGRID_NAMESPACE": namespace.name},
        capture_output=True,
        text=True,
        timeout=CALL_SECONDS,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def data(done: Done) -> Any:
    """The JSON that was printed, with nothing beside it."""
    assert done.stderr == "", done.stderr
    return json.loads(done.stdout)


def test_a_job_its_outputs_and_what_is_told_of_it(
    typed: Typed, namespace: Namespace, tmp_path: Path
) -> None:
    code = "import os; open('output/x.txt', 'w').write(os.environ['WHO']); print('hello')"
    words = ["run", "-c", code, "--name", "good", "-e", "WHO=me", *SMALL]
    ran = in_a_process(namespace, *words)
    assert (ran.returncode, ran.stdout) == (0, "hello\n"), ran.stderr
    assert "good: Succeeded in " in ran.stderr
    got = typed("outputs", "get", "good", "--to", str(tmp_path))
    assert got.returncode == 0, got.stderr
    assert (tmp_path / "x.txt").read_text() == "me"
    assert typed("logs", "good").stdout == "hello\n"
    (listed,) = data(typed("list", "-o", "json"))
    assert listed["metadata"]["name"] == "good"
    assert typed("list", "-o", "name").stdout == f"{names.SINGULAR}.{names.GROUP}/good\n"
    assert "Succeeded" in typed("get", "@latest").stdout


def test_a_failing_run_has_the_codes_exit_code_and_why_explains_it(typed: Typed) -> None:
    ran = typed("run", "-c", "raise SystemExit(7)", "--name", "bad", "-o", "json", *SMALL)
    assert (ran.returncode, data(ran)["reason"]) == (7, "NonZeroExit")
    told: Json = data(typed("why", "bad", "-o", "json"))
    assert (told["reason"], told["phase"]) == ("NonZeroExit", "Failed")
    assert told["cure"]
    assert {"job created", "pod created", "Finished: yes"} <= {s["what"] for s in told["timeline"]}
    again = typed("retry", "bad")
    assert (again.returncode, again.stdout) == (7, "")
    assert typed("get", "absent").returncode == Exit.FAILED


def test_a_detached_job_is_cancelled(typed: Typed, namespace: Namespace) -> None:
    started = typed("run", "-c", "import time; time.sleep(300)", "-d", "--name", "long", *SMALL)
    assert (started.returncode, started.stdout) == (0, "long\n")
    eventually(
        "the code runs", lambda: namespace.status("long").get("phase") == "Running", FINISH_SECONDS
    )
    assert typed("cancel", "long").returncode == 0
    assert namespace.finished("long")["reason"] == "Cancelled"


def test_doctor_is_content_and_cleanup_finds_what_lost_its_job(
    typed: Typed, namespace: Namespace
) -> None:
    found = data(typed("doctor", "-o", "json"))
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
    shown = data(typed("cleanup", "--dry-run", "-o", "json"))["items"]
    assert [(one["kind"], one["name"], one["removed"]) for one in shown] == [
        ("Service", "lost", False)
    ]
    namespace.kubectl("get", "service", "lost")
    assert typed("cleanup", "--force").returncode == 0
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
    """The code waits until somebody has seen its first line."""
    words = ["run", "-c", LIVE, "--name", "live", *SMALL]
    running = subprocess.Popen(
        [*PROGRAM, *words],
        env={**os.environ, "NANOGRID_NAMESPACE": namespace.name, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert running.stdout is not None
    try:
        told: list[str] = []
        while not {"begin", "oops"} <= set(told):
            line = running.stdout.readline()
            assert line, told
            told.append(line.strip())
        assert namespace.status("live").get("phase") not in ("Succeeded", "Failed")
        pod = namespace.kubectl("get", "pods", "-o", "name").strip()
        go = "open('/tmp/go', 'w')"
        namespace.kubectl("exec", pod, "-c", names.CONTAINER_SANDBOX, "--", "python3", "-c", go)
        rest, _ = running.communicate(timeout=CALL_SECONDS)
    finally:
        running.kill()
        running.wait()
    assert running.returncode == 0
    every = [*told, *(line.strip() for line in rest.splitlines())]
    assert [line for line in every if line in ("begin", "oops", "end")] in (
        ["begin", "oops", "end"],
        ["oops", "begin", "end"],
    )


def test_long_output_is_whole_and_split_and_logs_follow_to_the_end(
    typed: Typed, namespace: Namespace
) -> None:
    code = "import sys\nfor n in range(9000): print(n, 'x' * 20)\nprint('err', file=sys.stderr)"
    ran = in_a_process(namespace, "run", "-c", code, "--name", "long", *SMALL)
    expected = "".join(f"{n} {'x' * 20}\n" for n in range(9000))
    assert ran.returncode == 0, ran.stderr
    # Beyond the 64 KiB of a result, so it comes from S3 where the log is not split.
    assert ran.stdout == expected
    assert "err\n" in ran.stderr
    assert "left out" not in ran.stderr
    logged = typed("logs", "long").stdout.splitlines()
    assert sorted(logged) == sorted([*expected.splitlines(), "err"])
    for number in range(3):
        name = f"quick-{number}"
        assert typed("run", "-c", "print('quick')", "-d", "--name", name, *SMALL).returncode == 0
        followed = typed("logs", "-f", name)
        assert followed.stdout == "quick\n", followed


def test_a_function_from_upload_to_rightsize(
    typed: Typed, namespace: Namespace, tmp_path: Path
) -> None:
    (tmp_path / "main.py").write_text(
        "import json, os\n"
        "data = json.load(open(os.environ['FUNCTION_INPUT']))\n"
        "print('v1', data['name'])\n"
    )
    upload = ["function", "upload", str(tmp_path), "--name", "greet"]
    made = typed(*upload, "--memory", "256Mi", "--cpu", "100m")
    assert (made.returncode, made.stdout) == (0, "greet 1\n"), made.stderr
    run = ["function", "run", "greet", "--input", '{"name": "민지"}']
    for _ in range(5):
        ran = typed(*run)
        assert (ran.returncode, ran.stdout) == (0, "v1 민지\n"), ran.stderr
    (tmp_path / "main.py").write_text("import sys; print('v2'); sys.exit(3)")
    assert typed(*upload).stdout == "greet 2\n"
    assert typed(*run, "--version", "1").stdout == "v1 민지\n"
    failed = typed(*run)
    assert (failed.returncode, failed.stdout) == (3, "v2\n")
    assert typed("function", "logs", "greet").stdout == "v2\n"

    def counted() -> bool:
        return bool(
            data(typed("function", "get", "greet", "-o", "json"))["status"].get("runs") == 7
        )

    eventually("the runs are counted", counted, FINISH_SECONDS)
    row = typed("function", "list").stdout.splitlines()[1].split()
    assert row[:4] == ["greet", "2", "7", "FAILED"]
    (advice,) = data(typed("rightsize", "greet", "-o", "json"))
    assert (advice["missing"], advice["currentBytes"]) == (0, 256 << 20)
    assert advice["savedBytes"] > 0
    assert typed("rightsize", "greet", "--apply", "--yes").returncode == 0
    limits = data(typed("function", "get", "greet", "-o", "json"))["spec"]["resources"]["limits"]
    assert limits == {"memory": advice["recommended"], "cpu": "100m"}
    assert typed("function", "delete", "greet", "--yes").returncode == 0
    gone = typed(*run)
    assert gone.returncode == Exit.FAILED
    assert "there is no function greet" in gone.stderr


TROUBLES: dict[str, tuple[Json, str]] = {
    "oom": ({"code": {"inline": "x = bytearray(400 << 20)"}}, "OOMKilled"),
    "absent": (
        {
            "code": {"inline": "1"},
            "inputs": [{"name": "d", "s3": {"prefix": "no/such/"}, "mountPath": "/app/data"}],
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


def test_why_gives_cause_evidence_cure_and_timeline_of_each_trouble(
    typed: Typed, namespace: Namespace
) -> None:
    for name, (spec, _) in TROUBLES.items():
        limits = {"limits": {"memory": "64Mi", "cpu": "100m"}}
        body = {"resources": limits} | spec
        namespace.apply(
            {
                "apiVersion": names.API_VERSION,
                "kind": names.KIND,
                "metadata": {"name": name},
                "spec": body,
            }
        )
    for name, (_, reason) in TROUBLES.items():
        told: list[Json] = []

        def known(name: str = name, reason: str = reason, told: list[Json] = told) -> bool:
            told[:] = [data(typed("why", name, "-o", "json"))]
            return bool(told[0]["reason"] == reason)

        eventually(f"{name} is {reason}", known, FINISH_SECONDS)
        (found,) = told
        assert found["cause"], found
        assert found["cure"], found
        assert found["evidence"], found
        assert "job created" in {step["what"] for step in found["timeline"]}
        text = typed("why", name).stdout
        assert f": {reason}\n" in text
        assert "\ncure   " in text
    stopped = typed("cancel", "huge", "image", "--wait", "--timeout", "90s")
    assert stopped.returncode == 0, stopped.stderr
    assert "huge: Failed, Cancelled" in stopped.stderr
    cancelled = data(typed("why", "huge", "-o", "json"))
    assert (cancelled["reason"], bool(cancelled["cure"])) == ("Cancelled", True)


def test_a_session_from_new_to_rm(typed: Typed, namespace: Namespace) -> None:
    made = typed("session", "new", "mine", "--memory", "128Mi", "--cpu", "200m", "--idle", "5m")
    assert (made.returncode, made.stdout) == (0, "mine\n"), made.stderr
    assert typed("session", "exec", "mine", "x = 41").returncode == 0
    asked = typed("session", "exec", "mine", "print(x + 1)")
    assert (asked.returncode, asked.stdout) == (0, "42\n"), asked.stderr
    assert typed("session", "exec", "mine", "--bash", "exit 5").returncode == 5
    assert "mine" in typed("session", "ls").stdout
    assert typed("session", "rm", "mine").returncode == 0
    assert namespace.kubectl("get", "ej", "-o", "name") == ""
