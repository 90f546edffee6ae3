"""The namespaces that a page may show to its caller."""

import logging
from dataclasses import dataclass

from aiohttp import web

from nanogrid.kube.conventions import KubeError
from nanogrid_gateway.api.routing import CALLER
from nanogrid_gateway.web.paths import Scope, Scopes
from nanogrid_gateway.web.run_index import RunIndex
from nanogrid_gateway.web.run_list import RunList
from nanogrid_gateway.web.visible import VisibleNamespaces
from nanogrid_gateway.web.watch import RunWatcher

log = logging.getLogger("nanogrid.gateway.web")


@dataclass(frozen=True, slots=True)
class Seen:
    """What a list may show; ``runs`` is None while the first listing is loading."""

    here: Scope
    runs: RunList | None
    choices: list[Scope]


@dataclass(frozen=True, slots=True)
class Namespaces:
    """Selects runs by what the caller may list.

    Args:
        scopes: where the pages of each namespace are.
        watcher: of the run index.
        visible: the namespaces of each caller; None if the page shows one namespace only.
    """

    scopes: Scopes
    watcher: RunWatcher
    visible: VisibleNamespaces | None

    async def seen(self, request: web.Request) -> Seen:
        """The runs of a list: of one namespace, or of all that the caller may list.

        The route has checked that the caller may list runs in the one namespace.

        Raises:
            KubeError: the API server did not say what the caller may list.
        """
        here, index = self.scopes.at(request), await self.watcher.index()
        if here.namespace:
            runs = index.runs(frozenset({here.namespace})) if index else None
            return Seen(here, runs, await self.choices(request))
        visible, choices = await self._visible(request, index)
        return Seen(here, index.runs(visible) if index else None, choices)

    async def choices(self, request: web.Request) -> list[Scope]:
        """The namespaces that the caller can choose, by name; only known ones, without waiting."""
        if self.visible is None:
            return []
        try:
            return (await self._visible(request, self.watcher.loaded))[1]
        except KubeError as e:
            log.warning("the page has no choice of namespaces: %s", e)
            return []

    async def _visible(
        self, request: web.Request, index: RunIndex | None
    ) -> tuple[frozenset[str] | None, list[Scope]]:
        """The visible namespaces, None for all; and those that can be chosen."""
        own = self.scopes.namespace
        if self.visible is None:
            return frozenset({own}), []
        candidates = list(dict.fromkeys([*(index.namespaces() if index else []), own]))
        visible = await self.visible.of(request[CALLER], candidates)
        shown = sorted(candidates if visible is None else visible)
        return visible, [self.scopes.of(name) for name in shown]
