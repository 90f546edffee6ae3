"""Function commands, through the API server and through a gateway."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from nanogrid import names
from nanogrid.api.function import Function
from nanogrid.api.job import ExecutionJob
from nanogrid.cli.app.exits import Exit
from nanogrid.cli.http_serving import serving
from support.cli_fakes import CREATED, ended, function, recent
from support.cli_terminal import Terminal
from support.fake_gateway import PENDING, RESULT, FakeGateway

LAST = {"requestId": "r-9", "status": "FAILED", "reason": "OOMKilled", "time": CREATED}
ADVICE = {"memory": "64Mi", "basedOn": 9, "p95PeakBytes": 40 << 20}


@pytest.fixture
def code(tmp_path: Path) -> Path:
    folder = tmp_path / "Monthly Report"
    folder.mkdir()
    (folder / "main.py").write_text("print(1)")
    return folder


def test_list_shows_runs_and_recommended_memory(terminal: Terminal) -> None:
    assert "no functions in jobs" in terminal.run("function", "list").stderr
    assert terminal.run("function", "list", "-o", "json").stdout == "[]\n"
    used = function("report", "256Mi", runs=9, lastRun=LAST, recommendation=ADVICE)
    terminal.cluster.add_functions(used, function("fresh"))
    head, fresh, report = terminal.run("function", "list").stdout.splitlines()
    assert head.split() == ["NAME", "VERSIONS", "RUNS", "LAST", "RECOMMENDED", "AGE"]
    assert fresh.split()[:3] == ["fresh", "1", "0"]
    assert report.split()[:5] == ["report", "1", "9", "FAILED", "64Mi"]
    assert "256Mi" not in report
    wide = terminal.run("function", "list", "-o", "wide").stdout
    assert "256Mi" in wide
    assert terminal.run("function", "list", "-A").stdout.startswith("NAMESPACE")
    shown = terminal.run("function", "list", "-o", "name").stdout
    assert shown == "function.nanogrid.io/fresh\nfunction.nanogrid.io/report\n"
    listed = yaml.safe_load(terminal.run("function", "list", "-o", "yaml").stdout)
    assert [one["metadata"]["name"] for one in listed] == ["fresh", "report"]


def test_get_and_versions(terminal: Terminal) -> None:
    used = function("report", lastRun=LAST, recommendation=ADVICE, recent=recent([40, 30]))
    used["spec"]["versions"].append(
        {"version": 3, "s3": {"key": "k3", "sha256": "c" * 64}, "command": ["python3", "x.py"]}
    )
    terminal.cluster.add_functions(used)
    card = terminal.run("function", "get", "report").stdout
    assert "newest      3\n" in card
    assert "64Mi, based on 9 runs with a p95 peak of 40Mi" in card
    assert "j-0" in card
    rows = terminal.run("function", "versions", "report").stdout.splitlines()
    assert [row.split()[0] for row in rows] == ["VERSION", "3", "1"]
    assert rows[1].endswith("python3 x.py")
    listed = json.loads(terminal.run("function", "versions", "report", "-o", "json").stdout)
    assert (listed[1]["s3Key"], listed[1]["sha256"]) == ("code/x.zip", "b" * 64)
    assert terminal.run("function", "versions", "report", "-o", "name").stdout == "3\n1\n"


def test_a_missing_function(terminal: Terminal) -> None:
    for words in (
        ["get", "x"],
        ["versions", "x"],
        ["run", "x"],
        ["logs", "x"],
        ["delete", "-y", "x"],
    ):
        done = terminal.run("function", *words)
        assert done.exit_code == Exit.FAILED, words
        assert "there is no function x in namespace jobs" in done.stderr
        assert "nanogrid function list" in done.stderr
    assert terminal.cluster.created == []
    assert terminal.cluster.deleted == []


def test_upload_creates_a_function_then_a_version_and_no_duplicates(
    terminal: Terminal,
    code: Path,
) -> None:
    options = ["--memory", "64Mi", "--timeout", "2m", "-e", "A=1", "--image", "python:3.12"]
    done = terminal.run("function", "upload", str(code), *options)
    assert (done.exit_code, done.stdout) == (0, "monthly-report 1\n")
    (created,) = terminal.cluster.created
    Function.model_validate(created)
    first = created["spec"]["versions"][0]
    assert first["s3"]["key"] == f"code/{first['s3']['sha256']}.zip"
    assert created["spec"]["timeouts"] == {"executionSeconds": 120}
    assert terminal.run("function", "upload", str(code)).stdout == "monthly-report 1\n"
    assert terminal.cluster.patches == []

    (code / "main.py").write_text("print(2)")
    terminal.run("function", "upload", str(code), "--name", "monthly-report")
    ((name, patch),) = terminal.cluster.patches
    assert (name, patch["metadata"]) == ("monthly-report", {"resourceVersion": "7"})
    assert [one["version"] for one in patch["spec"]["versions"]] == [1, 2]
    assert patch["spec"]["versions"][0] == first
    assert "resources" not in patch["spec"]


@pytest.mark.parametrize("kind", ["file", "zip"])
def test_upload_accepts_a_file_and_a_zip(
    terminal: Terminal,
    tmp_path: Path,
    kind: str,
) -> None:
    path = tmp_path / f"f.{'py' if kind == 'file' else 'zip'}"
    if kind == "file":
        path.write_text("print(1)")
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("only/main.py", "print(1)")
    assert terminal.run("function", "upload", str(path), "-o", "name").stdout.endswith("/f\n")


def test_run_creates_a_job_with_a_reference_and_input_on_stdin(
    terminal: Terminal,
) -> None:
    terminal.cluster.add_functions(function("report"))
    words = ["function", "run", "report", "--input", '{"a": "é"}', "--version", "1"]
    done = terminal.run(*words)
    assert (done.exit_code, done.stdout) == (0, "hello\n")
    (created,) = terminal.cluster.created
    ExecutionJob.model_validate(created)
    spec = created["spec"]
    assert spec["functionRef"] == {"name": "report", "version": 1}
    assert spec["stdin"] == '{"a":"é"}'
    assert spec["env"] == [{"name": names.ENV_FUNCTION_INPUT, "value": "/dev/stdin"}]
    assert spec["ttlSecondsAfterFinished"]
    assert created["metadata"]["labels"] == {names.LABEL_FUNCTION: "report"}
    assert created["metadata"]["name"].startswith("report-")
    terminal.cluster.ends = {"status": "FAILED", "reason": "NonZeroExit", "exitCode": 4}
    assert terminal.run("function", "run", "report", "-o", "json").exit_code == 4
    assert terminal.run("function", "run", "report", "-d").stdout.startswith("report-")


def test_input_from_a_file_and_from_stdin(terminal: Terminal, tmp_path: Path) -> None:
    terminal.cluster.add_functions(function("f"))
    (tmp_path / "in.json").write_text("[1]")
    terminal.run("function", "run", "f", "-i", f"@{tmp_path}/in.json")
    terminal.run("function", "run", "f", "-i", "-", stdin="[2]")
    terminal.run("function", "run", "f")
    assert [one["spec"]["stdin"] for one in terminal.cluster.created] == ["[1]", "[2]", "null"]


def test_logs_are_those_of_the_newest_run(terminal: Terminal) -> None:
    terminal.cluster.add_functions(function("f"))
    assert "no run of f exists" in terminal.run("function", "logs", "f").stderr
    old, new, other = ended("a", stdout="old\n"), ended("b", stdout="new\n"), ended("c")
    new["metadata"]["creationTimestamp"] = "2026-05-01T00:00:00Z"
    other["metadata"]["creationTimestamp"] = "2026-06-01T00:00:00Z"
    old["spec"]["functionRef"] = {"name": "f"}
    new["metadata"]["labels"] = {names.LABEL_FUNCTION: "f"}
    terminal.cluster.add(old, new, other)
    assert terminal.run("function", "logs", "f").stdout == "new\n"


def test_delete_needs_a_terminal_or_yes(terminal: Terminal) -> None:
    terminal.cluster.add_functions(function("f"))
    done = terminal.run("function", "delete", "f", stdin="y\n")
    assert done.exit_code == Exit.FAILED
    assert "--yes" in done.stderr
    assert terminal.run("function", "delete", "f", "--yes").exit_code == 0
    assert terminal.cluster.deleted == [f"{terminal.cluster.functions_path()}/f#uid-f"]


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    server = FakeGateway()
    with serving(server):
        yield server


def test_a_gateway_lists_uploads_and_deletes(
    terminal: Terminal,
    gateway: FakeGateway,
    code: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NANOGRID_URL", gateway.url)
    one = {"functionId": "f-1", "version": 2, "runs": 3, "runtime": "python", "lastRun": LAST}
    page = {"functions": [one], "continue": "a b"}
    gateway.script = [(200, page), (200, {"functions": [one | {"functionId": "f-2"}]})]
    rows = terminal.run("function", "list").stdout.splitlines()
    assert [row.split()[:4] for row in rows[1:]] == [
        ["f-1", "2", "3", "FAILED"], ["f-2", "2", "3", "FAILED"],
    ]  # fmt: skip
    assert gateway.seen[1][1] == "/functions?continue=a+b"
    gateway.script = [(200, one)]
    assert "newest      2" in terminal.run("function", "get", "f-1").stdout
    stored = {"functionId": "f-3", "version": 1, "s3Key": "k", "runtime": "python"}
    gateway.script = [(201, stored)]
    done = terminal.run("function", "upload", str(code), "--memory", "64Mi")
    assert (done.exit_code, done.stdout) == (0, "f-3 1\n")
    assert b'name="name"\r\n\r\nmonthly-report\r\n' in gateway.seen[-1][2]["raw"]
    gateway.script = [(201, stored)]
    terminal.run("function", "upload", str(code), "--name", "report")
    assert b'name="name"\r\n\r\nreport\r\n' in gateway.seen[-1][2]["raw"]
    gateway.script = [(404, {"error": {"reason": "FunctionNotFound", "message": "No function."}})]
    done = terminal.run("function", "delete", "gone", "-y")
    assert (done.exit_code, gateway.seen[-1][:2]) == (1, ("DELETE", "/functions/gone"))
    assert "hint: List the functions" in done.stderr
    # An empty --gateway overrides the variable.
    assert "no functions in jobs" in terminal.run("function", "list", "--gateway", "").stderr


def test_a_run_through_a_gateway_is_followed_to_its_result(
    terminal: Terminal,
    gateway: FakeGateway,
) -> None:
    gateway.script = [PENDING, PENDING, (200, RESULT | {"stderr": "careful\n"})]
    words = ["function", "run", "f-1", "-i", "[1]", "--gateway", gateway.url]
    done = terminal.run(*words)
    assert (done.exit_code, done.stdout) == (0, "done\n")
    assert "careful" in done.stderr
    method, path, body, _ = gateway.seen[0]
    assert (method, path, body["inputData"], body["wait"]) == ("POST", "/run", [1], 0)
    failed = RESULT | {"status": "FAILED", "reason": "NonZeroExit", "exitCode": 3}
    gateway.script = [PENDING, (200, failed)]
    assert terminal.run(*words, "-o", "json").exit_code == 3
    gateway.script = [PENDING]
    done = terminal.run(*words, "--request-id", "mine", "--detach")
    assert (done.exit_code, done.stdout) == (0, "mine\n")


MIB = 1 << 20


def test_rightsize_compares_and_counts_missing_runs(
    terminal: Terminal,
) -> None:
    assert "no functions and no groups of jobs" in terminal.run("rightsize").stderr
    killed = recent([64] * 5, 64 * MIB, reason="OOMKilled", status="FAILED")
    terminal.cluster.add_functions(
        function("large", "256Mi", recent=recent([40] * 6)),
        function("new", "256Mi", recent=recent([40] * 4)),
        function("killed", "64Mi", recent=killed),
    )
    rows = {row.split()[0]: row for row in terminal.run("rightsize").stdout.splitlines()}
    shown = " ".join(rows["large"].split()[1:])
    assert shown == "Function 6 256Mi 40Mi 64Mi 192Mi"
    assert "1 more run needed" in rows["new"]
    assert "128Mi (5 OOM-killed)" in rows["killed"]
    assert rows["killed"].endswith("-64Mi")
    (one,) = json.loads(terminal.run("rightsize", "large", "-o", "json").stdout)
    assert (one["recommended"], one["savedBytes"], one["missing"]) == ("64Mi", 192 * MIB, 0)


def test_rightsize_of_jobs_by_name_and_by_label(terminal: Terminal) -> None:
    for n in range(5):
        one = ended(f"report-{n:06x}", peakMemoryBytes=40 * MIB)
        one["status"]["attempts"] = [{"memoryLimit": "256Mi"}]
        terminal.cluster.add(one)
    terminal.cluster.add(ended("single", peakMemoryBytes=MIB))
    of_function = ended("f-abcdef", peakMemoryBytes=MIB)
    of_function["spec"]["functionRef"] = {"name": "f"}
    terminal.cluster.add(of_function)
    (one,) = json.loads(terminal.run("rightsize", "-o", "json").stdout)
    assert (one["name"], one["kind"], one["recommended"]) == ("report-*", "Jobs", "64Mi")
    assert one["currentBytes"] == 256 * MIB
    (all_,) = json.loads(terminal.run("rightsize", "-l", "a=b", "-o", "json").stdout)
    assert (all_["name"], all_["runs"]) == ("a=b", 7)


def test_rightsize_sets_limits_only_with_apply_and_confirmation(terminal: Terminal) -> None:
    terminal.cluster.add_functions(
        function("large", "256Mi", recent=recent([40] * 6)),
        function("fits", "64Mi", recent=recent([40] * 6)),
        function("new", "256Mi"),
    )
    done = terminal.run("rightsize", "--apply", stdin="")
    assert done.exit_code == Exit.FAILED
    assert "large 64Mi" in done.stderr
    assert terminal.cluster.patches == []
    done = terminal.run("rightsize", "--apply", "--yes")
    assert done.exit_code == 0
    ((name, patch),) = terminal.cluster.patches
    assert (name, patch["spec"]) == ("large", {"resources": {"limits": {"memory": "64Mi"}}})
    assert patch["metadata"] == {"uid": "uid-large", "resourceVersion": "7"}
    assert "nothing to change" in terminal.run("rightsize", "fits", "--apply", "-y").stderr
