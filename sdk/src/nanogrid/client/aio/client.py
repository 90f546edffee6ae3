"""The client for asyncio: the same calls, awaited.

It runs the synchronous client in its own threads (up to ``threads`` at a time), so both behave
alike. A cancelled task stops waiting at once; its current request ends in the thread. ``wait``
makes calls of at most ten seconds, so its thread is free soon after. Callbacks (``on_stdout`` …)
run in the event loop.
"""

# ruff: noqa: ASYNC109 (the synchronous calls have timeouts that end their requests)

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nanogrid.client.aio.callbacks import each, in_loop
from nanogrid.client.aio.session import AsyncSession, PendingSession
from nanogrid.client.callbacks import OutputCallbacks, TextCallback
from nanogrid.client.client import READY_SECONDS, Client
from nanogrid.client.errors import WaitTimeout
from nanogrid.client.jobs.result import Result
from nanogrid.client.jobs.run import Run
from nanogrid.client.kube.cluster import Cluster
from nanogrid.client.s3_uri import Uploaded
from nanogrid.client.sessions.session import Session
from nanogrid.client.storage import Storage
from nanogrid.threads import Threads
from nanogrid.types import Json

THREADS: Final = 32
SLICE_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class AsyncRun:
    """A submitted job; ``blocking`` is the synchronous Run with the current attributes."""

    blocking: Run
    _threads: Threads

    async def wait(
        self,
        timeout: float | None = None,
        on_change: Callable[[Run], None] | None = None,
        *,
        on_stdout: TextCallback | None = None,
        on_stderr: TextCallback | None = None,
        on_output: TextCallback | None = None,
        on_note: TextCallback | None = None,
    ) -> Result:
        """As :meth:`Run.wait`."""
        given = (on_stdout, on_stderr, on_output, on_note)
        stdout, stderr, both, note = (in_loop(one) for one in given)
        live = self.blocking.live(OutputCallbacks(stdout, stderr, both, note))
        try:
            result = await self._wait(timeout, in_loop(on_change))
            await self._threads.call(live.finish, result)
        finally:
            live.close()
        # The loop runs the queued callbacks before this coroutine continues.
        await asyncio.sleep(0)
        return result

    async def _wait(self, timeout: float | None, on_change: Callable[[Run], None] | None) -> Result:
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            seconds = SLICE_SECONDS if left is None else min(SLICE_SECONDS, left)
            try:
                return await self._threads.call(self.blocking.wait, seconds, on_change)
            except WaitTimeout:
                if left is not None and seconds >= left:
                    raise

    def logs(self, follow: bool = True, on_note: TextCallback | None = None) -> AsyncIterator[str]:
        """As :meth:`Run.logs`."""
        return each(self._threads, self.blocking.logs(follow, in_loop(on_note)))

    def exact_logs(
        self, follow: bool = True, on_note: TextCallback | None = None
    ) -> AsyncIterator[str]:
        """As :meth:`Run.exact_logs`."""
        return each(self._threads, self.blocking.exact_logs(follow, in_loop(on_note)))

    async def refresh(self) -> "AsyncRun":
        """As :meth:`Run.refresh`."""
        await self._threads.call(self.blocking.refresh)
        return self

    async def cancel(self) -> "AsyncRun":
        """As :meth:`Run.cancel`."""
        await self._threads.call(self.blocking.cancel)
        return self

    async def retry(self) -> "AsyncRun":
        """As :meth:`Run.retry`."""
        return AsyncRun(await self._threads.call(self.blocking.retry), self._threads)

    async def delete(self) -> None:
        """As :meth:`Run.delete`."""
        await self._threads.call(self.blocking.delete)


@dataclass(frozen=True, slots=True, eq=False)
class AsyncFunctions:
    """As :class:`nanogrid.client.functions.Functions`."""

    _client: Client
    _threads: Threads

    async def list(self, all_namespaces: bool = False) -> "list[Json]":
        """As Functions.list."""
        return await self._threads.call(lambda: self._client.functions.list(all_namespaces))

    async def get(self, name: str) -> Json:
        """As Functions.get."""
        return await self._threads.call(lambda: self._client.functions.get(name))

    async def upload(self, path: str | Path, name: str, **options: Any) -> Json:
        """As Functions.upload."""
        return await self._threads.call(
            lambda: self._client.functions.upload(path, name, **options)
        )

    async def set_memory(self, function: Json, memory: str) -> Json:
        """As Functions.set_memory."""
        return await self._threads.call(lambda: self._client.functions.set_memory(function, memory))

    async def delete(self, name: str) -> None:
        """As Functions.delete."""
        await self._threads.call(lambda: self._client.functions.delete(name))


class AsyncClient:
    """As :class:`Client`; an async context manager. ``blocking`` is the synchronous client."""

    def __init__(
        self,
        namespace: str | None = None,
        context: str | None = None,
        kubeconfig: str | None = None,
        gateway_url: str | None = None,
        s3: Storage | None = None,
        threads: int = THREADS,
        *,
        cluster: Cluster | None = None,
        controller_class: str | None = None,
    ) -> None:
        self.blocking = Client(
            namespace,
            context,
            kubeconfig,
            gateway_url,
            s3,
            cluster=cluster,
            controller_class=controller_class,
        )
        self._threads = Threads(threads)
        self.functions = AsyncFunctions(self.blocking, self._threads)

    async def run(
        self,
        code: str | None = None,
        *,
        wait_timeout: float | None = None,
        on_change: Callable[[Run], None] | None = None,
        check: bool = False,
        on_stdout: TextCallback | None = None,
        on_stderr: TextCallback | None = None,
        on_output: TextCallback | None = None,
        on_note: TextCallback | None = None,
        **keywords: Any,
    ) -> Result:
        """As :meth:`Client.run`."""
        if self.blocking.by_gateway(keywords):
            return await self._threads.call(
                self.blocking.run,
                code,
                wait_timeout=wait_timeout,
                check=check,
                on_stdout=in_loop(on_stdout),
                on_stderr=in_loop(on_stderr),
                on_output=in_loop(on_output),
                **keywords,
            )
        run = await self.submit(code, **keywords)
        result = await run.wait(
            wait_timeout,
            on_change,
            on_stdout=on_stdout,
            on_stderr=on_stderr,
            on_output=on_output,
            on_note=on_note,
        )
        return result.raise_for_status() if check else result

    async def submit(self, code: str | Json | None = None, **keywords: Any) -> AsyncRun:
        """As :meth:`Client.submit`."""
        return self._run(await self._threads.call(self.blocking.submit, code, **keywords))

    async def get(self, name: str, namespace: str | None = None) -> AsyncRun:
        """As :meth:`Client.get`."""
        return self._run(await self._threads.call(self.blocking.get, name, namespace))

    async def list(
        self,
        phase: str | None = None,
        all_namespaces: bool = False,
        labels: str = "",
        *,
        function: str | None = None,
        since: float | None = None,
        limit: int | None = None,
    ) -> "list[AsyncRun]":
        """As :meth:`Client.list`."""
        found = await self._threads.call(
            self.blocking.list,
            phase,
            all_namespaces,
            labels,
            function=function,
            since=since,
            limit=limit,
        )
        return [self._run(run) for run in found]

    async def upload(self, path: str | Path, key: str | None = None) -> Uploaded:
        """As :meth:`Client.upload`."""
        return await self._threads.call(self.blocking.upload, path, key)

    async def invoke(
        self,
        function_id: str,
        input_data: Any = None,
        *,
        request_id: str | None = None,
        version: int | None = None,
        timeout: float = READY_SECONDS,
        pool: str | None = None,
    ) -> Result:
        """As :meth:`Client.invoke`."""
        return await self._threads.call(
            self.blocking.invoke,
            function_id,
            input_data,
            request_id=request_id,
            version=version,
            timeout=timeout,
            pool=pool,
        )

    def session(self, *, ready_timeout: float = READY_SECONDS, **keywords: Any) -> PendingSession:
        """As :meth:`Client.session`.

        ``async with client.session() as session``, or ``session = await client.session()``.
        """
        return self._pending(lambda: self.blocking.session(ready_timeout=ready_timeout, **keywords))

    def attach(self, name: str, *, ready_timeout: float = READY_SECONDS) -> PendingSession:
        """As :meth:`Client.attach`; await it, or use it in ``async with``."""
        return self._pending(lambda: self.blocking.attach(name, ready_timeout=ready_timeout))

    async def close(self) -> None:
        """As :meth:`Client.close`; each thread ends after its current call."""
        await self._threads.call(self.blocking.close)
        self._threads.close()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _pending(self, create: Callable[[], Session]) -> PendingSession:
        async def made() -> AsyncSession:
            return AsyncSession(await self._threads.call(create), self._threads)

        return PendingSession(made)

    def _run(self, run: Run) -> AsyncRun:
        return AsyncRun(run, self._threads)
