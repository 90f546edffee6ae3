"""The bucket for the event loop: each call of the S3 client runs in a thread of a bounded pool."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import IO, Any, Final

from nanogrid.threads import Threads
from nanogrid_gateway.api.object_store import Objects

END: Final = b""


@dataclass(frozen=True, slots=True)
class AsyncDownload:
    """An object that is being read: its size in bytes, and its content."""

    size: int
    chunks: AsyncIterator[bytes]


class AsyncObjects:
    """The methods of :class:`Objects`, awaited; a slow reader of a download holds no thread."""

    def __init__(self, objects: Objects, threads: Threads) -> None:
        self._objects = objects
        self._threads = threads
        self.bucket = objects.bucket
        self.root = objects.root
        self.key = objects.key

    async def check(self) -> None:
        """Raises ApiError 503 if the bucket does not answer."""
        await self._threads.call(self._objects.check)

    async def put_new(self, key: str, body: IO[bytes] | bytes, content_type: str) -> bool:
        """Store an object unless its key is taken; whether it was stored."""
        return await self._threads.call(self._objects.put_new, key, body, content_type)

    async def result(self, request_id: str) -> dict[str, Any] | None:
        """The stored result of a request, or None."""
        return await self._threads.call(self._objects.result, request_id)

    async def download(self, bucket: str, key: str) -> AsyncDownload | None:
        """An object's content, or None if there is no such object."""
        found = await self._threads.call(self._objects.download, bucket, key)
        if found is None:
            return None
        source = found.chunks

        async def chunks() -> AsyncIterator[bytes]:
            while chunk := await self._threads.call(next, source, END):
                yield chunk

        return AsyncDownload(found.size, chunks())

    async def written(self, prefix: str) -> dict[str, float]:
        """When each object below a prefix was written, in seconds since the epoch, by its key."""
        return await self._threads.call(self._objects.written, prefix)

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete objects."""
        await self._threads.call(self._objects.delete, keys)
