"""The web page's routes; each protected view names its permission, as the API does."""

from typing import Final

from aiohttp import web

from nanogrid import names
from nanogrid.hints import Surface
from nanogrid.kube.conventions import JOBS, collection
from nanogrid.reasons import Reason
from nanogrid_gateway.api.bodies import FORM_BYTES
from nanogrid_gateway.api.errors import ApiError
from nanogrid_gateway.api.gateway import Gateway
from nanogrid_gateway.api.requests import REQUEST_ID, valid_id
from nanogrid_gateway.api.responses import send_stream
from nanogrid_gateway.api.reviews import Reviews, require
from nanogrid_gateway.api.routing import Refusal, Routes
from nanogrid_gateway.api.runs.outputs import OutputDownload, open_output
from nanogrid_gateway.counted import with_reason
from nanogrid_gateway.web import access, assets, paths, run_view
from nanogrid_gateway.web.lists import POLL, Lists
from nanogrid_gateway.web.namespaces import Namespaces
from nanogrid_gateway.web.other_namespaces import OtherNamespaces
from nanogrid_gateway.web.rendering import Renderer
from nanogrid_gateway.web.run_index import RunIndex
from nanogrid_gateway.web.runs_by_name import RunsByName
from nanogrid_gateway.web.settings import WebSettings
from nanogrid_gateway.web.sign_in_cookie import SignInCookie
from nanogrid_gateway.web.visible import VisibleNamespaces
from nanogrid_gateway.web.watch import RunWatcher

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


def add_routes(app: web.Application, gateway: Gateway) -> Refusal:
    """The routes of ``/`` and below ``/web/``; returns what makes the page of an error."""
    settings = WebSettings.from_env(auth_mode=gateway.settings.auth_mode)
    cookie = SignInCookie(settings.key, settings.seconds)

    def credentials(request: web.Request) -> str:
        return access.credentials(request, cookie)

    everywhere = settings.all_namespaces
    scopes = paths.Scopes(gateway.kube.namespace, everywhere)
    renderer = Renderer(
        scopes,
        open_to_all=gateway.settings.auth_mode == "none",
        credentials=credentials,
        csrf_token=cookie.csrf_token,
    )
    jobs = collection(JOBS, names.PLURAL) if everywhere else gateway.kube.jobs
    watcher = RunWatcher(
        gateway.kube.cluster,
        jobs,
        RunIndex(),
        lambda: gateway.draining,
        controller_class=gateway.settings.controller_class,
    )
    namespaces = Namespaces(scopes, watcher, _visible(gateway) if everywhere else None)
    pages = Pages(gateway, renderer, cookie, namespaces)
    lists = Lists(gateway, renderer, namespaces)
    routes = Routes(
        app, gateway.auth, gateway.limits, credentials=credentials, refuse=pages.refused
    )
    pages.add_to(routes)
    lists.add_to(routes)
    assets.add_routes(routes)
    app.on_response_prepare.append(_harden)
    return pages.refused


def _visible(gateway: Gateway) -> VisibleNamespaces:
    settings = gateway.settings
    reviews = Reviews(gateway.kube, settings.auth_audience)
    return VisibleNamespaces(reviews.allows, settings.auth_cache_seconds)


class Pages:
    """Sign-in, sign-out, and the pages of one run."""

    def __init__(
        self, gateway: Gateway, renderer: Renderer, cookie: SignInCookie, namespaces: Namespaces
    ) -> None:
        self._gateway = gateway
        self._renderer = renderer
        self._cookie = cookie
        self._namespaces = namespaces
        self._scopes = namespaces.scopes
        self._own = RunsByName(gateway)
        self._others = OtherNamespaces(gateway)

    def add_to(self, routes: Routes) -> None:
        """Register the handlers."""
        routes.add_open("GET", "/", self.root)
        routes.add_open("GET", paths.SIGN_IN, self.sign_in_form)
        routes.add_open("POST", paths.SIGN_IN, self.sign_in)
        routes.add_open("POST", f"{paths.PREFIX}/sign-out", self.sign_out)
        for prefix in (paths.PREFIX, *([paths.ONE] if self._scopes.everywhere else [])):
            run = f"{prefix}/runs/{{run_id}}"
            routes.add("GET", run, self.run, require("get"))
            routes.add("GET", f"{run}/logs", self.follow, require("get"))
            routes.add("GET", f"{run}/files/{{name:(?s:.+)}}", self.file, require("get"))
        # The gateway has no right to change runs of other namespaces.
        own = f"{paths.PREFIX}/runs/{{run_id}}"
        routes.add("POST", f"{own}/cancel", self.cancel, require("patch"))
        routes.add("POST", f"{own}/again", self.again, require("create"))

    async def root(self, request: web.Request) -> web.StreamResponse:
        """To the first page."""
        return access.go(self._scopes.home)

    async def sign_in_form(self, request: web.Request) -> web.StreamResponse:
        """The sign-in form."""
        return self._sign_in_page(request, request.query.get("next", ""))

    async def sign_in(self, request: web.Request) -> web.StreamResponse:
        """Check the form's token, and store it."""
        access.check_origin(request)
        fields = (await self._gateway.bodies.form(request, FORM_BYTES)).fields
        wanted = fields.get("next", "")
        try:
            target = paths.local(wanted, self._scopes.home)
            return await access.sign_in(request, fields, self._gateway.auth, self._cookie, target)
        except ApiError as e:
            page = self._sign_in_page(request, wanted or request.query.get("next", ""), e)
            return with_reason(page, e.reason)

    async def sign_out(self, request: web.Request) -> web.StreamResponse:
        """Delete the cookie."""
        await self._check_form(request)
        return access.sign_out(request)

    async def run(self, request: web.Request) -> web.StreamResponse:
        """One run."""
        name = _run_id(request)
        view = run_view.view_of(name, *await self._runs(request).job_and_result(name))
        choices = await self._namespaces.choices(request)
        seconds = 0 if view.ended else POLL
        return self._renderer.live(request, "run", seconds, run=view, choices=choices)

    async def cancel(self, request: web.Request) -> web.StreamResponse:
        """Stop a run."""
        await self._check_form(request)
        name = _run_id(request)
        await self._own.cancel(name)
        return access.go(self._scopes.own.run(name))

    async def again(self, request: web.Request) -> web.StreamResponse:
        """Run the same again, as a new run."""
        await self._check_form(request)
        return access.go(self._scopes.own.run(await self._own.again(_run_id(request))))

    async def follow(self, request: web.Request) -> web.StreamResponse:
        """The output of a run, live."""
        runs, name = self._runs(request), _run_id(request)
        return await self._gateway.streams.send(request, runs, name, Surface.WEB)

    async def file(self, request: web.Request) -> web.StreamResponse:
        """One output file of a run; images may be shown in place."""
        found = await self._output(request, _run_id(request), request.match_info["name"])
        response = web.StreamResponse(headers=found.headers)
        if "inline" in request.query and found.media_type in run_view.RASTER:
            response.headers["Content-Disposition"] = "inline"
        return await send_stream(request, response, found.chunks)

    def refused(self, request: web.Request, error: ApiError) -> web.StreamResponse:
        """The page of an error; unknown callers are sent to the sign-in form."""
        if error.status == 401:
            return access.to_sign_in(request, self._scopes.home)
        hint = error.hint_on(Surface.WEB)
        response = self._renderer.page(request, "error", error.status, error=error, hint=hint)
        return _with_retry(response, error)

    def _runs(self, request: web.Request) -> RunsByName:
        here = self._scopes.at(request)
        return self._own if here.own else self._others.runs(here.namespace)

    async def _output(self, request: web.Request, run: str, name: str) -> OutputDownload:
        here = self._scopes.at(request)
        if not here.own:
            return await self._others.open_output(here.namespace, run, name)
        answer = await self._own.look(run)
        if not answer.done:
            raise ApiError(404, Reason.OUTPUT_NOT_FOUND)
        return await open_output(self._gateway.objects, answer.body, name)

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
            hint=error.hint_on(Surface.WEB) if error else "",
            audience=self._gateway.settings.auth_audience,
            mode=self._gateway.settings.auth_mode,
            next=paths.local(wanted, self._scopes.home),
            expired=error is None and access.COOKIE in request.cookies,
        )
        return _with_retry(response, error)


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
