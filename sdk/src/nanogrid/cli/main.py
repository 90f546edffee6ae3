"""The program ``nanogrid``: which module has which command, and the entry point.

A command line that names its command loads that command's module only. Help, completion and
mistakes need all commands.
"""

import sys
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import import_module
from pathlib import PurePath
from typing import Any, Final

import typer

from nanogrid.cli.about import PROGRAM, print_version
from nanogrid.cli.app.command import EPILOG, VALUE_OPTIONS, accept_cluster_options

PLUGIN: Final = "kubectl-ej"
HELP: Final = "Run code in sandboxes on Kubernetes, as jobs or in sessions."
# Commands by module, in the order of --help.
COMMANDS: Final[dict[str, tuple[str, ...]]] = {
    "run": ("run", "submit", "retry"),
    "listing": ("list",),
    "jobs": ("get", "logs", "why", "cancel", "top"),
    "deletion": ("delete",),
    "data": ("outputs", "upload"),
    "functions": ("function",),
    "pools": ("pools",),
    "rightsize": ("rightsize",),
    "sessions": ("session",),
    "cleanup": ("cleanup",),
    "doctor": ("doctor",),
    "init": ("init",),
    "about": ("completion", "version"),
}


def build(modules: Iterable[str] = tuple(COMMANDS)) -> typer.Typer:
    """Build the program with the commands of these modules."""
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
    accept_cluster_options(app, version=print_version)
    for name in modules:
        import_module(f"nanogrid.cli.{name}").register(app)
    return app


@cache
def program() -> typer.Typer:
    """The program with all commands."""
    return build()


def __getattr__(name: str) -> Any:
    if name == "app":
        return program()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def needed(args: Sequence[str]) -> Iterable[str]:
    """The modules that a command line needs; all of them if it does not begin with a command."""
    words = iter(args)
    for word in words:
        if word in VALUE_OPTIONS:
            next(words, "")
        elif not word.startswith("-"):
            return [name for name, commands in COMMANDS.items() if word in commands] or COMMANDS
        elif word.partition("=")[0] not in VALUE_OPTIONS:
            return ["about"] if word == "--version" else COMMANDS  # --help, or a mistake
    return COMMANDS


def main() -> None:
    """Entry point of ``nanogrid`` and of ``kubectl ej``."""
    called_as = PurePath(sys.argv[0]).name
    app = build(needed(sys.argv[1:]))
    app(prog_name="kubectl ej" if called_as == PLUGIN else PROGRAM)
