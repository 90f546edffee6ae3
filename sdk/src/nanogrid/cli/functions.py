"""``function list|get|versions|upload|delete``: code that can be run again and again.

By the API server, or through the gateway when one is named by --gateway or $NANOGRID_URL.
"""

import shlex
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from nanogrid import names
from nanogrid.cli import functionrun, functiontables, source
from nanogrid.cli.faults import Fault, UsageFault
from nanogrid.cli.jobs import AllNamespaces
from nanogrid.cli.link import Link, command
from nanogrid.cli.output import Format, Output, emit, say

Json = dict[str, Any]
HELP: Final = "Code that is uploaded once and run again and again, each time with other input."
FunctionName = Annotated[str, typer.Argument(metavar="FUNCTION", help="Name of the function.")]
GatewayUrl = functionrun.GatewayUrl


def list_functions(
    link: Link,
    all_namespaces: AllNamespaces = False,
    gateway: GatewayUrl = None,
    output: Output = Format.TABLE,
) -> None:
    """List functions: versions, runs, how the last one ended, and the memory that would do."""
    remote = functionrun.gateway_of(gateway)
    if remote is not None and all_namespaces:
        raise UsageFault("a gateway knows one namespace", "Leave out -A, or give --gateway ''.")
    if remote is not None:
        found, where = remote.functions(), "the gateway"
    else:
        client = link.client()
        found = client.functions.list(all_namespaces)
        where = "any namespace" if all_namespaces else client.namespace
    if not found and output.as_text:
        say(f"no functions in {where}")
        return
    wide = output is Format.WIDE
    emit(
        found,
        output,
        lambda: functiontables.functions_table(found, time.time(), wide, all_namespaces),
        lambda: [functiontables.function_name(one) for one in found],
    )


def get(
    link: Link, name: FunctionName, gateway: GatewayUrl = None, output: Output = Format.TABLE
) -> None:
    """Show a function and its newest runs."""
    remote = functionrun.gateway_of(gateway)
    found = link.client().functions.get(name) if remote is None else remote.function(name)
    emit(
        found,
        output,
        lambda: functiontables.function_card(found, time.time()),
        lambda: [functiontables.function_name(found)],
    )


def versions(
    link: Link, name: FunctionName, gateway: GatewayUrl = None, output: Output = Format.TABLE
) -> None:
    """List a function's versions, the newest first."""
    remote = functionrun.gateway_of(gateway)
    if remote is None:
        found = functiontables.versions_of(link.client().functions.get(name))
    else:
        found = remote.versions(name)
    emit(
        found,
        output,
        lambda: functiontables.versions_table(found, time.time()),
        lambda: [str(one["version"]) for one in found],
    )


def upload(
    link: Link,
    path: Annotated[Path, typer.Argument(help="A folder with main.py, a ZIP, or a Python file.")],
    name: Annotated[
        str | None,
        typer.Option("--name", help="Of the function; one that exists gets a new version."),
    ] = None,
    image: Annotated[
        str | None, typer.Option("--image", help="Image; with a gateway, one of its runtimes.")
    ] = None,
    memory: Annotated[str | None, typer.Option("--memory", help="Most memory: 256Mi.")] = None,
    cpu: Annotated[str | None, typer.Option("--cpu", help="Most cores: 1 or 500m.")] = None,
    timeout: Annotated[
        str | None, typer.Option("--timeout", help="Of a run: 90, 90s, 5m, 1h.")
    ] = None,
    env: Annotated[list[str] | None, typer.Option("--env", "-e", help="NAME=VALUE; again.")] = None,
    start: Annotated[
        str | None, typer.Option("--command", help="Instead of python3 main.py.")
    ] = None,
    gateway: GatewayUrl = None,
    output: Output = Format.TABLE,
) -> None:
    """Store code as a new function, or as the next version of one; prints NAME and VERSION."""
    from nanogrid.client import functions

    words = None if start is None else _words(start)
    seconds = source.parse_timeout(timeout)
    variables = source.parse_env(env or [])
    remote = functionrun.gateway_of(gateway)
    if remote is not None:
        if cpu or variables:
            said = "the gateway sets neither cpu nor env"
            raise UsageFault(said, "Leave them out, or give --gateway '' to use the cluster.")
        form = {
            "functionId": name,
            "runtime": image,
            "entryPoint": _script(words),
            "memory": memory,
            "timeout": seconds,
        }
        stored = remote.upload(functions.archive_of(path, words is None), **form)
        shown, version = stored["functionId"], stored["version"]
    else:
        shown = name or functions.name_of(path)
        stored = link.client().functions.upload(
            path,
            shown,
            image=image,
            memory=memory,
            cpu=cpu,
            timeout=seconds,
            env=variables,
            command=words,
        )
        version = functions.newest_of(stored)
    full = f"{names.FUNCTION_SINGULAR}.{names.GROUP}/{shown}"
    emit(stored, output, lambda: f"{shown} {version}\n", lambda: [full])


def _words(text: str) -> list[str]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageFault(f"--command {text!r}: {error}", "Close the quotes.") from None
    if not words:
        raise UsageFault("--command is empty", "--command 'python3 handler.py'")
    return words


def _script(words: list[str] | None) -> str | None:
    """The script that the gateway starts with python3."""
    if words is None:
        return None
    if len(words) == 2 and words[0] == "python3":
        return words[1]
    raise UsageFault("a gateway starts only scripts", "--command 'python3 SCRIPT.py'")


def delete(
    link: Link,
    given: Annotated[list[str], typer.Argument(metavar="FUNCTION...", help="Names.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    gateway: GatewayUrl = None,
) -> None:
    """Delete functions; runs that have begun go on."""
    remote = functionrun.gateway_of(gateway)
    if not yes:
        agree(f"Delete {', '.join(given)}?", "nanogrid function delete --yes deletes unasked.")
    for name in given:
        if remote is None:
            link.client().functions.delete(name)
        else:
            remote.delete(name)
        say(f"{name} is deleted")


def agree(question: str, unasked: str) -> None:
    """Ask, on a terminal only.

    Raises:
        Fault: nobody can be asked, or the answer is no.
    """
    if not sys.stdin.isatty():
        raise Fault(f"{question} Nobody can be asked here", unasked)
    if not typer.confirm(question, err=True):
        raise Fault("nothing was changed")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    command(group, "list", "nanogrid function list -o wide")(list_functions)
    command(group, "get", "nanogrid function get report")(get)
    command(group, "versions", "nanogrid function versions report")(versions)
    command(group, "upload", "nanogrid function upload ./report --name report --memory 256Mi")(
        upload
    )
    functionrun.register(group)
    command(group, "delete", "nanogrid function delete report --yes")(delete)
    app.add_typer(group, name="function", help=HELP)
