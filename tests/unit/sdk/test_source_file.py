"""Only Python source runs as Python; every other file gets the command that is meant for it."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from nanogrid.cli.app.exits import Exit
from nanogrid.client.errors import InvalidRequest
from nanogrid.client.functions import archive_of
from nanogrid.client.jobs.prepare import JobPreparer
from nanogrid.client.storage import Storage
from support.cli_terminal import Terminal

MANIFEST = "apiVersion: nanogrid.io/v1alpha1\nkind: ExecutionJob\nmetadata: {name: a}\n"
JSON = json.dumps({"kind": "ExecutionJob", "apiVersion": "nanogrid.io/v1alpha1"})
# Name, content, what it is, and the start of the way to use it.
OTHERS = {
    "job.yaml": (MANIFEST, "YAML", "nanogrid submit -f "),
    "JOB.YML": (MANIFEST, "YAML", "nanogrid submit -f "),
    "job.json": (JSON, "JSON", "nanogrid submit -f "),
    "job": (MANIFEST, "a manifest", "nanogrid submit -f "),
    "job-json": (f"\n{JSON}", "a manifest", "nanogrid submit -f "),
    "book.ipynb": ("{}", "a notebook", "jupyter nbconvert --to script "),
    "deploy.sh": ("echo 1", "a shell script", "spec.command"),
    "deploy": ("#!/bin/sh\necho 1", "a shell script", "spec.command"),
    "start": ("#!/usr/bin/perl\nprint 1", "a script", "spec.command"),
    "code.tar.gz": ("x", "an archive", "run the folder"),
    "bash": ("#!/home/python/bin/bash\nx=1", "a shell script", "spec.command"),
    "notes.txt": ("Call the team.", "not a Python file", "ends in .py"),
    "table.csv": ("a,b", "not a Python file", "ends in .py"),
    "numbers.dat": ("1\n2\n", "not a Python file", "ends in .py"),
    "long.log": ("f()\n" * 300_000, "not a Python file", "ends in .py"),
    "manifest.txt": (f"# A job\n---\n{MANIFEST}", "a manifest", "nanogrid submit -f "),
    "template": ("#!/usr/bin/env -S tool x\n<a>", "a script", "spec.command"),
    "page.js": ("f(1)", "source of another language", "spec.command"),
    "app.pyz": ("x", "an archive", "run the folder"),
    "Dockerfile": ("FROM python", "not a Python file", "ends in .py"),
}
PYTHON = {
    "main.py": "print(1)",
    "MAIN.PY": "print(1)",
    "window.pyw": "print(1)",
    "script": "print(1)",
    "tool": "#!/usr/bin/env python3\nprint(1)",
    "uv": "#!/usr/bin/env -S uv run --script\nprint(1)",
    "fields.py": "kind: str\napiVersion: str = 'x'\n",  # the name decides
    "data": "{'kind': 1}",
    # Python runs a file with any name.
    "script.txt": "print(1)",
    "train-1.2": "import os\n",
    "main.py.bak": "x = 1",
    "tool.cgi": "#!/usr/bin/python3 -u\nx",
    "invalid.txt": "import re\nre.match('\\d', '1')",  # a warning of the code is no error
    "installed": "#!/bin/sh\n'''exec' /a/long/path/python3 \"$0\" \"$@\"\n' '''\nprint(1)",
    "pipx": "#!/usr/bin/env -S pipx run\nprint(1)",
    "own": "#!/opt/tools/py\nprint(1)",
    "try": f"try:\n    JOB = '''\n{MANIFEST}'''\nfinally:\n    print(1)",
    "contains": f"import yaml\nJOB = '''\n{MANIFEST}'''\nprint(JOB)",
}


def no_storage() -> Storage:
    raise AssertionError("nothing is uploaded")


def by_client(path: Path) -> object:
    return JobPreparer(no_storage).keywords(None, {"file": path})


WAYS: dict[str, Callable[[Path], object]] = {"submit": by_client, "function": archive_of}


@pytest.mark.parametrize("name", OTHERS)
def test_run_names_the_command_for_another_file(
    terminal: Terminal, tmp_path: Path, name: str
) -> None:
    content, kind, hint = OTHERS[name]
    path = tmp_path / name
    path.write_text(content)
    for words in (["run", str(path)], ["run", "--local", str(path)]):
        done = terminal.run(*words)
        assert done.exit_code == Exit.USAGE, done.output
        error, shown = done.stderr.splitlines()
        assert f"{path} " in error
        assert kind in error
        assert hint in shown
    assert terminal.cluster.created == []


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", OTHERS)
def test_the_client_refuses_another_file(tmp_path: Path, name: str, way: str) -> None:
    path = tmp_path / name
    path.write_text(OTHERS[name][0])
    with pytest.raises(InvalidRequest, match=OTHERS[name][1]) as caught:
        WAYS[way](path)
    assert caught.value.hint


@pytest.mark.parametrize("name", PYTHON)
def test_python_files_run_by_any_way(terminal: Terminal, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(PYTHON[name])
    done = terminal.run("run", "-d", str(path))
    assert done.exit_code == 0, done.output
    (created,) = terminal.cluster.created
    assert created["spec"]["code"] == {"inline": PYTHON[name]}
    assert by_client(path) == {"code": PYTHON[name]}
    assert archive_of(path)


@pytest.mark.parametrize("text", [MANIFEST, JSON, "#!/bin/bash\nls"])
def test_standard_input_is_checked_by_its_text(terminal: Terminal, text: str) -> None:
    done = terminal.run("run", "-", stdin=text)
    assert done.exit_code == Exit.USAGE
    assert "the standard input " in done.stderr
    if not text.startswith("#!"):
        assert "submit -f -\n" in done.stderr
    assert terminal.run("run", "-d", "-", stdin="print(1)").exit_code == 0


@pytest.mark.parametrize("name", ["contains", "installed"])
def test_text_that_contains_another_kind_runs_by_any_way(terminal: Terminal, name: str) -> None:
    assert terminal.run("run", "-d", "-", stdin=PYTHON[name]).exit_code == 0
    assert terminal.run("run", "-d", "-c", PYTHON[name]).exit_code == 0
    done = terminal.run("session", "exec", "s", "-", stdin=PYTHON[name])
    assert "not Python" not in done.stderr


def test_a_manifest_as_an_argument_names_a_file_to_write(terminal: Terminal) -> None:
    done = terminal.run("run", "-c", MANIFEST)
    assert done.exit_code == Exit.USAGE
    assert "nanogrid submit -f FILE" in done.stderr


def test_a_command_of_a_function_may_start_any_file(tmp_path: Path) -> None:
    path = tmp_path / "main.sh"
    path.write_text("echo 1")
    assert archive_of(path, ["sh", "main.py"])


def test_run_names_what_to_do_with_a_zip(terminal: Terminal, tmp_path: Path) -> None:
    path = tmp_path / "code.ZIP"
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("main.py", "print(1)")
    done = terminal.run("run", str(path))
    assert done.exit_code == Exit.USAGE
    assert "is an archive" in done.stderr
    assert archive_of(path) == path.read_bytes()


def test_a_session_runs_a_shell_script_with_bash_only(terminal: Terminal, tmp_path: Path) -> None:
    path = tmp_path / "deploy.sh"
    path.write_text("echo 1")
    done = terminal.run("session", "exec", "s", "--file", str(path))
    assert done.exit_code == Exit.USAGE
    assert "is a shell script, not Python" in done.stderr
    accepted = terminal.run("session", "exec", "s", "--bash", "--file", str(path))
    assert "no job s" in accepted.stderr or "not found" in accepted.stderr, accepted.output


def test_submit_names_the_command_for_code(terminal: Terminal, tmp_path: Path) -> None:
    path = tmp_path / "main.py"
    for text in ("print(1)", "x = {1: [}"):
        path.write_text(text)
        done = terminal.run("submit", "-f", str(path))
        assert done.exit_code == Exit.USAGE
        assert f"hint: Run code with: nanogrid run {path}" in done.stderr
