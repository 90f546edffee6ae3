"""The pod that answers a request for a session, or the answer while it has none."""

from collections.abc import Callable
from typing import Any, Final

import aiohttp
from aiohttp import web

from nanogrid import json_text
from nanogrid.reasons import Reason
from nanogrid_gateway.router import responses
from nanogrid_gateway.router.forward import Refused
from nanogrid_gateway.router.route import Ended, NotReady, Ready
from nanogrid_gateway.router.sessions import Job, Pod
from nanogrid_gateway.router.settings import RouterSettings
from nanogrid_gateway.router.start_waits import StartWaits
from nanogrid_gateway.router.table import SessionTable
from nanogrid_gateway.router.upstream import origin

PROGRESS_TIMEOUT: Final = aiohttp.ClientTimeout(total=0.5)
PROGRESS_BYTES: Final = 16384


class ReadyPods:
    """Finds them in the table; ``waited`` receives the seconds that a client waited for a start."""

    def __init__(
        self, settings: RouterSettings, table: SessionTable, waited: Callable[[float], None]
    ) -> None:
        self._settings = settings
        self._table = table
        self._start_waits = StartWaits(waited)
        # One connection per probe, because the address may belong to another pod next time.
        connector = aiohttp.TCPConnector(force_close=True)
        self._probe = aiohttp.ClientSession(connector=connector, timeout=PROGRESS_TIMEOUT)

    async def close(self) -> None:
        """Close the connections."""
        await self._probe.close()

    async def find(self, request: web.BaseRequest, job: Job, path: str) -> Pod:
        """The pod that answers an authorized request.

        Raises:
            Refused: another session is meant, or this one has ended or is not ready.
        """
        session_id = request.rel_url.query.get("session_id")
        if path == "/container-info" and session_id not in (None, job.request_id):
            raise Refused(
                responses.error(409, Reason.WRONG_SESSION, f"This is session {job.request_id}")
            )
        match self._table.route(job):
            case Ended() as ended:
                s = self._settings
                self._start_waits.ended(job.uid)
                raise Refused(responses.ended(job, ended, s.compatibility_namespace, s.s3_prefix))
            case NotReady() as waiting:
                if waiting.ending:
                    self._start_waits.ended(job.uid)
                else:
                    self._start_waits.refused(job.uid)
                if path == "/health":
                    progress = await self._progress(job, waiting)
                    raise Refused(responses.health(job, waiting, progress))
                raise Refused(responses.not_ready(job, waiting))
            case Ready(pod):
                self._start_waits.accepted(job.uid)
                return pod

    async def _progress(self, job: Job, route: NotReady) -> dict[str, Any]:
        """The health of a session that copies its inputs; empty without a prompt answer."""
        if not route.ip:
            return {}
        try:
            # The agent tells no identity without a token; it refuses a request for another session.
            url = f"{origin(route.ip)}/health"
            query = {"session_id": job.request_id}
            async with self._probe.get(url, params=query) as response:
                body = await response.content.read(PROGRESS_BYTES)
            found = json_text.parse(body)
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return {}
        own = isinstance(found, dict) and found.get("session_id") in (None, job.request_id)
        return found if own and "error" not in found else {}
