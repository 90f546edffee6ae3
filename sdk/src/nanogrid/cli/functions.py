"""``function list|get|versions|upload|delete``: code that is uploaded once and run often.

Through the API server, or through the gateway that --gateway or $NANOGRID_URL names.
"""

import shlex
import time
from pathlib import Path
from typing import Annotated, Final

import typer

from nanogrid import names
from nanogrid.cli import function_run, source
from nanogrid.cli.app import function_tables
from nanogrid.cli.app.command import CommandContext, command, command_group
from nanogrid.cli.app.errors import UsageError, confirm
from nanogrid.cli.app.options import (
    AllNamespaces,
    Cpu,
    Env,
    EnvSecret,
    FunctionName,
    FunctionNames,
    GatewayUrl,
    Memory,
    PoolOption,
    Yes,
)
from nanogrid.cli.app.output import TABLE, Format, Output, emit, note

HELP: Final = "Code that you upload once and run often, with different input."


def list_functions(
    ctx: CommandContext,
    all_namespaces: AllNamespaces = False,
    gateway: GatewayUrl = None,
    output: Output = TABLE,
) -> None:
    """List functions with their versions, runs, last status and recommended memory."""
    remote = function_run.gateway_of(gateway)
    if remote is not None and all_namespaces:
        raise UsageError("a gateway has one namespace", "Remove -A, or use --gateway ''.")
    if remote is not None:
        functions, where = remote.functions(), "the gateway"
    else:
        client = ctx.client()
        functions = client.functions.list(all_namespaces)
        where = "any namespace" if all_namespaces else client.namespace
    if not functions and output.as_text:
        note(f"no functions in {where}")
        return
    wide = output is Format.WIDE
    emit(
        functions,
        output,
        lambda: function_tables.functions_table(functions, time.time(), wide, all_namespaces),
        lambda: [function_tables.function_name(one) for one in functions],
    )


def get(
    ctx: CommandContext, name: FunctionName, gateway: GatewayUrl = None, output: Output = TABLE
) -> None:
    """Show a function and its newest runs."""
    remote = function_run.gateway_of(gateway)
    function = ctx.client().functions.get(name) if remote is None else remote.function(name)
    full_name = function_tables.function_name(function)
    card = function_tables.function_card(function, time.time())
    emit(function, output, lambda: card, lambda: [full_name])


def versions(
    ctx: CommandContext, name: FunctionName, gateway: GatewayUrl = None, output: Output = TABLE
) -> None:
    """List the versions of a function, newest first."""
    remote = function_run.gateway_of(gateway)
    if remote is None:
        listed = function_tables.versions_of(ctx.client().functions.get(name))
    else:
        listed = remote.versions(name)
    table = function_tables.versions_table(listed, time.time(), output is Format.WIDE)
    emit(listed, output, lambda: table, lambda: [str(one["version"]) for one in listed])


def upload(
    ctx: CommandContext,
    path: Annotated[Path, typer.Argument(help="A folder with main.py, a ZIP, or a Python file.")],
    name: Annotated[
        str | None,
        typer.Option("--name", help="Name of the function; an existing one gets a new version."),
    ] = None,
    image: Annotated[
        str | None,
        typer.Option("--image", help="Container image; with a gateway, the name of a runtime."),
    ] = None,
    pool: PoolOption = None,
    memory: Memory = None,
    cpu: Cpu = None,
    timeout: Annotated[
        str | None, typer.Option("--timeout", help="Timeout of each run: 90, 90s, 5m, 1h.")
    ] = None,
    env: Env = None,
    env_secrets: EnvSecret = None,
    start: Annotated[
        str | None, typer.Option("--command", help="Command; default: python3 main.py.")
    ] = None,
    gateway: GatewayUrl = None,
    output: Output = TABLE,
) -> None:
    """Store code as a new function or a new version, and print NAME and VERSION."""
    from nanogrid.client import functions

    argv = None if start is None else _argv(start)
    seconds = source.duration_option("--timeout", timeout)
    variables = source.parse_env(env or [])
    secrets = source.parse_env_secrets(env_secrets or [])
    remote = function_run.gateway_of(gateway)
    shown = name or functions.name_of(path)
    if remote is not None:
        if cpu or variables or secrets:
            message = "a gateway does not support --cpu, --env and --env-secret"
            raise UsageError(message, "Remove them, or use --gateway '' for the cluster.")
        stored = remote.upload(
            functions.archive_of(path, argv),
            name=shown,
            runtime=image,
            pool=pool,
            entryPoint=_script(argv),
            memory=memory,
            timeout=seconds,
        )
        shown, version = stored["functionId"], stored["version"]
    else:
        stored = ctx.client().functions.upload(
            path,
            shown,
            image=image,
            pool=pool,
            memory=memory,
            cpu=cpu,
            timeout=seconds,
            env=variables,
            env_secrets=secrets,
            command=argv,
        )
        version = functions.newest_of(stored)
    if guesses := functions.guesses_of(path):
        note(f"{path}: {guesses}")
    full_name = f"{names.FUNCTION_SINGULAR}.{names.GROUP}/{shown}"
    emit(stored, output, lambda: f"{shown} {version}\n", lambda: [full_name])


def _argv(text: str) -> list[str]:
    try:
        argv = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"--command {text!r}: {error}", "Close the quotes.") from None
    if not argv:
        raise UsageError("--command is empty", "--command 'python3 handler.py'")
    return argv


def _script(argv: list[str] | None) -> str | None:
    """The script that the gateway starts with python3."""
    if argv is None:
        return None
    if len(argv) == 2 and argv[0] == "python3":
        return argv[1]
    raise UsageError("a gateway starts only Python scripts", "--command 'python3 SCRIPT.py'")


def delete(
    ctx: CommandContext,
    functions: FunctionNames,
    yes: Yes = False,
    gateway: GatewayUrl = None,
) -> None:
    """Delete functions. Their current runs continue."""
    remote = function_run.gateway_of(gateway)
    if not yes:
        confirm(f"Delete {', '.join(functions)}?")
    for name in functions:
        if remote is None:
            ctx.client().functions.delete(name)
        else:
            remote.delete(name)
        note(f"{name} deleted")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = command_group(app, "function", HELP)
    command(group, "list", "nanogrid function list -o wide")(list_functions)
    command(group, "get", "nanogrid function get report")(get)
    command(group, "versions", "nanogrid function versions report")(versions)
    command(group, "upload", "nanogrid function upload ./report --name report --memory 256Mi")(
        upload
    )
    function_run.register(group)
    command(group, "delete", "nanogrid function delete report --yes")(delete)
