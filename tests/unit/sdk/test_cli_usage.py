"""User mistakes end with two lines and an exit code; help and completion work."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer

from nanogrid.cli.app.exits import Exit
from nanogrid.cli.main import app
from support.cli_fakes import ended, function, job
from support.cli_terminal import Terminal

SHELL_SECONDS = 60
DOCUMENT = Path(__file__).parents[3] / "docs" / "cli.md"
COMPLETE = {
    "bash": (
        'eval "$(cat {script})"; COMP_WORDS=(nanogrid rig); COMP_CWORD=1; '
        'complete -p nanogrid >/dev/null; _nanogrid_completion nanogrid; echo "${{COMPREPLY[@]}}"'
    ),
    "zsh": "autoload -Uz compinit; compinit -u; source {script}; which _nanogrid_completion",
    "fish": "source {script}; complete -C 'nanogrid rig'",
}


@pytest.fixture
def terminal(terminal: Terminal) -> Terminal:
    """A cluster with a finished job, a running job and a function."""
    terminal.cluster.add(ended("over"), job("busy", "Running", "Executing"))
    terminal.cluster.add_functions(function("f"))
    return terminal


WRONG = [
    "no-such-command",
    "run",
    "run no-such-file.py",
    "run {tmp}",
    "run {tmp}/binary",
    "run {tmp}/code.zip",
    "run {tmp}/empty.py",
    "run -",
    "run -c ''",
    "run -c x --timeout soon",
    "run -c x --timeout 0",
    "run -c x --input nowhere",
    "run -c x --input s3://",
    "run -c x --input a={tmp}/some.py:/etc",
    "run -c x --input a={tmp}/some.py --input a={tmp}/some.py",
    "run -c x --env =x",
    "run -c x --env NOT_SET_ANYWHERE_X",
    "run -c x --env-secret A=database",
    "run -c x --env-secret A=database:key --local",
    "run -c x --memory lots",
    "run -c x --memory 512m",
    "run -c x --memory 2Mi",
    "run -c x --memory 0 --local",
    "run -c x --cpu 0",
    "session new s --memory 512m",
    "function upload {tmp}/some.py --name f --memory 512m",
    "run -c x --cpu -1",
    "run -c x --request-id 'a b'",
    "run -c x --name a -o xml",
    "run -c x --no-such-option",
    "run -c x --local --detach",
    "submit",
    "submit -f -",
    "submit -f {tmp}/some.py",
    "submit -f {tmp}/pod.yaml",
    "retry",
    "list --watch=maybe",
    "get",
    "get ''",
    "get a/b",
    "logs 'busy?follow=true'",
    "logs",
    "why",
    "cancel",
    "cancel busy --timeout 5s",
    "cancel busy --wait --timeout never",
    "delete",
    "delete over --older 1d",
    "delete over -A --yes",
    "delete '' --yes",
    "delete ../functions/f --yes",
    "delete --older soon",
    "delete --older 0",
    "delete --phase gone",
    "delete --older 1d --phase running --yes",
    "outputs",
    "outputs get",
    "session new --idle soon",
    "session exec over 1",
    "session rm ..",
    "session exec busy",
    "session exec busy 1 --keep-processes",
    "session exec busy 1 --file {tmp}/some.py",
    "session shell over",
    "function run f --input {{broken",
    "function delete ../executionjobs/busy --yes",
    "function run f --version 0",
    "function run f --version new",
    "function run f --timeout x",
    "function run f --gateway localhost:80",
    "function run f --gateway http://localhost:1 --memory 64Mi",
    "function upload {tmp}/none",
    "function upload {tmp}",
    "function upload {tmp}/code.zip",
    "function upload {tmp}/hollow.zip",
    "function upload {tmp}/some.py --memory lots",
    "function upload {tmp}/some.py --name Not_A_Name",
    "function upload {tmp}/some.py --command ''",
    """function upload {tmp}/some.py --command "a 'b" """,
    "function upload {tmp}/some.py --env 1=2",
    "function upload {tmp}/some.py --gateway http://localhost:1 --command ./x",
    "function list -A --gateway http://localhost:1",
    "function delete",
    "rightsize f -A",
    "rightsize --yes",
    "rightsize --apply -l a=b",
    "cleanup --dry-run --force",
    "init {tmp}/begun",
    "completion tcsh",
]
NOT_THERE = [
    "get absent",
    "logs absent",
    "why absent",
    "cancel absent",
    "delete absent --yes",
    "delete over absent --yes",
    "delete over",
    "delete --phase failed --phase succeeded",
    "retry absent",
    "retry busy",
    "outputs ls busy",
    "outputs get over nothing",
    "upload {tmp}/none",
    "session rm absent",
    "function get absent",
    "function run absent",
    "function run f --input @{tmp}/none",
    "function delete f",
    "rightsize absent",
    "submit -f {tmp}/none.yaml",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "code.zip").write_bytes(b"no archive")
    (tmp_path / "hollow.zip").write_bytes(b"PK\x05\x06" + bytes(18))
    (tmp_path / "empty.py").write_text("")
    (tmp_path / "some.py").write_text("print(1)")
    (tmp_path / "pod.yaml").write_text("{kind: Pod, apiVersion: v1}")
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "main.py").write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("line", "code"),
    [*((line, Exit.USAGE) for line in WRONG), *((line, Exit.FAILED) for line in NOT_THERE)],
)
def test_a_user_mistake_is_an_error_with_a_hint(
    terminal: Terminal, folder: Path, line: str, code: Exit
) -> None:
    done = terminal.run(*shlex.split(line.format(tmp=folder)), stdin="")
    assert isinstance(done.exception, SystemExit), done.exc_info
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    if not line.endswith(("outputs",)):  # a group without a command shows its help
        assert "rror: " in done.stderr, done.output
        assert done.stdout == ""
    # Errors of commands have a hint; errors of the parser show the usage.
    assert any(text in done.stderr for text in ("hint: ", "Error: ", "Usage: "))
    assert terminal.cluster.created == []
    assert terminal.cluster.deleted == []


def leaves(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    below = getattr(command, "commands", None)
    if below is None:
        yield path, command
        return
    for name, one in below.items():
        yield from leaves(one, f"{path} {name}")


COMMANDS = dict(leaves(typer.main.get_command(app), "nanogrid"))


@pytest.mark.parametrize("path", COMMANDS)
def test_every_help_has_a_valid_example(terminal: Terminal, path: str) -> None:
    words = path.split()[1:]
    shown = terminal.run(*words, "--help")
    assert shown.exit_code == 0
    (line,) = [
        one.strip() for one in shown.stdout.splitlines() if one.strip().startswith((path, "eval"))
    ]
    line = line.removeprefix('eval "$(').removesuffix(')"')
    args = shlex.split(line)[len(words) + 1 :]
    COMMANDS[path].make_context(path, args)  # raises for an invalid line


# kubectl has both: `kubectl apply -f FILE` and `kubectl logs -f`.
TWO_MEANINGS = {"-f": {"--file", "--follow"}}


def meanings() -> dict[str, set[str]]:
    """The long names by short option, over all commands; "–" for an option without one."""
    found: dict[str, set[str]] = {}
    # Built again: click keeps the first --help that it makes for a command.
    for path, leaf in leaves(typer.main.get_command(app), "nanogrid"):
        context = click.Context(leaf, help_option_names=["-h", "--help"], info_name=path)
        for parameter in leaf.get_params(context):
            names = [one for one in parameter.opts if one.startswith("-")]
            long = next((one for one in names if one.startswith("--")), "–")
            for short in (one for one in names if not one.startswith("--")):
                found.setdefault(short, set()).add(long)
    return found


def test_a_short_option_has_one_meaning_in_all_commands() -> None:
    found = meanings()
    assert {"-n", "-o", "-d", "-f"} <= set(found), "the test finds options"
    several = {short: long for short, long in found.items() if len(long) > 1}
    assert several == TWO_MEANINGS


def test_the_documentation_lists_every_short_option() -> None:
    rows = re.findall(r"^\| `(-\w)` \| (?:`(--[\w-]+)`|–) \|", DOCUMENT.read_text(), re.MULTILINE)
    listed: dict[str, set[str]] = {}
    for short, long in rows:
        listed.setdefault(short, set()).add(long or "–")
    assert listed == meanings()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_works_if_the_shell_is_installed(
    terminal: Terminal, tmp_path: Path, shell: str
) -> None:
    text = terminal.run("completion", shell).stdout
    assert "nanogrid" in text
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed; its script was generated but not sourced")
    script, program = tmp_path / "script", tmp_path / "nanogrid"
    script.write_text(text)
    program.write_text(f"#!{sys.executable}\nfrom nanogrid.cli.main import main\nmain()\n")
    program.chmod(0o755)
    done = subprocess.run(
        [shell, "-c", COMPLETE[shell].format(script=script)],
        env={"PATH": f"{tmp_path}:/usr/local/bin:/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=SHELL_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    expected = "_nanogrid_completion" if shell == "zsh" else "rightsize"
    assert expected in done.stdout, done.stderr
