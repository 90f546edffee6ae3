"""Commands against an in-memory cluster: stdout, stderr and exit code."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from nanogrid import names
from nanogrid.cli.app.exits import MEANING, Exit
from nanogrid.cli.main import app
from nanogrid.types import Json
from support.cli_fakes import NAMESPACE, ended, job
from support.cli_terminal import Terminal


def test_submit_creates_each_job_of_a_file(terminal: Terminal, tmp_path: Path) -> None:
    first, second = job("first"), job("second")
    for one in (first, second):
        del one["status"]
    second["metadata"] = {"generateName": "more-"}
    first["metadata"] = {"name": "first", "namespace": "other"}
    file = tmp_path / "jobs.yaml"
    file.write_text(yaml.safe_dump_all([first, second]))
    done = terminal.run("submit", "-f", str(file), "-o", "name")
    assert done.exit_code == 0
    assert done.stdout.startswith("executionjob.nanogrid.io/first\nexecutionjob.nanogrid.io/more-")
    assert [namespace for namespace, _ in terminal.contexts] == ["other", None]


def test_submit_wait_exits_with_the_first_failure(terminal: Terminal) -> None:
    terminal.cluster.ends = {"status": "FAILED", "reason": "NonZeroExit", "exitCode": 9}
    manifest = job("first")
    del manifest["status"], manifest["metadata"]["namespace"]
    done = terminal.run("submit", "-f", "-", "--wait", stdin=json.dumps(manifest))
    assert (done.exit_code, done.stdout) == (9, "hello\n")


@pytest.mark.parametrize("text", ["a: [", "- 1", "{kind: Pod, apiVersion: v1}", "---"])
def test_submit_rejects_other_objects(terminal: Terminal, text: str) -> None:
    done = terminal.run("submit", "-f", "-", stdin=text)
    assert done.exit_code == Exit.USAGE
    assert terminal.cluster.created == []


def test_list_in_all_formats(terminal: Terminal) -> None:
    assert "no jobs in jobs" in terminal.run("list").stderr
    assert terminal.run("list", "-o", "json").stdout == "[]\n"
    terminal.cluster.add(ended("a"), job("b", "Running", "Executing"))
    table = terminal.run("list").stdout.splitlines()
    assert table[0].split() == ["NAME", "PHASE", "REASON", "EXIT", "DURATION", "PEAK", "AGE"]
    assert table[1].split()[:4] == ["a", "Succeeded", "Completed", "0"]
    assert terminal.run("list", "-A").stdout.startswith("NAMESPACE")
    assert terminal.run("list", "-o", "name", "--phase", "Running").stdout.endswith("/b\n")
    assert [
        one["metadata"]["name"] for one in json.loads(terminal.run("list", "-o", "json").stdout)
    ]


def test_get_and_latest(terminal: Terminal) -> None:
    old, new = ended("old"), ended("new")
    new["metadata"]["creationTimestamp"] = "2026-05-01T00:00:00Z"
    terminal.cluster.add(old, new)
    assert "jobs/new\n" in terminal.run("get", "@latest").stdout
    assert terminal.run("get", "old", "-o", "name").stdout.endswith("/old\n")


def test_logs_of_an_ended_job_come_from_its_result(terminal: Terminal) -> None:
    terminal.cluster.add(ended("a", stdout="one\ntwo\n"))
    assert terminal.run("logs", "a").stdout == "one\ntwo\n"


def test_why_reads_job_pod_and_events(terminal: Terminal) -> None:
    terminal.cluster.add(ended("a", status="FAILED", reason="OOMKilled", exitCode=137))
    diagnosis = json.loads(terminal.run("why", "a", "-o", "json").stdout)
    assert diagnosis["reason"] == "OOMKilled"
    assert "memory" in diagnosis["hint"]
    terminal.cluster.forbidden.add(f"/api/v1/namespaces/{NAMESPACE}/pods")
    done = terminal.run("why", "a")
    assert done.exit_code == 0
    assert "incomplete: " in done.stderr


def test_cancel_skips_finished_jobs(terminal: Terminal) -> None:
    terminal.cluster.add(ended("over"), job("busy", "Running", "Executing"))
    done = terminal.run("cancel", "over", "busy")
    assert done.exit_code == 0
    ((name, body),) = terminal.cluster.patches
    assert (name, body["spec"]) == ("busy", {"cancel": True})
    assert "over has already finished" in done.stderr


def test_cancel_wait_waits_for_the_end(terminal: Terminal) -> None:
    terminal.cluster.add(job("busy", "Running", "Executing"))
    terminal.cluster.ends = {"status": "FAILED", "reason": "Cancelled", "exitCode": 143}
    done = terminal.run("cancel", "busy", "--wait", "--timeout", "9s")
    assert done.exit_code == 0
    assert done.stderr.splitlines() == ["busy is being cancelled", "busy: Failed, Cancelled"]


def test_shortened_output_is_reported(terminal: Terminal) -> None:
    terminal.cluster.ends = {"stdout": "end\n", "stdoutBytes": 99, "stdoutTruncated": True}
    done = terminal.run("run", "-c", "x")
    assert done.stdout == "end\n"
    assert "95 bytes of stdout are left out before its end" in done.stderr
    logs = terminal.run("logs", "@latest")
    assert logs.stdout == "end\n"
    assert "95 bytes of stdout are left out" in logs.stderr


def test_outputs_that_no_pattern_matches_are_reported(terminal: Terminal) -> None:
    text = "2 files match no include pattern: a, b."
    terminal.cluster.ends = {"outputsNote": text}
    done = terminal.run("run", "-c", "x")
    assert done.exit_code == 0
    assert f"warning: {text}" in done.stderr
    found = terminal.run("outputs", "ls", "@latest")
    assert (found.exit_code, found.stdout) == (0, "")
    assert text in found.stderr
    assert terminal.run("outputs", "ls", "@latest", "-o", "json").stdout == "[]\n"


def test_retry_needs_a_finished_job(terminal: Terminal) -> None:
    terminal.cluster.add(ended("over", status="FAILED", reason="NonZeroExit", exitCode=1))
    terminal.cluster.add(job("busy", "Running", "Executing"))
    assert terminal.run("retry", "over").exit_code == 0
    assert len(terminal.cluster.created) == 1
    done = terminal.run("retry", "busy")
    assert done.exit_code == Exit.FAILED
    assert "nanogrid cancel busy" in done.stderr


def test_outputs_are_listed_and_stay_in_the_folder(terminal: Terminal, tmp_path: Path) -> None:
    def output(path: str) -> Json:
        url = f"s3://b/{path}"
        return {"path": path, "url": url, "bytes": 1, "sha256": "a" * 64, "contentType": "x/y"}

    terminal.cluster.add(
        ended("a", outputs=[output("x.csv"), output("../evil")]), job("b", "Running")
    )
    assert terminal.run("outputs", "ls", "a", "-o", "name").stdout == "x.csv\n../evil\n"
    done = terminal.run("outputs", "get", "a", "../evil", "--to", str(tmp_path / "to"))
    assert done.exit_code == Exit.FAILED
    assert "outside" in done.stderr
    done = terminal.run("outputs", "get", "a", "absent")
    assert "x.csv" in done.stderr
    assert terminal.run("outputs", "ls", "b").exit_code == Exit.FAILED


def test_upload_prints_the_uri(terminal: Terminal, tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_text("abc")
    assert terminal.run("upload", str(file), "k").stdout == "s3://bucket/k\n"
    assert terminal.run("upload", "absent").exit_code == Exit.FAILED


def test_top_ranks_by_peak(terminal: Terminal) -> None:
    small, large = ended("small", peakMemoryBytes=1 << 20), ended("large", peakMemoryBytes=64 << 20)
    large["status"]["peakMemory"] = "64Mi/256Mi"
    large["spec"]["functionRef"] = {"name": "report"}
    terminal.cluster.add(small, large)
    first, second = json.loads(terminal.run("top", "-o", "json").stdout)
    assert (first["name"], first["usedPercent"]) == ("large", 25)
    assert (first["functionId"], second["functionId"]) == ("report", None)
    assert (second["name"], second["usedPercent"]) == ("small", None)
    assert "25%" in terminal.run("top").stdout


def running(name: str, memory: str, peak: str, **spec: Any) -> Json:
    """A job whose code runs and uses memory."""
    found = job(name, "Running", "Executing", **spec)
    found["status"] |= {"memory": memory, "peakMemory": peak}
    return found


def test_top_shows_running_jobs_first_by_their_use_now(terminal: Terminal) -> None:
    done = ended("done", peakMemoryBytes=200 << 20)
    light, heavy = running("light", "38Mi", "99Mi/256Mi"), running("heavy", "64Mi", "64Mi/256Mi")
    terminal.cluster.add(done, light, job("waits"), heavy)

    found = json.loads(terminal.run("top", "-o", "json").stdout)
    assert [one["name"] for one in found] == ["heavy", "light", "done", "waits"]
    assert [one["memoryBytes"] for one in found] == [64 << 20, 38 << 20, None, None]
    assert (found[1]["peakMemoryBytes"], found[1]["memoryLimitBytes"]) == (99 << 20, 256 << 20)
    row = terminal.run("top").stdout.splitlines()[2].split()
    assert row[1:6] == ["light", "Running", "38Mi", "99Mi", "256Mi"]


def test_top_keeps_printing_changes(terminal: Terminal) -> None:
    jobs = [running("a", f"{size}Mi", "64Mi/256Mi") for size in (8, 64)]
    events = [{"type": "MODIFIED", "object": one} for one in jobs]
    terminal.cluster.watch = lambda *_, **__: iter(events)  # type: ignore[method-assign]

    rows = terminal.run("top", "-w").stdout.splitlines()
    assert [row.split()[3] for row in rows] == ["NOW", "8Mi", "64Mi"]
    lines = terminal.run("top", "-w", "-o", "json").stdout.splitlines()
    assert [json.loads(line)["memoryBytes"] for line in lines] == [8 << 20, 64 << 20]


def test_get_why_and_session_ls_show_the_memory_now(terminal: Terminal) -> None:
    terminal.cluster.add(
        running("a", "38Mi", "41Mi/256Mi"), running("s", "99Mi", "120Mi/1Gi", mode="Session")
    )
    assert "memory      38Mi now, peak 41Mi/256Mi" in terminal.run("get", "a").stdout
    assert "memory 38Mi now, peak 41Mi/256Mi" in terminal.run("why", "a").stdout
    head, row = terminal.run("session", "ls").stdout.splitlines()
    assert head.split()[5] == "MEMORY"
    assert "99Mi" in row.split()


def test_session_commands_accept_sessions_only(terminal: Terminal) -> None:
    terminal.cluster.add(job("s", "Running", "SessionReady", mode="Session"), ended("a"))
    assert terminal.run("session", "ls", "-o", "name").stdout.endswith("/s\n")
    assert terminal.run("session", "ls").stdout.split()[:2] == ["NAME", "PHASE"]
    assert terminal.run("session", "ls", "-A").stdout.split()[:2] == ["NAMESPACE", "NAME"]
    assert terminal.run("session", "exec", "a", "1").exit_code == Exit.USAGE
    assert terminal.run("session", "exec", "s").exit_code == Exit.USAGE
    done = terminal.run("session", "rm", "s", "--force")
    assert done.exit_code == 0
    assert terminal.cluster.deleted == [f"{terminal.cluster.jobs_path()}/s#uid-s"]


def test_session_new_creates_a_session(terminal: Terminal) -> None:
    done = terminal.run("session", "new", "mine", "--idle", "5m", "--no-wait", "--memory", "1Gi")
    assert (done.exit_code, done.stdout) == (0, "mine\n")
    spec = terminal.cluster.created[0]["spec"]
    assert (spec["mode"], spec["session"]) == ("Session", {"idleTimeoutSeconds": 300})
    assert "poolRef" not in spec


def test_session_new_takes_a_pod_of_a_pool(terminal: Terminal) -> None:
    assert terminal.run("session", "new", "--pool", "fast", "--no-wait").exit_code == 0
    spec = terminal.cluster.created[0]["spec"]
    assert (spec["mode"], spec["poolRef"]) == ("Session", {"name": "fast"})


def test_init_writes_a_valid_job_and_overwrites_nothing(terminal: Terminal, tmp_path: Path) -> None:
    folder = tmp_path / "first"
    assert terminal.run("init", str(folder)).exit_code == 0
    compile((folder / "main.py").read_text(), "main.py", "exec")
    assert terminal.run("submit", "-f", str(folder / "job.yaml")).exit_code == 0
    assert terminal.cluster.created[0]["kind"] == names.KIND
    assert terminal.run("init", str(folder)).exit_code == Exit.USAGE


def test_cluster_options_reach_the_client(terminal: Terminal) -> None:
    terminal.cluster.add(ended("a"))
    terminal.run("list", "-n", "x", "--context", "c", "--kubeconfig", "k")
    namespace, ctx = terminal.contexts[0]
    assert (namespace, ctx.context, ctx.kubeconfig) == ("x", "c", "k")


def test_version(terminal: Terminal) -> None:
    assert "v1.34.4" in terminal.run("version").stdout
    assert list(json.loads(terminal.run("version", "--client", "-o", "json").stdout)) == ["client"]


def test_every_exit_code_is_in_help_and_in_the_docs(terminal: Terminal) -> None:
    text = terminal.run("run", "--help").stdout
    docs = Path("docs/cli.md").read_text()
    for code in Exit:
        assert f"{code.value:>4}  {MEANING[code]}"[:60] in text
        assert f"| {code.value} | {MEANING[code]} |" in docs


def test_every_command_is_in_the_docs(terminal: Terminal) -> None:
    docs = Path("docs/cli.md").read_text()
    for command in app.registered_commands:
        assert f"nanogrid {command.name}" in docs
    for group in app.registered_groups:
        assert f"nanogrid {group.name} " in docs
