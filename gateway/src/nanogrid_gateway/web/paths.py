"""The page's paths. Browsers send the sign-in cookie only below ``PREFIX``."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from aiohttp import web

from nanogrid_gateway.api.routing import CALLER, NAMESPACE

PREFIX: Final = "/web"
HOME: Final = f"{PREFIX}/"
SIGN_IN: Final = f"{PREFIX}/sign-in"
STATIC: Final = f"{PREFIX}/static"
ALL: Final = f"{PREFIX}/all"
ONE: Final = f"{PREFIX}/ns/{{namespace}}"  # as routes are registered


def below(path: str) -> bool:
    """Whether a path belongs to the page, also if no page has it."""
    return f"{path}/".startswith(HOME)


def local(target: str, home: str = HOME) -> str:
    """The redirect target after a sign-in: ``target`` if it is below HOME; else ``home``."""
    own = target.startswith(HOME) and not target.startswith(f"{HOME}/")
    return target if own and target.isprintable() and "\\" not in target else home


@dataclass(frozen=True, slots=True)
class Scope:
    """The pages of one namespace, or the lists of all: where they are.

    Attributes:
        namespace: empty for the lists of all namespaces.
        prefix: of all paths, without a slash at the end.
        own: whether it is the gateway's namespace, whose runs this gateway can also change.
    """

    namespace: str
    prefix: str
    own: bool = False

    @property
    def runs(self) -> str:
        """The list of runs."""
        return f"{self.prefix}/"

    @property
    def queue(self) -> str:
        """The page of the queue."""
        return f"{self.prefix}/queue"

    @property
    def functions(self) -> str:
        """The list of functions."""
        return f"{self.prefix}/functions"

    def function(self, name: str) -> str:
        """The page of a function."""
        return f"{self.functions}/{quote(name, safe='')}"

    def run(self, run: str) -> str:
        """The page of a run, by its name or requestId."""
        return f"{self.prefix}/runs/{quote(run, safe='')}"

    def file(self, run: str, file: str) -> str:
        """The download of a run's output file."""
        return f"{self.run(run)}/files/{quote(file)}"


EVERYWHERE: Final = Scope("", ALL)


@dataclass(frozen=True, slots=True)
class Scopes:
    """The scope of each namespace.

    Args:
        namespace: the gateway's, whose pages are directly below ``PREFIX``.
        everywhere: whether there are pages of other namespaces.
    """

    namespace: str
    everywhere: bool

    @property
    def own(self) -> Scope:
        """The gateway's namespace."""
        return Scope(self.namespace, PREFIX, own=True)

    @property
    def home(self) -> str:
        """The first page."""
        return EVERYWHERE.runs if self.everywhere else HOME

    def at(self, request: web.Request) -> Scope:
        """The scope of a request's path; of the first page for a caller without a permission."""
        if CALLER not in request:
            return EVERYWHERE if self.everywhere else self.own
        if (namespace := request.match_info.get(NAMESPACE)) is not None:
            return self.of(namespace)
        return EVERYWHERE if f"{request.path}/".startswith(EVERYWHERE.runs) else self.own

    def of(self, namespace: str) -> Scope:
        """The scope of a namespace; empty: the lists of all."""
        if namespace == self.namespace:
            return self.own
        if not namespace:
            return EVERYWHERE
        return Scope(namespace, ONE.format(namespace=namespace))
