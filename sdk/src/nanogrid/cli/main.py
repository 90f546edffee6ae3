"""The program: all commands put together."""

import sys
from enum import StrEnum
from pathlib import PurePath
from typing import Annotated, Final

import typer

from nanogrid.cli import cleanup, data, doctor, functions, jobs, rightsize, run, sessions, starter
from nanogrid.cli.link import EPILOG, Link, command, local_command
from nanogrid.cli.output import Format, Output, emit, write

PROGRAM: Final = "nanogrid"
PLUGIN: Final = "kubectl-ej"
HELP: Final = "Run code in sandboxes on Kubernetes, as jobs and in sessions."


class Shell(StrEnum):
    """Shells that know completion."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(shell: Annotated[Shell, typer.Argument(help="Your shell.")]) -> None:
    """Print the script for your shell: eval "$(nanogrid completion bash)"."""
    from typer._completion_shared import get_completion_script

    variable = f"_{PROGRAM.upper()}_COMPLETE"
    script = get_completion_script(prog_name=PROGRAM, complete_var=variable, shell=shell.value)
    write(script + "\n")


def version(
    link: Link,
    client: Annotated[bool, typer.Option("--client", help="Do not ask the cluster.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Print the versions of this program and of the cluster."""
    from importlib.metadata import version as installed

    found = {"client": installed("nanogrid")}
    if not client:
        found["kubernetes"] = str(link.client().cluster.version().get("gitVersion", ""))
    table = "".join(f"{key:<11} {value}\n" for key, value in found.items())
    emit(found, output, lambda: table, lambda: [found["client"]])


def build() -> typer.Typer:
    """The program's commands."""
    app = typer.Typer(
        name=PROGRAM,
        help=HELP,
        epilog=EPILOG,
        no_args_is_help=True,
        add_completion=True,
        rich_markup_mode=None,  # importing its renderer takes longer than all the rest
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for part in (run, jobs, data, functions, rightsize, sessions, cleanup, doctor, starter):
        part.register(app)
    local_command(app, "completion", 'eval "$(nanogrid completion bash)"')(completion)
    command(app, "version", "nanogrid version --client")(version)
    return app


app = build()


def main() -> None:
    """Entry point of ``nanogrid`` and of ``kubectl ej``."""
    called = PurePath(sys.argv[0]).name
    app(prog_name="kubectl ej" if called == PLUGIN else PROGRAM)
