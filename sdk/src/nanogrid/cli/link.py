"""How a command reaches the cluster: the options that all commands share, and the client.

``@command(app, "get")`` adds --namespace, --context and --kubeconfig to a function whose first
parameter is a :class:`Link`, and runs it guarded (:mod:`nanogrid.cli.faults`).
"""

import inspect
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from nanogrid.cli import exits
from nanogrid.cli.faults import guarded

if TYPE_CHECKING:
    from nanogrid.client import Client

Command = Callable[..., None]
PANEL: Final = "Cluster"

_Namespace = Annotated[
    str | None,
    typer.Option(
        "--namespace", "-n", help="Namespace; default: the kubeconfig's.", rich_help_panel=PANEL
    ),
]
_Context = Annotated[
    str | None, typer.Option("--context", help="Context of the kubeconfig.", rich_help_panel=PANEL)
]
_Kubeconfig = Annotated[
    str | None,
    typer.Option(
        "--kubeconfig", help="Path; default: $KUBECONFIG, ~/.kube/config.", rich_help_panel=PANEL
    ),
]
SHARED: Final[dict[str, Any]] = {
    "namespace": _Namespace,
    "context": _Context,
    "kubeconfig": _Kubeconfig,
}


@dataclass(frozen=True)
class Link:
    """Which cluster and namespace a command is about."""

    namespace: str | None = None
    context: str | None = None
    kubeconfig: str | None = None
    made: "list[Client]" = field(default_factory=list)

    def client(self, namespace: str | None = None) -> "Client":
        """A client; nothing is sent yet."""
        self.made.append(make_client(self, namespace or self.namespace))
        return self.made[-1]

    def close(self) -> None:
        """End what the clients have opened: connections and port-forwards."""
        while self.made:
            self.made.pop().close()

    def flags(self) -> str:
        """The options to repeat in an advice, with a space before: `` -n jobs``."""
        given = [("-n", self.namespace), ("--context", self.context)]
        given.append(("--kubeconfig", self.kubeconfig))
        return "".join(f" {flag} {value}" for flag, value in given if value)


def make_client(link: Link, namespace: str | None) -> "Client":
    """The one place where a client is made; tests put a fake here."""
    from nanogrid.client import Client

    return Client(
        namespace=namespace,
        context=link.context,
        kubeconfig=link.kubeconfig,
    )


def command(
    app: typer.Typer, name: str, example: str, exit_codes: bool = False
) -> Callable[[Command], Command]:
    """Register a command of the cluster; its first parameter is the link.

    Args:
        app: where it belongs.
        name: what is typed.
        example: a line that can be typed, for --help.
        exit_codes: show their table in --help.
    """

    def register(function: Command) -> Command:
        def run(**given: Any) -> None:
            link = Link(**{key: given.pop(key) for key in SHARED})
            with closing(link):
                guarded(lambda: function(link, **given))

        _, *own = inspect.signature(function).parameters.values()
        keyword = inspect.Parameter.KEYWORD_ONLY
        epilog = _epilog(example) + (f"\n\n{EPILOG}" if exit_codes else "")
        shared = [
            inspect.Parameter(key, keyword, default=None, annotation=kind)
            for key, kind in SHARED.items()
        ]
        return _register(app, name, run, function, [*own, *shared], epilog)

    return register


def local_command(app: typer.Typer, name: str, example: str) -> Callable[[Command], Command]:
    """Register a command that needs no cluster; see command."""

    def register(function: Command) -> Command:
        def run(**given: Any) -> None:
            guarded(lambda: function(**given))

        own = list(inspect.signature(function).parameters.values())
        return _register(app, name, run, function, own, _epilog(example))

    return register


def _register(
    app: typer.Typer,
    name: str,
    run: Command,
    function: Command,
    parameters: list[inspect.Parameter],
    epilog: str,
) -> Command:
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [one.replace(kind=keyword) for one in parameters]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    run.__doc__ = function.__doc__
    run.__name__ = function.__name__
    app.command(name, epilog=epilog)(run)
    return function


def _epilog(example: str) -> str:
    return f"Example:\n\n\b\n  {example}"


EPILOG: Final = "Exit codes:\n\n\b\n" + exits.table()
