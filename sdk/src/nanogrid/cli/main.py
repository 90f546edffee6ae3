"""The program ``nanogrid``: all commands together."""

import sys
from enum import StrEnum
from pathlib import PurePath
from typing import Annotated, Final

import typer

from nanogrid.cli import (
    cleanup,
    data,
    doctor,
    functions,
    init,
    jobs,
    listing,
    rightsize,
    run,
    sessions,
)
from nanogrid.cli.app.command import (
    EPILOG,
    CommandContext,
    accept_cluster_options,
    command,
    local_command,
)
from nanogrid.cli.app.output import TABLE, Output, emit, write_stdout

PROGRAM: Final = "nanogrid"
PLUGIN: Final = "kubectl-ej"
HELP: Final = "Run code in sandboxes on Kubernetes, as jobs or in sessions."


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
    from importlib.metadata import version as installed

    versions = {"client": installed("nanogrid")}
    if not client:
        versions["kubernetes"] = str(ctx.client().cluster.version().get("gitVersion", ""))
    table = "".join(f"{key:<11} {value}\n" for key, value in versions.items())
    emit(versions, output, lambda: table, lambda: [versions["client"]])


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version as installed

        write_stdout(f"{PROGRAM} {installed('nanogrid')}\n")
        raise typer.Exit


def build() -> typer.Typer:
    """Build the program with all its commands."""
    app = typer.Typer(
        name=PROGRAM,
        help=HELP,
        epilog=EPILOG,
        no_args_is_help=True,
        add_completion=True,
        rich_markup_mode=None,  # the import of its renderer takes longer than everything else
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    accept_cluster_options(app, version=_print_version)
    for module in (run, listing, jobs, data, functions, rightsize, sessions, cleanup, doctor, init):
        module.register(app)
    local_command(app, "completion", 'eval "$(nanogrid completion bash)"')(completion)
    command(app, "version", "nanogrid version --client")(version)
    return app


app = build()


def main() -> None:
    """Entry point of ``nanogrid`` and of ``kubectl ej``."""
    called_as = PurePath(sys.argv[0]).name
    app(prog_name="kubectl ej" if called_as == PLUGIN else PROGRAM)
