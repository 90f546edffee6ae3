"""Options before the verb, versions, completion, and what `init` writes."""

import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from nanogrid import names
from nanogrid.api.job import ExecutionJob
from nanogrid.cli.app.exits import Exit
from nanogrid.cli.init import MAIN, job_yaml
from nanogrid.cli.main import app
from nanogrid.client.errors import InvalidRequest
from nanogrid.client.jobs.manifest import build_job, job_name
from nanogrid.lifecycle import Phase
from support.cli_fakes import ended, function, job
from support.cli_terminal import Terminal


@pytest.fixture
def terminal(terminal: Terminal) -> Terminal:
    """A cluster with two jobs, a session and a function."""
    terminal.cluster.add(ended("report-1"), job("report-2"), job("shell-1", mode="Session"))
    terminal.cluster.add_functions(function("monthly"))
    return terminal


@pytest.mark.parametrize(
    "line",
    [
        "-n x --context c --kubeconfig k get report-1",
        "--namespace x --context c get report-1 --kubeconfig k",
        "get report-1 -n x --context c --kubeconfig k",
        "-n other --context c get report-1 -n x --kubeconfig k",
        "--kubeconfig k outputs --context c ls report-1 -n x",
        "-n y outputs -n x --context c --kubeconfig k ls report-1",
        "--context c function --kubeconfig k get monthly -n x",
        "-n x --context c --kubeconfig k session ls",
        "--context c session -n x --kubeconfig k ls",
    ],
)
def test_cluster_options_work_at_every_place_and_the_last_one_wins(
    terminal: Terminal, line: str
) -> None:
    done = terminal.run(*line.split())
    assert done.exit_code == 0, done.output
    ((namespace, ctx),) = terminal.contexts
    assert (namespace, ctx.context, ctx.kubeconfig) == ("x", "c", "k")


def test_a_command_without_a_cluster_accepts_the_options_of_the_program(terminal: Terminal) -> None:
    assert terminal.run("-n", "x", "completion", "bash").exit_code == 0


@pytest.mark.parametrize("options", [["--version"], ["-n", "x", "--version", "list"]])
def test_the_version_of_the_program_needs_no_cluster(
    terminal: Terminal, options: list[str]
) -> None:
    done = terminal.run(*options)
    assert (done.exit_code, done.stdout) == (0, f"nanogrid {version('nanogrid')}\n")
    assert terminal.contexts == []


def completed(terminal: Terminal, line: str) -> list[str]:
    """What bash would show after this line."""
    words = line.split(" ")
    variables = {
        "_NANOGRID_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    done = CliRunner(env=variables).invoke(app, [], prog_name="nanogrid")
    assert "Traceback" not in done.output
    return done.output.split()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("nanogrid get ", ["@latest", "report-1", "report-2", "shell-1"]),
        ("nanogrid logs rep", ["report-1", "report-2"]),
        ("nanogrid why @", ["@latest"]),
        ("nanogrid cancel report-1 report-2 s", ["shell-1"]),
        ("nanogrid delete rep", ["report-1", "report-2"]),
        ("nanogrid outputs get report-2", ["report-2"]),
        ("nanogrid session rm ", ["shell-1"]),
        ("nanogrid function get m", ["monthly"]),
        ("nanogrid list --function ", ["monthly"]),
        ("nanogrid get nothing-like-this", []),
    ],
)
def test_names_of_the_cluster_are_completed(
    terminal: Terminal, line: str, words: list[str]
) -> None:
    assert sorted(completed(terminal, line)) == sorted(words)


def test_phases_are_completed(terminal: Terminal) -> None:
    found = {word.lower() for word in completed(terminal, "nanogrid list --phase ")}
    assert found == {phase.value.lower() for phase in Phase}


def test_completion_asks_the_namespace_that_is_typed(terminal: Terminal) -> None:
    completed(terminal, "nanogrid -n x --context c get -n y rep")
    namespace, ctx = terminal.contexts[-1]
    assert (namespace, ctx.context) == ("y", "c")


def test_completion_is_silent_when_the_cluster_does_not_answer(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ConnectionError("no route to the API server")

    monkeypatch.setattr("nanogrid.cli.app.command.make_client", fail)
    assert completed(terminal, "nanogrid get ") == []


def test_init_writes_a_job_that_runs_the_program(terminal: Terminal, tmp_path: Path) -> None:
    folder = tmp_path / "first"
    done = terminal.run("init", str(folder))
    assert done.exit_code == 0
    assert f"nanogrid run {folder}" in done.stderr
    manifest = yaml.safe_load((folder / "job.yaml").read_text())
    assert manifest["spec"]["code"]["inline"] == (folder / "main.py").read_text() == MAIN
    assert terminal.run("submit", "-f", str(folder / "job.yaml")).exit_code == 0
    (created,) = terminal.cluster.created
    assert created["spec"]["code"] == {"inline": MAIN}
    ran = subprocess.run(
        [sys.executable, "-c", created["spec"]["code"]["inline"]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.stdout == "0 input files\n", ran.stderr


@pytest.mark.parametrize("name", ["first", "-dashes", "it's a folder"])
def test_the_commands_that_init_prints_work_as_pasted(
    terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = terminal.run("init", "--", name)
    assert done.exit_code == 0, done.output
    lines = [line.partition(": ")[2] for line in done.stderr.splitlines() if ": " in line]
    commands = [shlex.split(line) for line in lines]
    assert [words[:2] for words in commands] == [
        ["nanogrid", "run"],
        ["nanogrid", "run"],
        ["nanogrid", "submit"],
        ["kubectl", "create"],
    ]
    ran = [terminal.run(*words[1:]) for words in commands[:3]]
    assert [one.exit_code for one in ran] == [0, 0, 0], [one.output for one in ran]
    assert len(terminal.cluster.created) == 2
    # `kubectl create` is for a name that the server makes; `kubectl apply` refuses it.
    (manifest,) = yaml.safe_load_all(Path(commands[3][3]).read_text())
    assert list(manifest["metadata"]) == ["generateName"]
    assert "kubectl create -f job.yaml" in Path(commands[3][3]).read_text()


def test_init_keeps_a_program_and_writes_a_job_for_it(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("print('mine')\n")
    assert terminal.run("init", str(tmp_path)).exit_code == 0
    assert terminal.run("init", str(tmp_path)).exit_code == Exit.USAGE
    (tmp_path / "main.py").write_text("print('changed')\n")
    assert terminal.run("init", str(tmp_path), "--force").exit_code == 0
    assert (tmp_path / "main.py").read_text() == "print('changed')\n"
    manifest = yaml.safe_load((tmp_path / "job.yaml").read_text())
    assert manifest["spec"]["code"]["inline"] == "print('changed')\n"


@pytest.mark.parametrize(
    "code",
    [
        "print(1)",
        "print(1)\n",
        "print(1)\n\n\n",
        "   \nif 1:\n    print(2)\n",
        "if 1:\n\tprint('tab')  \n",
        "# größe, 한국어: {}\nprint('\"' \"'\")\n",
        "print(1)\r\nprint(2)\r\n",
        "x = '''\n---\n...\n'''\n",
        "print('\x07 \x85 \u2028')\n",
        "  # \U0001f600\nprint(1)\n",
    ],
)
def test_the_job_has_the_exact_text_of_the_program(code: str) -> None:
    manifest = yaml.safe_load(job_yaml(code))
    assert manifest["spec"]["code"]["inline"] == code
    ExecutionJob.model_validate(manifest)


@pytest.mark.parametrize("content", ["", "x" * 70_000])
def test_init_refuses_a_program_that_no_job_can_hold(
    terminal: Terminal, tmp_path: Path, content: str
) -> None:
    (tmp_path / "main.py").write_text(content)
    assert terminal.run("init", str(tmp_path)).exit_code == Exit.USAGE
    assert not (tmp_path / "job.yaml").exists()


@pytest.mark.parametrize("name", ["UPPER", "a_b", "-a", "a-", "a..b", "a" * 53, "größe", "a b"])
def test_a_wrong_name_of_a_job_is_refused_before_a_request(terminal: Terminal, name: str) -> None:
    done = terminal.run("run", "-c", "x", "--name", name)
    assert done.exit_code == Exit.USAGE
    assert f"{name!r} is not a valid name of a job" in done.stderr
    assert "hint: Use up to 52 of a-z" in done.stderr
    assert terminal.cluster.created == []
    with pytest.raises(InvalidRequest, match="not a valid name"):
        build_job("x", name=name)


@pytest.mark.parametrize("name", ["a", "report.v2", "a" * 52, "0-9"])
def test_names_that_kubernetes_accepts_are_accepted(name: str) -> None:
    assert build_job("x", name=name)["metadata"]["name"] == name


@pytest.mark.parametrize("length", [1, 41, 43, 44, 52, 63])
def test_names_that_are_made_are_short_enough(length: int) -> None:
    for name in (job_name("R" * length), job_name(None, "p" * length), job_name("-" * length)):
        assert len(name) <= names.JOB_NAME_MAX
        build_job("x", name=name)
