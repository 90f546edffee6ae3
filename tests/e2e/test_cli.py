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
