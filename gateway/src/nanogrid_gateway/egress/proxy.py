"""Answers CONNECT requests: who asks, what may he reach, where is it, and the tunnel.

The name is resolved once. The addresses that are checked are those that are connected to, so a
name that changes its address in between gains nothing.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from nanogrid.addresses import plain
from nanogrid.connection_limits import Shares
from nanogrid.connections import Connections
from nanogrid.egress_grant import Grant, InvalidGrantError, host_within, is_host, verified
from nanogrid.log_line import job_line_fields
from nanogrid.logs import FIELDS
from nanogrid_gateway.egress.answers import ESTABLISHED, Refused, answer
from nanogrid_gateway.egress.request import END, HEAD_BYTES, ConnectRequest, parse
from nanogrid_gateway.egress.resolve import Resolver
from nanogrid_gateway.egress.settings import EgressSettings
from nanogrid_gateway.egress.tunnel import BROKEN, CLOSED, Stream, Transfer, connect, relay
from nanogrid_gateway.metrics import EgressMetrics, EgressOutcome, EgressRefusal

log = logging.getLogger("nanogrid.egress.access")

HTTPS_PORT: Final = 443
LINGER_SECONDS: Final = 2.0
STOPPING: Final = "the proxy stops"


@dataclass(slots=True)
class Record:
    """What the log says about one request; it never has the credentials."""

    client: str
    transfer: Transfer
    began: float = field(default_factory=time.monotonic)
    grant: Grant | None = None
    host: str = ""
    address: str = ""
    outcome: EgressOutcome = EgressOutcome.NO_REQUEST
    status: int = 0
    reason: str = ""

    def fields(self) -> dict[str, Any]:
        """What the log has of it; those of the job only if the credentials prove which it is."""
        grant = self.grant
        job = (
            job_line_fields(grant.namespace, grant.job, grant.uid, grant.request_id, grant.attempt)
            if grant
            else {}
        )
        return job | dict(
            host=self.host,
            outcome=self.outcome.value,
            status=self.status,
            reason=self.reason,
            address=self.address,
            bytesUp=self.transfer.up,
            bytesDown=self.transfer.down,
            millis=int(1000 * (time.monotonic() - self.began)),
            client=self.client,
        )


class EgressProxy:
    """The tunnels of all jobs.

    Args:
        settings: key and limits.
        resolver: resolves names.
        is_allowed: whether a tunnel may go to an address.
        metrics: what it measures.
        port: the one port that tunnels go to.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        settings: EgressSettings,
        resolver: Resolver,
        is_allowed: Callable[[str], bool],
        metrics: EgressMetrics,
        *,
        port: int = HTTPS_PORT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._resolver = resolver
        self._is_allowed = is_allowed
        self._metrics = metrics
        self._port = port
        self._clock = clock
        self._tunnels_of_job = Shares(settings.max_tunnels_per_job)
        self._tunnels_of_namespace = Shares(settings.max_tunnels_per_namespace)

    async def handle(self, connections: Connections, client: Stream) -> None:
        """Serve one connection; count it, and log its request."""
        peer = plain(str(client.writer.get_extra_info("peername", ("",))[0]))
        transfer = Transfer(self._metrics.bytes_up.inc, self._metrics.bytes_down.inc)
        record = Record(peer, transfer)
        try:
            head = await _head(client.reader)
            if head:
                record.outcome = EgressOutcome.DENIED
                with connections.request(client.writer.transport):
                    await self._serve(head, client, record)
        except Refused as e:
            if record.outcome is EgressOutcome.NO_REQUEST:
                record.outcome = EgressOutcome.DENIED
            record.status, record.reason = e.status, e.reason
            self._metrics.refused(e.kind)
            await _refuse(client, e)
        except OSError:
            record.reason = BROKEN
        except asyncio.CancelledError:
            record.reason = STOPPING
            client.writer.transport.abort()
            raise
        finally:
            client.writer.close()
            if record.outcome is not EgressOutcome.ALLOWED:  # those count when they begin
                self._metrics.ended(record.outcome)
            if record.reason:
                log.info("request", extra={FIELDS: record.fields()})

    async def _serve(self, head: bytes, client: Stream, record: Record) -> None:
        request = parse(head)
        record.host = request.host
        grant = record.grant = self._granted(request)
        self._check(request, grant)
        with (
            self._tunnels_of_job.slot(grant.uid, lambda: _too_many_tunnels("job")),
            self._tunnels_of_namespace.slot(
                grant.namespace, lambda: _too_many_tunnels("namespace")
            ),
        ):
            record.outcome = EgressOutcome.FAILED
            addresses = await self._addresses(request.host, grant, record)
            record.address, upstream = await self._connected(addresses)
            try:
                record.outcome, record.status = EgressOutcome.ALLOWED, 200
                self._metrics.ended(record.outcome)
                for side in (client, upstream):
                    side.bound(self._settings.idle_seconds)
                client.writer.write(ESTABLISHED)
                left = min(self._settings.tunnel_seconds, grant.expires - self._clock())
                record.reason = await relay(
                    client,
                    upstream,
                    record.transfer,
                    idle=self._settings.idle_seconds,
                    duration=left,
                )
                if record.reason != CLOSED:
                    client.writer.transport.abort()
                    upstream.writer.transport.abort()
            finally:
                upstream.writer.close()

    def _granted(self, request: ConnectRequest) -> Grant:
        try:
            return verified(self._settings.key, request.user, request.secret, self._clock())
        except InvalidGrantError as e:
            raise Refused(407, f"Denied: {e}", EgressRefusal.UNAUTHORIZED) from None

    def _check(self, request: ConnectRequest, grant: Grant) -> None:
        if request.port != self._port:
            raise Refused(
                403, f"Denied: only port {self._port} is allowed", EgressRefusal.PORT_NOT_ALLOWED
            )
        if not is_host(request.host):
            raise Refused(
                403,
                "Denied: expected a full DNS name, not an address",
                EgressRefusal.HOST_NOT_ALLOWED,
            )
        if not host_within(request.host, grant.hosts):
            raise Refused(
                403,
                "Denied: the name is not in network.hosts of the job",
                EgressRefusal.HOST_NOT_ALLOWED,
            )

    async def _addresses(self, host: str, grant: Grant, record: Record) -> list[str]:
        """The addresses of a name, all of them allowed."""
        try:
            found = await self._resolver.addresses(grant.namespace, grant.uid, host)
        except TimeoutError:
            raise Refused(504, "DNS does not answer in time", EgressRefusal.DNS_TIMEOUT) from None
        except OSError:
            raise Refused(502, "The name cannot be resolved", EgressRefusal.DNS_FAILED) from None
        denied = [address for address in found if not self._is_allowed(address)]
        if denied:
            record.outcome, record.address = EgressOutcome.DENIED, denied[0]
            raise Refused(
                403,
                "Denied: the name has an address that is not public",
                EgressRefusal.ADDRESS_NOT_PUBLIC,
            )
        return found

    async def _connected(self, addresses: list[str]) -> tuple[str, Stream]:
        try:
            return await connect(addresses, self._port, self._settings.connect_seconds)
        except TimeoutError:
            raise Refused(
                504,
                "The name does not accept the connection in time",
                EgressRefusal.CONNECT_TIMEOUT,
            ) from None
        except OSError:
            raise Refused(
                502, "The name does not accept the connection", EgressRefusal.CONNECT_FAILED
            ) from None


def _too_many_tunnels(kind: str) -> Refused:
    return Refused(429, f"The {kind} has too many tunnels", EgressRefusal.TOO_MANY_TUNNELS)


async def _head(reader: asyncio.StreamReader) -> bytes:
    """The head of a request; empty if the client left, or was refused as too slow."""
    try:
        return await reader.readuntil(END)
    except asyncio.IncompleteReadError:
        return b""
    except asyncio.LimitOverrunError:
        raise Refused(
            431, f"The head is longer than {HEAD_BYTES} bytes", EgressRefusal.HEAD_TOO_LARGE
        ) from None


async def _refuse(client: Stream, refused: Refused) -> None:
    """Answer, and drop what the client still sends: a reset would arrive before the answer."""
    with contextlib.suppress(OSError):  # also TimeoutError: the client does not want the answer
        client.writer.write(answer(refused))
        client.writer.write_eof()
        async with asyncio.timeout(LINGER_SECONDS):
            dropped = 0
            while dropped <= HEAD_BYTES and (data := await client.reader.read(HEAD_BYTES)):
                dropped += len(data)
