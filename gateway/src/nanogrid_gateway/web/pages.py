"""The web page's routes; views that show or change something name their right, as the API's do."""

import hashlib
from typing import Any, Final

from flask import Blueprint, Flask, Response, g, render_template, request
from markupsafe import Markup

from nanogrid import names
from nanogrid.reasons import Reason
from nanogrid.status import Phase
from nanogrid_gateway.api import logs
from nanogrid_gateway.api.answers import needs
from nanogrid_gateway.api.auth import Right
from nanogrid_gateway.api.core import Gateway
from nanogrid_gateway.api.errors import ApiError, cluster_away
from nanogrid_gateway.api.functions import listed
from nanogrid_gateway.api.outputs import output_response
from nanogrid_gateway.api.requests import FUNCTION, REQUEST_ID, valid_id
from nanogrid_gateway.router.cluster import KubeError
from nanogrid_gateway.web import access, assets, functionview, paths, plots, runview, words
from nanogrid_gateway.web import board as boards
from nanogrid_gateway.web.board import Board, Filter
from nanogrid_gateway.web.jobsbyname import JobsByName
from nanogrid_gateway.web.seal import Seal
from nanogrid_gateway.web.settings import WebSettings
from nanogrid_gateway.web.watch import Watcher

WAITING: Final = 20
FUNCTIONS: Final = "100"
HTML: Final = "text/html; charset=utf-8"
POLL: Final = 2  # seconds
SLOW_POLL: Final = 10
PHASES: Final = [phase.value for phase in Phase]
SEEN: Final = "seen"
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
LIST_RUNS: Final = Right("list", names.PLURAL)


def add_routes(app: Flask, gateway: Gateway) -> None:
    """The routes of ``/`` and below ``/web/``."""
    settings = WebSettings.from_env()
    seal = Seal(settings.key, settings.seconds)
    app.wsgi_app = access.CookieToHeader(app.wsgi_app, seal)  # type: ignore[method-assign, assignment]
    web = Blueprint("web", __name__, template_folder="templates")
    web.register_error_handler(ApiError, _refused)
    web.register_error_handler(KubeError, lambda e: _refused(cluster_away(str(e))))
    web.after_request(_harden)
    open_to_all = gateway.settings.auth_mode == "none"

    @web.context_processor
    def always() -> dict[str, Any]:
        """What every template may use."""
        return {
            "words": words,
            "plots": plots,
            "paths": paths,
            "namespace": gateway.settings.namespace,
            "caller": g.get("caller", ""),
            "signed_in": not open_to_all and "caller" in g,
            "form_word": seal.form_word(access.credentials()),
            "static": assets.url,
        }

    kube, board = gateway.kube, Board()
    watcher = Watcher(gateway.loop, kube.cluster, kube.jobs, board, lambda: gateway.draining)
    _add_access(web, gateway, seal)
    _add_lists(web, watcher, board)
    _add_functions(web, gateway, watcher)
    _add_run(web, gateway, seal)
    assets.add_routes(web)
    app.register_blueprint(web)


def _add_access(web: Blueprint, gateway: Gateway, seal: Seal) -> None:
    @web.get("/")
    def root() -> Response:
        return access.go(paths.HOME)

    @web.get(paths.SIGN_IN)
    def sign_in_form() -> Response:
        return _sign_in_page(gateway)

    @web.post(paths.SIGN_IN)
    def sign_in() -> Response:
        access.check_origin()
        target = paths.local(request.form.get("next", ""))
        try:
            return access.sign_in(gateway, seal, request.form.get("token", ""), LIST_RUNS, target)
        except ApiError as e:
            return _sign_in_page(gateway, e)

    @web.post(f"{paths.PREFIX}/sign-out")
    def sign_out() -> Response:
        access.check_form(seal)
        return access.sign_out()


def _add_lists(web: Blueprint, watcher: Watcher, board: Board) -> None:
    @web.get(paths.HOME)
    @needs("list")
    def runs() -> Response:
        asked = Filter(
            function=request.args.get("function", "").strip(),
            phase=request.args.get("phase", ""),
            text=request.args.get("q", "").strip(),
        )
        seen = watcher.look()
        number = request.args.get("page", 1, type=int)
        return _live(
            "runs",
            POLL,
            page=seen.page(asked, number) if seen else None,
            asked=asked,
            phases=PHASES,
            view=runview,
            functions=board.functions(),
            left_out=board.left_out,
            trouble=watcher.trouble,
        )

    @web.get(f"{paths.PREFIX}/queue")
    @needs("list")
    def queue() -> Response:
        seen = watcher.look()
        found = seen.queue(WAITING) if seen else None
        return _live(
            "queue",
            POLL,
            queue=found,
            phases=PHASES,
            board=boards,
            left_out=board.left_out,
            trouble=watcher.trouble,
        )


def _add_functions(web: Blueprint, gateway: Gateway, watcher: Watcher) -> None:
    @web.get(f"{paths.PREFIX}/functions")
    @needs("list", names.FUNCTION_PLURAL)
    def functions() -> Response:
        token = request.args.get("continue", "")
        query = {"limit": FUNCTIONS} | ({"continue": token} if token else {})
        page = listed(gateway.kube, gateway.kube.functions, query)
        shown = [functionview.view_of(body) for body in page["items"]]
        more = page["metadata"].get("continue")
        return _live("functions", SLOW_POLL, functions=shown, more=more, view=functionview)

    @web.get(f"{paths.PREFIX}/functions/<function_id>")
    @needs("get", names.FUNCTION_PLURAL)
    def function(function_id: str) -> Response:
        known = valid_id(FUNCTION, function_id, Reason.FUNCTION_NOT_FOUND)
        body = gateway.kube.get(gateway.kube.functions, known)
        if body is None:
            raise ApiError(404, Reason.FUNCTION_NOT_FOUND)
        rows = []
        if not (body.get("status") or {}).get("recent") and _may_list(gateway):
            seen = watcher.look()
            rows = seen.of_function(known, functionview.RECENT) if seen else []
        view = functionview.view_of(body, rows)
        return _live("function", SLOW_POLL, function=view, view=functionview, runview=runview)


def _add_run(web: Blueprint, gateway: Gateway, seal: Seal) -> None:
    runs = JobsByName(gateway)
    here = f"{paths.PREFIX}/runs/<run_id>"

    @web.get(here)
    @needs("get")
    def run(run_id: str) -> Response:
        view = runview.view_of(run_id, *runs.both(_id(run_id)))
        return _live("run", 0 if view.ended else POLL, run=view, view=runview)

    @web.post(f"{here}/cancel")
    @needs("patch")
    def cancel(run_id: str) -> Response:
        access.check_form(seal)
        runs.cancel(_id(run_id))
        return access.go(paths.run_path(run_id))

    @web.get(f"{here}/logs")
    @needs("get")
    def follow(run_id: str) -> Response:
        known = _id(run_id)
        runs.look(known)
        gateway.streams.take()
        events = logs.follow(runs, gateway.kube, known, lambda: gateway.draining)
        response = Response(events, content_type=logs.EVENTS, headers=logs.headers())
        response.call_on_close(gateway.streams.give_back)
        return response

    @web.get(f"{here}/files/<path:name>")
    @needs("get")
    def file(run_id: str, name: str) -> Response:
        answer = runs.look(_id(run_id))
        if not answer.done:
            raise ApiError(404, Reason.OUTPUT_NOT_FOUND)
        response = output_response(gateway.objects, answer.body, name)
        if "inline" in request.args and response.mimetype in runview.RASTER:
            response.headers["Content-Disposition"] = "inline"
        return response


def _live(name: str, seconds: int, **values: Any) -> Response:
    """A page, or for one that is open already what has changed of it: nothing is a 204.

    Args:
        name: of its templates: the whole, and the part that changes.
        seconds: between two polls of an open page; 0 for none.
        values: for both templates.
    """
    inner = render_template(f"{name}.part.html", **values)
    digest = hashlib.sha256(inner.encode()).hexdigest()[:16]
    poll = request.headers.get("HX-Request") and SEEN in request.args
    if poll and request.args[SEEN] == digest:
        return Response(status=204)
    asked = {k: v for k, v in request.args.items() if k != SEEN}
    safe = Markup(inner)  # noqa: S704 a template has just escaped it
    live = render_template("live.html", inner=safe, digest=digest, asked=asked, seconds=seconds)
    if poll:
        return Response(live, content_type=HTML)
    whole = render_template(f"{name}.html", live=Markup(live), **values)  # noqa: S704 the same
    return Response(whole, content_type=HTML)


def _refused(error: ApiError) -> Response:
    if error.status == 401:
        return access.to_sign_in()
    body = render_template("error.html", error=error, help=runview.HELPS.get(error.reason))
    response = Response(body, error.status, content_type=HTML)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    return response


def _sign_in_page(gateway: Gateway, error: ApiError | None = None) -> Response:
    body = render_template(
        "sign-in.html",
        error=error,
        audience=gateway.settings.auth_audience,
        mode=gateway.settings.auth_mode,
        next=paths.local(request.values.get("next", "")),
        expired=error is None and access.COOKIE in request.cookies,
    )
    return Response(body, error.status if error else 200, content_type=HTML)


def _may_list(gateway: Gateway) -> bool:
    """Whether the caller may see runs too; the functions' own page is there without."""
    try:
        gateway.auth.admit(access.credentials(), request.remote_addr or "-", LIST_RUNS)
    except ApiError as e:
        if e.status != 403:
            raise
        return False
    return True


def _harden(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)  # files have a stricter policy of their own
    return response


def _id(text: str) -> str:
    return valid_id(REQUEST_ID, text, Reason.RUN_NOT_FOUND)
