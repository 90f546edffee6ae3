"""``version`` and ``completion``: about the program itself."""

from enum import StrEnum
from typing import Annotated, Final

import typer

from nanogrid.cli.app.command import CommandContext, command, local_command
from nanogrid.cli.app.output import TABLE, Output, emit, write_stdout

PROGRAM: Final = "nanogrid"


class Shell(StrEnum):
    """Shells with completion."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(shell: Annotated[Shell, typer.Argument(help="Your shell.")]) -> None:
    """Print shell completion. Load it with: eval "$(nanogrid completion bash)"."""
    from typer._completion_shared import get_completion_script

    variable = f"_{PROGRAM.upper()}_COMPLETE"
    script = get_completion_script(prog_name=PROGRAM, complete_var=variable, shell=shell.value)
    write_stdout(script + "\n")


def version(
    ctx: CommandContext,
    client: Annotated[bool, typer.Option("--client", help="Do not contact the cluster.")] = False,
    output: Output = TABLE,
) -> None:
    """Print the versions of this program and of the cluster."""
    versions = {"client": installed()}
    if not client:
        versions["kubernetes"] = str(ctx.client().cluster.version().get("gitVersion", ""))
    table = "".join(f"{key:<11} {value}\n" for key, value in versions.items())
    emit(versions, output, lambda: table, lambda: [versions["client"]])


def print_version(wanted: bool) -> None:
    """For --version: print the version and end the program.

    Raises:
        typer.Exit: the option is set.
    """
    if wanted:
        write_stdout(f"{PROGRAM} {installed()}\n")
        raise typer.Exit


def installed() -> str:
    """The version of this program."""
    from importlib.metadata import version as version_of

    return version_of("nanogrid")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    local_command(app, "completion", 'eval "$(nanogrid completion bash)"')(completion)
    command(app, "version", "nanogrid version --client")(version)
