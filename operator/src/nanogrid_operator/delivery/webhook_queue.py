"""POSTs the results of finished jobs to webhooks, and delays nothing else.

Webhooks have their own queue, so a slow endpoint delays neither pods nor Redis. The number of
concurrent requests to one host is limited, so it delays no other endpoint either.
"""

import logging
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from nanogrid.backoff import jitter
from nanogrid.kube.conventions import KubeError
from nanogrid_operator.decision import webhook
from nanogrid_operator.decision.webhook import FIRST_PAUSE_SECONDS, Record
from nanogrid_operator.delivery.delivery import ResultDelivery
from nanogrid_operator.delivery.webhook_client import WebhookClient
from nanogrid_operator.model.errors import InvalidSpecError
from nanogrid_operator.model.facts import Job, job_facts
from nanogrid_operator.settings import Settings
from nanogrid_operator.watch.cache import JobCache
from nanogrid_operator.workqueue import WorkQueue, run_workers

log = logging.getLogger("nanogrid.webhook")

PER_HOST = 4
ALL_HOSTS = 64


class PerHostQueue(WorkQueue):
    """A work queue that hands out at most ``per_host`` keys of one host at the same time."""

    def __init__(self, host_of: Callable[[str], str], per_host: int = PER_HOST) -> None:
        super().__init__()
        self._host_of = host_of
        self._per_host = per_host
        self._hosts: dict[str, str] = {}  # by key, of the keys that workers have
        self._busy: Counter[str] = Counter()
        self._waiting: defaultdict[str, deque[str]] = defaultdict(deque)

    async def get(self) -> str:
        """The next key whose host has room."""
        while True:
            key = await super().get()
            host = self._host_of(key)
            if self._busy[host] < self._per_host:
                self._busy[host] += 1
                self._hosts[key] = host
                return key
            self._waiting[host].append(key)
            super().done(key)

    def done(self, key: str) -> None:
        """The worker is finished with the key: the next key of its host can come."""
        super().done(key)
        host = self._hosts.pop(key)
        self._busy[host] -= 1
        if waiting := self._waiting.get(host):
            self.add(waiting.popleft())
        elif not self._busy[host]:
            self._waiting.pop(host, None)
            del self._busy[host]


@dataclass(slots=True, kw_only=True)
class Webhooks:
    """:meth:`offer` jobs to it; :meth:`run` works for ever."""

    settings: Settings
    cache: JobCache
    client: WebhookClient
    delivery: ResultDelivery
    clock: Callable[[], float] = time.time
    first_pause_seconds: float = FIRST_PAUSE_SECONDS
    _queue: PerHostQueue = field(init=False)
    _records: dict[str, Record] = field(default_factory=dict, init=False)  # of the pending jobs

    def __post_init__(self) -> None:
        self._queue = PerHostQueue(self._host)

    def offer(self, uid: str) -> None:
        """A job whose webhook lacks the result. One that is known already keeps its time."""
        if uid not in self._records:
            self._records[uid] = Record()
            self._queue.add(uid)

    async def run(self) -> None:
        """POST results for ever."""
        await run_workers(
            self._queue, ALL_HOSTS, self._turn, self._failed, log_fields=self.cache.log_fields
        )

    def _failed(self, uid: str, error: Exception) -> None:
        delay = self._queue.retry(uid)
        if isinstance(error, KubeError):
            log.info("webhook: retry in %.1f s: %s", delay, error)
        else:
            log.error("webhook: retry in %.1f s", delay, exc_info=error)

    def _host(self, uid: str) -> str:
        job = self._job(uid)
        try:
            url = job and webhook.target(job.spec, self.settings)
        except InvalidSpecError:
            return ""
        return urlsplit(url).netloc if url else ""

    def _job(self, uid: str) -> Job | None:
        body = self.cache.job(uid)
        return job_facts(body) if body is not None else None

    async def _turn(self, uid: str) -> None:
        job = self._job(uid)
        written = webhook.record_of(job.status) if job else None
        if job is None or written is None or not job.webhook_pending:
            self._records.pop(uid, None)
            return
        known = self._records[uid]
        before = known if known.attempts > written.attempts else written
        if before.state == webhook.PENDING:
            after, delay = await self._post(job, before)
            self._records[uid] = after
        else:
            after, delay = before, 0.0  # there is an answer, but the status does not show it yet
        if webhook.worth_writing(written, after):
            await self.delivery.record_webhook(uid, after)
        if after.state == webhook.PENDING:
            self._queue.add(uid, delay)
        else:
            self._records.pop(uid, None)

    async def _post(self, job: Job, before: Record) -> tuple[Record, float]:
        """Send one request, or none if there is no URL any more; also the delay of the next."""
        try:
            url = webhook.target(job.spec, self.settings)
        except InvalidSpecError as e:
            return replace(before, state=webhook.REFUSED, message=str(e)), 0.0
        if url is None:
            message = "the operator's webhook.url is not set any more"
            return replace(before, state=webhook.REFUSED, message=message), 0.0
        answer = await self.client.post(url, await self.delivery.result_of(job))
        age = self.clock() - (job.completed or self.clock())
        after = webhook.next_record(before, answer, age, self.settings.webhook_give_up_seconds)
        delay = webhook.pause(after, answer, jitter(1.0, 0.8, 1.2), self.first_pause_seconds)
        if after.state == webhook.PENDING:
            log.warning("webhook: %s; next request in %.0f s", answer.message, delay)
        return after, delay
