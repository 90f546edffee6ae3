"""The command line finds, explains and deletes jobs of a real cluster."""

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from nanogrid import names
from nanogrid.cli.app.exits import Exit
from nanogrid.cli.main import program
from nanogrid.client.jobs.selection import created
from nanogrid.types import Json
from support.kubectl import FINISH_SECONDS, Namespace, eventually, inline, job

PROGRAM = [sys.executable, "-c", "from nanogrid.cli.main import main; main()"]
CALL_SECONDS = 120
SMALL = ["--memory", "64Mi", "--cpu", "100m"]
RunCli = Callable[..., Any]


@pytest.fixture
def cli(namespace: Namespace) -> RunCli:
    """Runs commands in the test's namespace, which each command line names before its verb."""

    def run(*args: str) -> Any:
        done = CliRunner().invoke(program(), ["-n", namespace.name, *args])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
        return done

    return run


def names_of(done: Any) -> list[str]:
    """The names of the jobs in JSON."""
    found = json.loads(done.stdout)
    items = found["items"] if isinstance(found, dict) else found
    return [one["name"] if "name" in one else one["metadata"]["name"] for one in items]


def labelled(manifest: Json, **labels: str) -> Json:
    manifest["metadata"]["labels"] = labels
    return manifest


def test_jobs_are_filtered_and_deleted(cli: RunCli, namespace: Namespace) -> None:
    namespace.apply(
        labelled(inline("good", "print(1)"), app="report"),
        labelled(inline("bad", "raise SystemExit(3)"), app="report"),
        labelled(inline("busy", "import time; time.sleep(600)"), app="other"),
    )
    for name in ("good", "bad"):
        namespace.finished(name)
    eventually(
        "busy runs", lambda: namespace.status("busy").get("phase") == "Running", FINISH_SECONDS
    )

    assert sorted(names_of(cli("list", "-o", "json"))) == ["bad", "busy", "good"]
    assert names_of(cli("list", "--phase", "running", "-o", "json")) == ["busy"]
    assert names_of(cli("list", "--phase", "FAILED", "-l", "app=report", "-o", "json")) == ["bad"]
    assert len(names_of(cli("list", "--since", "1h", "--limit", "1", "-o", "json"))) == 1
    wrong = cli("list", "--phase", "runing")
    assert (wrong.exit_code, wrong.stdout) == (Exit.USAGE, "")
    shown = cli("get", "bad", "-o", "yaml").stdout
    assert "managedFields" not in shown
    assert "exit code   3\n" in cli("get", "bad").stdout
    assert "POD" in cli("list", "-o", "wide").stdout

    assert names_of(cli("delete", "--older", "1d", "--dry-run", "-o", "json")) == []
    found = cli("delete", "-l", "app=report", "--dry-run", "-o", "json")
    assert sorted(names_of(found)) == ["bad", "good"]
    assert cli("delete", "--phase", "failed", "--yes").exit_code == 0
    assert cli("delete", "-l", "app in (report, other)", "--yes").exit_code == 0
    assert namespace.kubectl("get", "ej", "-o", "name").split() == [
        f"{names.SINGULAR}.{names.GROUP}/busy"
    ]
    assert cli("delete", "busy", "--yes").exit_code == 0
    assert namespace.kubectl("get", "ej", "-o", "name") == ""


def test_a_job_that_never_ran_says_why(cli: RunCli, namespace: Namespace) -> None:
    namespace.apply(inline("image", "1", runtime={"image": "registry.invalid/none:1"}))
    eventually(
        "the image cannot be pulled",
        lambda: namespace.status("image").get("reason") == "ImagePullFailed",
        FINISH_SECONDS,
    )
    waiting = cli("logs", "image")
    assert waiting.exit_code == Exit.FAILED
    assert "error: image has not started (Pending, ImagePullFailed)" in waiting.stderr
    explained = cli("why", "image").stdout
    assert explained.count("registry.invalid: no such host") <= 1
    assert "Readiness" not in explained
    assert "hint   Check --image" in explained
    assert cli("cancel", "image", "--wait", "--timeout", "90s").exit_code == 0
    for command in (["logs"], ["outputs", "ls"], ["outputs", "get"]):
        done = cli(*command, "image")
        assert (done.exit_code, done.stdout) == (Exit.FAILED, "")
        assert (
            "error: image has no output: Cancelled. It was stopped before its code" in done.stderr
        )


def test_a_wrong_name_and_a_wrong_field_are_refused_in_the_words_of_the_program(
    cli: RunCli, tmp_path: Path
) -> None:
    named = cli("run", "-c", "print(1)", "--name", "UPPER")
    assert named.exit_code == Exit.USAGE
    assert "not a valid name of a job" in named.stderr
    file = tmp_path / "job.yaml"
    file.write_text(json.dumps(job("typo", code={"inlin": "x"})))
    typo = cli("submit", "-f", str(file))
    assert typo.exit_code == Exit.USAGE
    assert 'unknown field "inlin" (did you mean "inline"?)' in typo.stderr


def test_the_first_job_runs_the_first_program(
    cli: RunCli, namespace: Namespace, tmp_path: Path
) -> None:
    begun = cli("init", str(tmp_path / "first"))
    assert begun.exit_code == 0
    # The next steps as they are printed.
    lines = [line.partition(": ")[2] for line in begun.stderr.splitlines() if ": " in line]
    run, _, submit, create = (shlex.split(line) for line in lines)
    for words in (run, submit):
        done = cli(*words[1:])
        assert (done.exit_code, done.stdout) == (0, "0 input files\n"), done.stderr
    namespace.kubectl(*create[1:])
    namespace.kubectl(*create[1:])


def test_a_shell_completes_names_of_the_cluster(namespace: Namespace) -> None:
    namespace.run(inline("report-1", "print(1)"))
    line = f"nanogrid -n {namespace.name} get rep"
    variables = {"_NANOGRID_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": "4"}
    done = subprocess.run(
        PROGRAM,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=CALL_SECONDS,
    )
    assert (done.stdout.split(), done.stderr) == (["report-1"], "")


def test_a_misleading_name_of_an_output(cli: RunCli, tmp_path: Path) -> None:
    # Reads as "reportexe.jpg" where the formatting character takes effect.
    exact, shown = "report\u202egpj.exe", r"report\u202egpj.exe"
    code = f"open('output/' + {exact!a}, 'w').write('x')"
    assert cli("run", "-c", code, "--name", "misleading", *SMALL).exit_code == 0
    listed = cli("outputs", "ls", "misleading").stdout
    assert shown in listed
    assert exact not in listed
    got = cli("outputs", "get", "misleading", exact, "--to", str(tmp_path))
    assert (got.exit_code, f"saved {tmp_path}/{shown}\n") == (0, got.stderr)
    assert (tmp_path / exact).read_text() == "x"
    # A list of S3 cannot express this name.
    refused = cli("run", "-c", "open('output/a\\ufffeb', 'w')", "--name", "refused", *SMALL)
    assert refused.exit_code == Exit.INFRASTRUCTURE
    assert "U+FFFE in place 2" in refused.stderr


def test_files_that_are_no_code_and_wrong_credentials(cli: RunCli, tmp_path: Path) -> None:
    manifest = tmp_path / "job.yaml"
    manifest.write_text(json.dumps({"apiVersion": names.API_VERSION, "kind": names.KIND}))
    wrong = cli("run", str(manifest))
    assert wrong.exit_code == Exit.USAGE
    assert f"hint: For a manifest: nanogrid submit -f {manifest}" in wrong.stderr
    gateway = ("function", "list", "--gateway", "http://127.0.0.1:1")
    done = subprocess.run(
        [*PROGRAM, *gateway],
        env={**os.environ, "NANOGRID_TOKEN": "a\nb"},
        capture_output=True,
        text=True,
        timeout=CALL_SECONDS,
    )
    assert done.returncode == Exit.UNREACHABLE
    assert done.stderr.startswith("error: $NANOGRID_TOKEN has a line end in place 2.\n")


def test_the_newest_job_without_reading_all(cli: RunCli) -> None:
    def start(name: str) -> float:
        """Start a job; when it was created, in seconds since the epoch."""
        assert cli("run", "-d", "-c", "print(1)", "--name", name, *SMALL).exit_code == 0
        return created(json.loads(cli("get", name, "-o", "json").stdout))

    # The API server lists by name, and creation times are whole seconds.
    first = start("apple")
    assert eventually("the next second", lambda: time.time() > first + 1)
    assert start("zebra") > first
    assert cli("get", "@latest", "-o", "name").stdout.endswith("/zebra\n")
    assert cli("list", "--limit", "1", "-o", "name").stdout.endswith("/zebra\n")
