"""What the release's Redis and S3 have of a request after a fault: one result, delivered once."""

import json
from collections.abc import Iterable

from nanogrid import names
from nanogrid.types import Json
from scripts.devaccess import dev_access
from support.dev_objects import read_object
from support.kubectl import Namespace, eventually, in_redis, in_stream, redis_of, stream_entries


def one_result(request_id: str) -> Json:
    """The only result of a request in Redis: one entry in the stream, the same under the key."""
    with dev_access() as dev:
        entries = in_stream(dev, request_id)
        assert len(entries) == 1, f"{len(entries)} entries in the stream"
        assert in_redis(dev, request_id) == entries[0], "key and stream differ"
    result: Json = json.loads(entries[0])
    return result


def assert_delivered_once(request_ids: Iterable[str]) -> None:
    """Each request has one entry in the stream, and the same result under its key."""
    with dev_access() as dev:
        entries = stream_entries(dev, 2000)
        for request_id in request_ids:
            found = [e for e in entries if e["requestId"] == request_id]
            assert len(found) == 1, f"{request_id}: {len(found)} entries in the stream"
            key = dev.area(found[0]["namespace"]).result_key(request_id)
            kept = redis_of(dev).get(key)
            assert kept == found[0]["result"], f"{request_id}: key and stream differ"


def stored_result(namespace: Namespace, request_id: str) -> Json:
    """The result in S3, once it is there: the operator may store it after the job's end."""
    with dev_access() as dev:
        key = namespace.key(names.result_object(request_id))

        def stored() -> bytes | None:
            try:
                return read_object(dev, key)
            except dev.s3.exceptions.NoSuchKey:
                return None

        result: Json = json.loads(eventually("S3 has the result", stored))
    return result
