"""The lists: runs, the queue and functions, of one namespace or of all that a caller may list."""

from dataclasses import dataclass
from typing import Final

from aiohttp import web

from nanogrid import names
from nanogrid.lifecycle import Phase
from nanogrid.reasons import Reason
from nanogrid_gateway.api.errors import ApiError
from nanogrid_gateway.api.gateway import Gateway
from nanogrid_gateway.api.listing import list_page
from nanogrid_gateway.api.requests import FUNCTION, valid_id
from nanogrid_gateway.api.reviews import KNOWN_CALLER, require
from nanogrid_gateway.api.routing import ACCESS, Routes
from nanogrid_gateway.kube.client import Kube
from nanogrid_gateway.web import function_view, paths
from nanogrid_gateway.web.namespaces import Namespaces
from nanogrid_gateway.web.paths import Scope
from nanogrid_gateway.web.rendering import Renderer
from nanogrid_gateway.web.run_list import Filter
from nanogrid_gateway.web.visible import LIST_RUNS

WAITING_ROWS: Final = 20
FUNCTIONS_PER_PAGE: Final = "100"
POLL: Final = 2  # seconds
SLOW_POLL: Final = 10
PHASES: Final = [phase.value for phase in Phase]


@dataclass(frozen=True, slots=True)
class Lists:
    """Runs, the queue and functions."""

    gateway: Gateway
    renderer: Renderer
    namespaces: Namespaces

    def add_to(self, routes: Routes) -> None:
        """Register the handlers."""
        prefixes = [paths.PREFIX, *([paths.ONE] if self.namespaces.scopes.everywhere else [])]
        for prefix in prefixes:
            functions = f"{prefix}/functions"
            routes.add("GET", f"{prefix}/", self.runs, LIST_RUNS)
            routes.add("GET", f"{prefix}/queue", self.queue, LIST_RUNS)
            routes.add("GET", functions, self.functions, require("list", names.FUNCTION_PLURAL))
            one = require("get", names.FUNCTION_PLURAL)
            routes.add("GET", f"{functions}/{{function_id}}", self.function, one)
        if self.namespaces.scopes.everywhere:
            # Each shows the runs that its caller may list; that may be none.
            routes.add("GET", f"{paths.ALL}/", self.runs, KNOWN_CALLER)
            routes.add("GET", f"{paths.ALL}/queue", self.queue, KNOWN_CALLER)
            routes.add("GET", f"{paths.ALL}/functions", self.all_functions, KNOWN_CALLER)

    async def runs(self, request: web.Request) -> web.StreamResponse:
        """The runs that a filter selects."""
        selected = Filter(
            function=request.query.get("function", "").strip(),
            phase=request.query.get("phase", ""),
            text=request.query.get("q", "").strip(),
        )
        seen = await self.namespaces.seen(request)
        number = _number(request.query.get("page", ""))
        return self.renderer.live(
            request,
            "runs",
            POLL,
            page=seen.runs.page(selected, number) if seen.runs else None,
            selected=selected,
            phases=PHASES,
            functions=seen.runs.functions() if seen.runs else [],
            left_out=seen.runs.left_out if seen.runs else 0,
            last_error=self.namespaces.watcher.last_error,
            choices=seen.choices,
        )

    async def queue(self, request: web.Request) -> web.StreamResponse:
        """How many runs are in which phase, and the runs that have waited longest."""
        seen = await self.namespaces.seen(request)
        return self.renderer.live(
            request,
            "queue",
            POLL,
            queue=seen.runs.queue(WAITING_ROWS) if seen.runs else None,
            phases=PHASES,
            left_out=seen.runs.left_out if seen.runs else 0,
            last_error=self.namespaces.watcher.last_error,
            choices=seen.choices,
        )

    async def all_functions(self, request: web.Request) -> web.StreamResponse:
        """The functions with runs in all namespaces that the caller may list."""
        seen = await self.namespaces.seen(request)
        return self.renderer.live(
            request,
            "all-functions",
            SLOW_POLL,
            functions=seen.runs.used_functions() if seen.runs else None,
            choices=seen.choices,
        )

    async def functions(self, request: web.Request) -> web.StreamResponse:
        """A page of functions."""
        token = request.query.get("continue", "")
        query = {"limit": FUNCTIONS_PER_PAGE} | ({"continue": token} if token else {})
        kube = self._kube(self.namespaces.scopes.at(request))
        page = await list_page(kube, kube.functions, query)
        return self.renderer.live(
            request,
            "functions",
            SLOW_POLL,
            functions=[function_view.view_of(body) for body in page["items"]],
            more=page["metadata"].get("continue"),
            choices=await self.namespaces.choices(request),
        )

    async def function(self, request: web.Request) -> web.StreamResponse:
        """One function."""
        name, here = request.match_info["function_id"], self.namespaces.scopes.at(request)
        known = valid_id(FUNCTION, name, Reason.FUNCTION_NOT_FOUND)
        kube = self._kube(here)
        body = await kube.get(kube.functions, known)
        if body is None:
            raise ApiError(404, Reason.FUNCTION_NOT_FOUND)
        rows = []
        if not (body.get("status") or {}).get("recent") and await self._may_list(request, here):
            runs = (await self.namespaces.seen(request)).runs
            rows = runs.of_function(known, function_view.RECENT_RUNS) if runs else []
        view = function_view.view_of(body, rows)
        choices = await self.namespaces.choices(request)
        return self.renderer.live(request, "function", SLOW_POLL, function=view, choices=choices)

    def _kube(self, here: Scope) -> Kube:
        kube = self.gateway.kube
        return kube if here.own else kube.within(here.namespace)

    async def _may_list(self, request: web.Request, here: Scope) -> bool:
        """Whether the caller may also list runs; the functions' page works without that."""
        permission = LIST_RUNS if here.own else LIST_RUNS.within(here.namespace)
        try:
            await request[ACCESS].check(permission)
        except ApiError as e:
            if e.status != 403:
                raise
            return False
        return True


def _number(text: str) -> int:
    """The number of a page; the first one if the text is no number."""
    try:
        return int(text)
    except ValueError:
        return 1
