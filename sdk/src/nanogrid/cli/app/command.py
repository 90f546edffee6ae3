"""How a command reaches the cluster: the options that all commands share, and the client.

``@command(app, "get")`` adds --namespace, --context and --kubeconfig to a function whose first
parameter is a :class:`CommandContext`. Errors are handled by :mod:`nanogrid.cli.app.errors`.
"""

import inspect
import os
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from nanogrid import controller_class, log_line
from nanogrid.cli.app import exits
from nanogrid.cli.app.errors import exit_on_error

if TYPE_CHECKING:
    from nanogrid.client import Client

Command = Callable[..., None]
PANEL: Final = "Cluster"
CALL: Final = "call"  # the parameter with Typer's context
_CALL: Final = inspect.Parameter(CALL, inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)

_Namespace = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        "-n",
        help="Namespace; default: from the kubeconfig.",
        rich_help_panel=PANEL,
    ),
]
_Context = Annotated[
    str | None, typer.Option("--context", help="Kubeconfig context to use.", rich_help_panel=PANEL)
]
_Kubeconfig = Annotated[
    str | None,
    typer.Option(
        "--kubeconfig",
        help="Path of the kubeconfig; default: $KUBECONFIG, then ~/.kube/config.",
        rich_help_panel=PANEL,
    ),
]
_ControllerClass = Annotated[
    str | None,
    typer.Option(
        "--controller-class",
        metavar="CLASS",
        help="Installation to use, if several share the cluster; default: "
        f"${controller_class.ENV}, then the one without a class.",
        rich_help_panel=PANEL,
    ),
]


def _one_of(choices: tuple[str, ...]) -> Callable[[str | None], str | None]:
    """A callback that takes one of these, in upper or lower case."""

    def check(text: str | None) -> str | None:
        found = next((c for c in choices if text is not None and c.lower() == text.lower()), None)
        if text is not None and found is None:
            raise typer.BadParameter(f"{text!r} is none of {', '.join(choices)}")
        return found

    return check


SHARED: Final[dict[str, Any]] = {
    "namespace": _Namespace,
    "context": _Context,
    "kubeconfig": _Kubeconfig,
    "controller_class": _ControllerClass,
}
# Of the program only, before the name of a command.
LOGGING: Final[dict[str, Any]] = {
    "log_format": Annotated[
        str | None,
        typer.Option(
            "--log-format",
            metavar="|".join(log_line.FORMATS),
            callback=_one_of(log_line.FORMATS),
            help=f"Form of logs on stderr; default: ${log_line.ENV_FORMAT}, then text.",
        ),
    ],
    "log_level": Annotated[
        str | None,
        typer.Option(
            "--log-level",
            metavar="|".join(log_line.LEVELS),
            callback=_one_of(log_line.LEVELS),
            help=f"Lowest level of logs; default: ${log_line.ENV_LEVEL}, then WARNING.",
        ),
    ],
}
VALUE_OPTIONS: Final = (
    *("--namespace", "-n", "--context", "--kubeconfig", "--controller-class"),
    *("--log-format", "--log-level"),
)


@dataclass(frozen=True)
class CommandContext:
    """The cluster and namespace that a command works on, and its open clients."""

    namespace: str | None = None
    context: str | None = None
    kubeconfig: str | None = None
    controller_class: str | None = None
    clients: "list[Client]" = field(default_factory=list)

    @classmethod
    def of(cls, options: Mapping[str, str]) -> "CommandContext":
        """The context of the options of :data:`SHARED` that are given."""
        return cls(
            options.get("namespace"),
            options.get("context"),
            options.get("kubeconfig"),
            options.get("controller_class"),
        )

    def client(self, namespace: str | None = None) -> "Client":
        """Make a client. This sends no request."""
        self.clients.append(make_client(self, namespace or self.namespace))
        return self.clients[-1]

    def close(self) -> None:
        """Close what the clients opened: connections and port-forwards."""
        while self.clients:
            self.clients.pop().close()

    def flags(self) -> str:
        """The cluster options to repeat in a hint, with a leading space: `` -n jobs``."""
        given = [("-n", self.namespace), ("--context", self.context)]
        given.append(("--kubeconfig", self.kubeconfig))
        given.append(("--controller-class", self.controller_class))
        return "".join(f" {flag} {value}" for flag, value in given if value)


def chosen(given: Mapping[str, Any]) -> dict[str, str]:
    """The cluster options that have a value."""
    return {key: given[key] for key in SHARED if given.get(key)}


def make_client(ctx: CommandContext, namespace: str | None) -> "Client":
    """The only place that creates clients; tests replace it with a fake."""
    from nanogrid.client import Client

    return Client(
        namespace=namespace,
        context=ctx.context,
        kubeconfig=ctx.kubeconfig,
        controller_class=ctx.controller_class,
    )


def command(
    app: typer.Typer, name: str, example: str, exit_codes: bool = False
) -> Callable[[Command], Command]:
    """Register a cluster command; its first parameter is a :class:`CommandContext`.

    Args:
        app: the group that the command belongs to.
        name: the name of the command.
        example: a valid command line, for --help.
        exit_codes: show the table of exit codes in --help.
    """

    def register(function: Command) -> Command:
        def run(**given: Any) -> None:
            inherited: dict[str, str] = given.pop(CALL).obj or {}
            ctx = CommandContext.of(inherited | chosen(given))
            given = {key: value for key, value in given.items() if key not in SHARED}
            with closing(ctx):
                exit_on_error(lambda: function(ctx, **given))

        _, *own = inspect.signature(function).parameters.values()
        keyword = inspect.Parameter.KEYWORD_ONLY
        epilog = _epilog(example) + (f"\n\n{EPILOG}" if exit_codes else "")
        shared = [
            inspect.Parameter(key, keyword, default=None, annotation=kind)
            for key, kind in SHARED.items()
        ]
        return _register(app, name, run, function, [*own, *shared, _CALL], epilog)

    return register


def accept_cluster_options(app: typer.Typer, version: Callable[[bool], None] | None = None) -> None:
    """Let a group take --namespace, --context and --kubeconfig before the name of its command.

    Args:
        app: the group.
        version: prints the version for --version; None if the group has no such option.
    """

    def remember(**given: Any) -> None:
        call = given.pop(CALL)
        if version is not None:
            from nanogrid import logs  # late: --help and --version need none

            chosen_form = given.pop("log_format"), given.pop("log_level")
            logs.start("cli", os.environ, *chosen_form, default_level="WARNING")
        call.obj = (call.obj or {}) | chosen(given)

    keyword = inspect.Parameter.KEYWORD_ONLY
    kinds: dict[str, tuple[Any, Any]] = {key: (kind, None) for key, kind in SHARED.items()}
    if version is not None:
        text = "Print the version of this program."
        option = typer.Option("--version", is_eager=True, callback=version, help=text)
        kinds["version"] = (Annotated[bool, option], False)
        kinds |= {key: (kind, None) for key, kind in LOGGING.items()}
    shared = [
        inspect.Parameter(key, keyword, default=default, annotation=kind)
        for key, (kind, default) in kinds.items()
    ]
    _describe(remember, [*shared, _CALL])
    app.callback()(remember)


def command_group(app: typer.Typer, name: str, text: str) -> typer.Typer:
    """A group of commands below the program."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    accept_cluster_options(group)
    app.add_typer(group, name=name, help=text)
    return group


def local_command(app: typer.Typer, name: str, example: str) -> Callable[[Command], Command]:
    """Register a command that needs no cluster. The arguments are those of :func:`command`."""

    def register(function: Command) -> Command:
        def run(**given: Any) -> None:
            exit_on_error(lambda: function(**given))

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
    _describe(run, parameters)
    run.__doc__ = function.__doc__
    run.__name__ = function.__name__
    app.command(name, epilog=epilog)(run)
    return function


def _describe(run: Command, parameters: list[inspect.Parameter]) -> None:
    """Give a function the parameters that Typer reads from its signature."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [parameter.replace(kind=keyword) for parameter in parameters]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}


def _epilog(example: str) -> str:
    return f"Example:\n\n\b\n  {example}"


EPILOG: Final = "Exit codes:\n\n\b\n" + exits.table()
