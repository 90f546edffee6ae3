"""The web page's routes; each protected view names its permission, as the API does."""

from dataclasses import dataclass
from typing import Final

from aiohttp import web

from nanogrid import names
from nanogrid.lifecycle import Phase
from nanogrid.reasons import Reason
from nanogrid_gateway.api.auth import require
from nanogrid_gateway.api.bodies import FORM_BYTES
from nanogrid_gateway.api.errors import ApiError
from nanogrid_gateway.api.gateway import Gateway
from nanogrid_gateway.api.listing import list_page
from nanogrid_gateway.api.requests import FUNCTION, REQUEST_ID, valid_id
from nanogrid_gateway.api.responses import send_stream
from nanogrid_gateway.api.routing import ADDRESS, Credentials, Refusal, Routes
from nanogrid_gateway.api.runs.outputs import open_output
from nanogrid_gateway.web import access, assets, function_view, hints, paths, run_view
from nanogrid_gateway.web.rendering import Renderer
from nanogrid_gateway.web.run_index import Filter, RunIndex
from nanogrid_gateway.web.runs_by_name import RunsByName
from nanogrid_gateway.web.settings import WebSettings
from nanogrid_gateway.web.sign_in_cookie import SignInCookie
from nanogrid_gateway.web.watch import RunWatcher

WAITING_ROWS: Final = 20
FUNCTIONS_PER_PAGE: Final = "100"
POLL: Final = 2  # seconds
SLOW_POLL: Final = 10
PHASES: Final = [phase.value for phase in Phase]
POLICY: Final = (
    "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
LIST_RUNS: Final = require("list")


def add_routes(app: web.Application, gateway: Gateway) -> Refusal:
    """The routes of ``/`` and below ``/web/``; returns what makes the page of an error."""
    settings = WebSettings.from_env()
    cookie = SignInCookie(settings.key, settings.seconds)

    def credentials(request: web.Request) -> str:
        return access.credentials(request, cookie)

    renderer = Renderer(
        gateway.settings.namespace,
        open_to_all=gateway.settings.auth_mode == "none",
        credentials=credentials,
        csrf_token=cookie.csrf_token,
    )
    index = RunIndex()
    watcher = RunWatcher(gateway.kube.cluster, gateway.kube.jobs, index, lambda: gateway.draining)
    pages = Pages(gateway, renderer, cookie)
    lists = Lists(gateway, renderer, watcher, index, credentials)
    routes = Routes(
        app, gateway.auth, gateway.limits, credentials=credentials, refuse=pages.refused
    )
    pages.add_to(routes)
    lists.add_to(routes)
    assets.add_routes(routes)
    app.on_response_prepare.append(_harden)
    return pages.refused


class Pages:
    """Sign-in, sign-out, and the pages of one run."""

    def __init__(self, gateway: Gateway, renderer: Renderer, cookie: SignInCookie) -> None:
        self._gateway = gateway
        self._renderer = renderer
        self._cookie = cookie
        self._runs = RunsByName(gateway)

    def add_to(self, routes: Routes) -> None:
        """Register the handlers."""
        here = f"{paths.PREFIX}/runs/{{run_id}}"
        routes.add_open("GET", "/", self.root)
        routes.add_open("GET", paths.SIGN_IN, self.sign_in_form)
        routes.add_open("POST", paths.SIGN_IN, self.sign_in)
        routes.add_open("POST", f"{paths.PREFIX}/sign-out", self.sign_out)
        routes.add("GET", here, self.run, require("get"))
        routes.add("POST", f"{here}/cancel", self.cancel, require("patch"))
        routes.add("POST", f"{here}/again", self.again, require("create"))
        routes.add("GET", f"{here}/logs", self.follow, require("get"))
        routes.add("GET", f"{here}/files/{{name:(?s:.+)}}", self.file, require("get"))

    async def root(self, request: web.Request) -> web.StreamResponse:
        """To the first page."""
        return access.go(paths.HOME)

    async def sign_in_form(self, request: web.Request) -> web.StreamResponse:
        """The sign-in form."""
        return self._sign_in_page(request, request.query.get("next", ""))

    async def sign_in(self, request: web.Request) -> web.StreamResponse:
        """Check the form's token, and store it."""
        access.check_origin(request)
        fields = (await self._gateway.bodies.form(request, FORM_BYTES)).fields
        wanted = fields.get("next", "")
        try:
            return await access.sign_in(
                request, fields, self._gateway.auth, self._cookie, LIST_RUNS, paths.local(wanted)
            )
        except ApiError as e:
            return self._sign_in_page(request, wanted or request.query.get("next", ""), e)

    async def sign_out(self, request: web.Request) -> web.StreamResponse:
        """Delete the cookie."""
        await self._check_form(request)
        return access.sign_out(request)

    async def run(self, request: web.Request) -> web.StreamResponse:
        """One run."""
        name = _run_id(request)
        view = run_view.view_of(name, *await self._runs.job_and_result(name))
        return self._renderer.live(request, "run", 0 if view.ended else POLL, run=view)

    async def cancel(self, request: web.Request) -> web.StreamResponse:
        """Stop a run."""
        await self._check_form(request)
        name = _run_id(request)
        await self._runs.cancel(name)
        return access.go(paths.run_path(name))

    async def again(self, request: web.Request) -> web.StreamResponse:
        """Run the same again, as a new run."""
        await self._check_form(request)
        return access.go(paths.run_path(await self._runs.again(_run_id(request))))

    async def follow(self, request: web.Request) -> web.StreamResponse:
        """The output of a run, live."""
        return await self._gateway.streams.send(request, self._runs, _run_id(request))

    async def file(self, request: web.Request) -> web.StreamResponse:
        """One output file of a run; images may be shown in place."""
        answer = await self._runs.look(_run_id(request))
        if not answer.done:
            raise ApiError(404, Reason.OUTPUT_NOT_FOUND)
        found = await open_output(self._gateway.objects, answer.body, request.match_info["name"])
        response = web.StreamResponse(headers=found.headers)
        if "inline" in request.query and found.media_type in run_view.RASTER:
            response.headers["Content-Disposition"] = "inline"
        return await send_stream(request, response, found.chunks)

    def refused(self, request: web.Request, error: ApiError) -> web.StreamResponse:
        """The page of an error; unknown callers are sent to the sign-in form."""
        if error.status == 401:
            return access.to_sign_in(request)
        hint = hints.hint_of(error)
        response = self._renderer.page(request, "error", error.status, error=error, hint=hint)
        return _with_retry(response, error)

    async def _check_form(self, request: web.Request) -> None:
        form = await self._gateway.bodies.form(request, FORM_BYTES)
        access.check_form(request, form.fields, self._cookie)

    def _sign_in_page(
        self, request: web.Request, wanted: str, error: ApiError | None = None
    ) -> web.Response:
        response = self._renderer.page(
            request,
            "sign-in",
            error.status if error else 200,
            error=error,
            hint=hints.hint_of(error) if error else "",
            audience=self._gateway.settings.auth_audience,
            mode=self._gateway.settings.auth_mode,
            next=paths.local(wanted),
            expired=error is None and access.COOKIE in request.cookies,
        )
        return _with_retry(response, error)


@dataclass(frozen=True, slots=True)
class Lists:
    """Runs, the queue and functions."""

    gateway: Gateway
    renderer: Renderer
    watcher: RunWatcher
    index: RunIndex
    credentials: Credentials

    def add_to(self, routes: Routes) -> None:
        """Register the handlers."""
        functions = f"{paths.PREFIX}/functions"
        routes.add("GET", paths.HOME, self.runs, LIST_RUNS)
        routes.add("GET", f"{paths.PREFIX}/queue", self.queue, LIST_RUNS)
        routes.add("GET", functions, self.functions, require("list", names.FUNCTION_PLURAL))
        routes.add(
            "GET",
            f"{functions}/{{function_id}}",
            self.function,
            require("get", names.FUNCTION_PLURAL),
        )

    async def runs(self, request: web.Request) -> web.StreamResponse:
        """The runs that a filter selects."""
        selected = Filter(
            function=request.query.get("function", "").strip(),
            phase=request.query.get("phase", ""),
            text=request.query.get("q", "").strip(),
        )
        current = await self.watcher.index()
        number = _number(request.query.get("page", ""))
        return self.renderer.live(
            request,
            "runs",
            POLL,
            page=current.page(selected, number) if current else None,
            selected=selected,
            phases=PHASES,
            functions=self.index.functions(),
            left_out=self.index.left_out,
            last_error=self.watcher.last_error,
        )

    async def queue(self, request: web.Request) -> web.StreamResponse:
        """How many runs are in which phase, and the runs that have waited longest."""
        current = await self.watcher.index()
        return self.renderer.live(
            request,
            "queue",
            POLL,
            queue=current.queue(WAITING_ROWS) if current else None,
            phases=PHASES,
            left_out=self.index.left_out,
            last_error=self.watcher.last_error,
        )

    async def functions(self, request: web.Request) -> web.StreamResponse:
        """A page of functions."""
        token = request.query.get("continue", "")
        query = {"limit": FUNCTIONS_PER_PAGE} | ({"continue": token} if token else {})
        page = await list_page(self.gateway.kube, self.gateway.kube.functions, query)
        shown = [function_view.view_of(body) for body in page["items"]]
        more = page["metadata"].get("continue")
        return self.renderer.live(request, "functions", SLOW_POLL, functions=shown, more=more)

    async def function(self, request: web.Request) -> web.StreamResponse:
        """One function."""
        name = request.match_info["function_id"]
        known = valid_id(FUNCTION, name, Reason.FUNCTION_NOT_FOUND)
        body = await self.gateway.kube.get(self.gateway.kube.functions, known)
        if body is None:
            raise ApiError(404, Reason.FUNCTION_NOT_FOUND)
        rows = []
        if not (body.get("status") or {}).get("recent") and await self._may_list(request):
            current = await self.watcher.index()
            rows = current.of_function(known, function_view.RECENT_RUNS) if current else []
        view = function_view.view_of(body, rows)
        return self.renderer.live(request, "function", SLOW_POLL, function=view)

    async def _may_list(self, request: web.Request) -> bool:
        """Whether the caller may also list runs; the functions' page works without that."""
        header = self.credentials(request)
        try:
            await self.gateway.auth.authorize(header, request[ADDRESS], LIST_RUNS)
        except ApiError as e:
            if e.status != 403:
                raise
            return False
        return True


def _with_retry(response: web.Response, error: ApiError | None) -> web.Response:
    """The answer with the Retry-After of its error."""
    if error is not None and error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    return response


async def _harden(request: web.Request, response: web.StreamResponse) -> None:
    if request.path == "/" or paths.below(request.path):
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)  # output files set a stricter policy


def _run_id(request: web.Request) -> str:
    return valid_id(REQUEST_ID, request.match_info["run_id"], Reason.RUN_NOT_FOUND)


def _number(text: str) -> int:
    """The number of a page; the first one if the text is no number."""
    try:
        return int(text)
    except ValueError:
        return 1
