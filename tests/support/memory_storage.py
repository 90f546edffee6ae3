"""S3 in memory, for tests of the client."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from nanogrid.client import NotFound, Storage, Uploaded


class MemoryStorage(Storage):
    """Objects in memory, by URI."""

    def __init__(self, namespace: str = "") -> None:
        self.objects: dict[str, bytes] = {}
        self.bucket = "bkt"
        self.namespace = namespace
        self.root = f"{namespace}/" if namespace else ""

    def put(self, key: str, content: bytes) -> Uploaded:
        self.objects[f"s3://bkt/{key}"] = content
        return Uploaded(f"s3://bkt/{key}", hashlib.sha256(content).hexdigest(), len(content))

    def upload(
        self, path: str | Path, key: str | None = None, namespace: str | None = None
    ) -> Uploaded:
        key = key or f"{self.root_of(namespace)}uploads/{Path(path).name}"
        return self.put(key, Path(path).read_bytes())

    def chunks(self, uri: str) -> Iterator[bytes]:
        if uri not in self.objects:
            raise NotFound(404, "NoSuchKey", f"{uri} does not exist.")
        yield self.objects[uri]
