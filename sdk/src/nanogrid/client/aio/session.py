"""Sessions for asyncio: the same calls, awaited."""

# ruff: noqa: ASYNC109 (the synchronous calls have timeouts that end their requests)

from collections.abc import Awaitable, Callable, Generator, Mapping
from pathlib import Path
from typing import Any

from nanogrid.client.aio.callbacks import in_loop
from nanogrid.client.callbacks import TextCallback
from nanogrid.client.jobs.result import Result
from nanogrid.client.sessions.execution import Execution
from nanogrid.client.sessions.files import Entries, FileInfo
from nanogrid.client.sessions.session import DEFAULT_CONTEXT, SHELL, Session
from nanogrid.threads import Threads
from nanogrid.types import Json


class AsyncFiles:
    """As :class:`nanogrid.client.sessions.files.Files`."""

    def __init__(self, session: Session, threads: Threads) -> None:
        self._files = session.files
        self._threads = threads

    async def list(self, path: str = "") -> Entries:
        """As Files.list."""
        return await self._threads.call(self._files.list, path)

    async def all(self, path: str = "") -> Entries:
        """As Files.all."""
        return await self._threads.call(self._files.all, path)

    async def download(self, path: str, target: str | Path) -> Path:
        """As Files.download."""
        return await self._threads.call(self._files.download, path, target)

    async def read(self, path: str) -> bytes:
        """As Files.read."""
        return await self._threads.call(self._files.read, path)

    async def write(self, path: str, content: bytes | str | Path) -> FileInfo:
        """As Files.write."""
        return await self._threads.call(self._files.write, path, content)

    async def delete(self, path: str) -> None:
        """As Files.delete."""
        await self._threads.call(self._files.delete, path)


class AsyncSession:
    """A session; an async context manager. ``blocking`` is the synchronous session."""

    def __init__(self, session: Session, threads: Threads) -> None:
        self.blocking = session
        self.files = AsyncFiles(session, threads)
        self._threads = threads

    async def start(self) -> "AsyncSession":
        """As :meth:`Session.start`."""
        await self._threads.call(self.blocking.start)
        return self

    async def ready(self, timeout: float | None = None) -> "AsyncSession":
        """As :meth:`Session.ready`."""
        await self._threads.call(self.blocking.ready, timeout)
        return self

    async def execute(
        self,
        code: str,
        context: str | None = DEFAULT_CONTEXT,
        *,
        timeout: float | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
        keep_processes: bool = False,
        on_stdout: TextCallback | None = None,
        on_stderr: TextCallback | None = None,
    ) -> Execution:
        """As :meth:`Session.execute`."""
        return await self._threads.call(
            self.blocking.execute,
            code,
            context,
            timeout=timeout,
            env=env,
            stdin=stdin,
            keep_processes=keep_processes,
            on_stdout=in_loop(on_stdout),
            on_stderr=in_loop(on_stderr),
        )

    async def bash(self, command: str, **options: Any) -> Execution:
        """As :meth:`Session.bash`."""
        return await self.execute(SHELL + command, None, **options)

    async def contexts(self) -> list[Json]:
        """As :meth:`Session.contexts`."""
        return await self._threads.call(self.blocking.contexts)

    async def drop_context(self, name: str) -> None:
        """As :meth:`Session.drop_context`."""
        await self._threads.call(self.blocking.drop_context, name)

    async def health(self) -> Json:
        """As :meth:`Session.health`."""
        return await self._threads.call(self.blocking.health)

    async def close(self) -> None:
        """As :meth:`Session.close`."""
        await self._threads.call(self.blocking.close)

    async def interrupt(self, number: int | None = None) -> None:
        """As :meth:`Session.interrupt`."""
        await self._threads.call(self.blocking.interrupt, number)

    async def sync(self, bucket: str, prefix: str, path: str | None = None) -> Json:
        """As :meth:`Session.sync`."""
        return await self._threads.call(self.blocking.sync, bucket, prefix, path)

    async def end(self, reason: str = "", timeout: float | None = 300.0) -> Result:
        """As :meth:`Session.end`."""
        return await self._threads.call(self.blocking.end, reason, timeout)

    async def __aenter__(self) -> "AsyncSession":
        await self._threads.call(self.blocking.__enter__)
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        await self._threads.call(self.blocking.__exit__, kind, error, trace)

    def __repr__(self) -> str:
        return f"<Async{repr(self.blocking)[1:]}"


class PendingSession(Awaitable[AsyncSession]):
    """A session that the client creates when it is awaited, or entered with ``async with``."""

    def __init__(self, create: Callable[[], Awaitable[AsyncSession]]) -> None:
        self._create = create
        self._session: AsyncSession | None = None

    def __await__(self) -> Generator[Any, None, AsyncSession]:
        return self._create().__await__()

    async def __aenter__(self) -> AsyncSession:
        self._session = await self
        return await self._session.__aenter__()

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._session is not None:
            await self._session.__aexit__(kind, error, trace)
