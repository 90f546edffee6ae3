"""POSTs a result to a webhook: one signed request with a timeout, without redirects."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp

from nanogrid import names, wire
from nanogrid.ca_bundle import client_context
from nanogrid_operator.decision.webhook import Answer, signature
from nanogrid_operator.delivery.attempts import Attempted, unmeasured
from nanogrid_operator.model.targets import WEBHOOK
from nanogrid_operator.settings import Settings

MESSAGE_CAP = 300


class WebhookClient:
    """A thin client; close it when done."""

    def __init__(
        self,
        settings: Settings,
        clock: Callable[[], float] = time.time,
        attempted: Attempted = unmeasured,
    ) -> None:
        self._settings = settings
        self._attempted = attempted
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def post(self, url: str, result: wire.Result) -> Answer:
        """Send a result once; errors are answers too. The body of the response is not read."""
        started = time.monotonic()
        answer = await self._post(url, result)
        success = answer.status is not None and 200 <= answer.status < 300
        self._attempted(WEBHOOK, success, time.monotonic() - started)
        return answer

    async def _post(self, url: str, result: wire.Result) -> Answer:
        body = wire.dumps(result).encode()
        if self._session is None:
            limit = aiohttp.ClientTimeout(total=self._settings.webhook_timeout_seconds)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    ssl=client_context(self._settings.webhook_ca_bundle)
                ),
                proxy=self._settings.webhook_proxy or None,
                timeout=limit,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        try:
            async with self._session.post(
                url, data=body, headers=self._headers(result, body), allow_redirects=False
            ) as answer:
                after = retry_after(answer.headers.get("Retry-After"), self._clock())
                message = "" if answer.ok else f"HTTP {answer.status} {answer.reason}"
                return Answer(answer.status, _text(message), after)
        except TimeoutError:
            message = f"no answer within {self._settings.webhook_timeout_seconds:g} s"
            return Answer(None, message)
        except (aiohttp.ClientError, OSError, ValueError) as e:
            return Answer(None, _text(f"{type(e).__name__}: {e}"))

    def _headers(self, result: wire.Result, body: bytes) -> dict[str, str]:
        timestamp = str(int(self._clock()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": names.MANAGED_BY,
            names.HEADER_REQUEST_ID: result.request_id,
            names.HEADER_TIMESTAMP: timestamp,
            "Idempotency-Key": result.job.uid,
        }
        if self._settings.webhook_key:
            headers[names.HEADER_SIGNATURE] = signature(self._settings.webhook_key, timestamp, body)
        return headers


def retry_after(text: str | None, now: float) -> float | None:
    """The seconds of a Retry-After header, a number or a date; None if it is neither."""
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if when.tzinfo is None:  # the zone -0000
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.fromtimestamp(now, UTC)).total_seconds())


def _text(message: str) -> str:
    """A message for the status; bytes of the endpoint that are not UTF-8 are question marks."""
    return message[:MESSAGE_CAP].encode(errors="replace").decode()
