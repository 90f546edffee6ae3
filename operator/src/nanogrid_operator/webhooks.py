"""Tells webhooks the results of finished jobs, beside everything else and holding up nothing.

A queue of its own, so that a slow endpoint delays neither pods nor Redis; and at most so many
requests to one host at a time, so that it delays no other endpoint either.
"""

import asyncio
import logging
import random
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import urlsplit

from nanogrid_operator import webhook_rules as rules
from nanogrid_operator.delivering import Delivering
from nanogrid_operator.facts import Job, job_facts
from nanogrid_operator.kube import KubeError
from nanogrid_operator.settings import Settings
from nanogrid_operator.store import Store
from nanogrid_operator.task import InvalidSpecError
from nanogrid_operator.webhook import WebhookClient
from nanogrid_operator.webhook_rules import Record
from nanogrid_operator.workqueue import WorkQueue

log = logging.getLogger("nanogrid.webhook")

PER_HOST = 4
ALL_HOSTS = 64


class Webhooks:
    """:meth:`offer` jobs to it; :meth:`run` works for ever."""

    def __init__(
        self,
        *,
        settings: Settings,
        store: Store,
        client: WebhookClient,
        delivering: Delivering,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._store = store
        self._client = client
        self._delivering = delivering
        self._clock = clock
        self._queue = WorkQueue()
        self._records: dict[str, Record] = {}  # of the jobs that are pending here
        self._busy: Counter[str] = Counter()
        self._waiting: defaultdict[str, deque[str]] = defaultdict(deque)

    def offer(self, uid: str) -> None:
        """A job whose webhook is to be told; one that is known already keeps its time."""
        if uid not in self._records:
            self._records[uid] = Record()
            self._queue.add(uid)

    async def run(self) -> None:
        """Hand out jobs for ever, to as many requests as may run."""
        room = asyncio.Semaphore(ALL_HOSTS)
        async with asyncio.TaskGroup() as group:
            while True:
                uid = await self._queue.get()
                host = self._host(uid)
                if self._busy[host] >= PER_HOST:
                    self._waiting[host].append(uid)
                    self._queue.done(uid)
                    continue
                self._busy[host] += 1
                await room.acquire()
                task = group.create_task(self._turn(uid, host))
                task.add_done_callback(lambda _: room.release())

    def _host(self, uid: str) -> str:
        job = self._job(uid)
        try:
            url = job and rules.target(job.model.spec if job.model else None, self._settings)
        except InvalidSpecError:
            return ""
        return urlsplit(url).netloc if url else ""

    def _job(self, uid: str) -> Job | None:
        body = self._store.job(uid)
        return job_facts(body) if body is not None else None

    async def _turn(self, uid: str, host: str) -> None:
        try:
            await self._tell(uid)
            self._queue.forget(uid)
        except KubeError as e:
            log.info("job uid=%s: webhook: retry in %.1f s: %s", uid, self._queue.retry(uid), e)
        except Exception:
            delay = self._queue.retry(uid)
            log.exception("job uid=%s: webhook: retry in %.1f s", uid, delay)
        finally:
            self._queue.done(uid)
            self._busy[host] -= 1
            if self._waiting[host]:
                self._queue.add(self._waiting[host].popleft())
            else:
                del self._waiting[host], self._busy[host]

    async def _tell(self, uid: str) -> None:
        job = self._job(uid)
        written = rules.record_of(job.status) if job else None
        if job is None or written is None or not job.webhook_pending:
            self._records.pop(uid, None)
            return
        known = self._records[uid]
        before = known if known.attempts > written.attempts else written
        if before.state == rules.PENDING:
            after, delay = await self._ask(job, before)
            self._records[uid] = after
        else:
            after, delay = before, 0.0  # answered; only the status does not say so yet
        if rules.worth_writing(written, after):
            await self._delivering.webhook_told(uid, after)
        if after.state == rules.PENDING:
            self._queue.add(uid, delay)
        else:
            self._records.pop(uid, None)

    async def _ask(self, job: Job, before: Record) -> tuple[Record, float]:
        """One request, or none if there is nowhere to send it any more; the next one's delay."""
        try:
            url = rules.target(job.model.spec if job.model else None, self._settings)
        except InvalidSpecError as e:
            return replace(before, state=rules.REFUSED, message=str(e)), 0.0
        if url is None:
            said = "the operator has no webhook.url any more"
            return replace(before, state=rules.REFUSED, message=said), 0.0
        answer = await self._client.post(url, await self._delivering.result_of(job))
        age = self._clock() - (job.completed or self._clock())
        after = rules.judged(before, answer, age, self._settings.webhook_give_up_seconds)
        delay = rules.pause(after, answer, random.uniform(0.8, 1.2))  # noqa: S311 jitter
        if after.state == rules.PENDING:
            log.warning("job uid=%s: webhook: %s; in %.0f s again", job.uid, answer.message, delay)
        return after, delay
