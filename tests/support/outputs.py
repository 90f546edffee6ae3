"""All that the installation has written: objects of the API, S3, values in Redis, logs.

Sizes are bounded. A pod that is gone has no log any more.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

from nanogrid.types import Json
from scripts.devaccess import DevAccess
from support.canaries import Output
from support.kubectl import KubectlError, kubectl, redis_of
from support.release import IN_RELEASE, RELEASE

EVENTS = "/api/v1/events"  # the path of the cluster's Events
OBJECTS, OBJECT_BYTES, THREADS = 3000, 1 << 20, 8
ENTRIES = 2000  # of each stream in Redis
BATCH = 100
LOG_BYTES = 20 << 20  # of each container


def api_object(body: Json) -> Output:
    """An object of the API server. Items of a list have no kind."""
    kind, meta = body.get("kind", "object"), body["metadata"]
    return f"{kind} {meta['namespace']}/{meta['name']}", json.dumps(body).encode()


def s3_objects(dev: DevAccess, since: datetime) -> Iterator[Output]:
    """Keys and contents of the objects that are not older than ``since``; the newest if many."""
    pages = dev.s3.get_paginator("list_objects_v2").paginate(Bucket=dev.bucket)
    listed = [o for page in pages for o in page.get("Contents", []) if o["LastModified"] >= since]
    newest = sorted(listed, key=lambda o: o["LastModified"], reverse=True)[:OBJECTS]
    yield "keys in S3", "\n".join(o["Key"] for o in listed).encode()

    def read(key: str) -> Output:
        span = f"bytes=0-{OBJECT_BYTES - 1}"
        try:
            body = dev.s3.get_object(Bucket=dev.bucket, Key=key, Range=span)["Body"].read()
        except dev.s3.exceptions.NoSuchKey:
            body = b""  # deleted since the listing
        return f"S3 {key}", body

    found = [o["Key"] for o in newest if o["Size"]]
    with ThreadPoolExecutor(THREADS) as threads:
        for start in range(0, len(found), BATCH):  # so that memory holds few of them
            yield from threads.map(read, found[start : start + BATCH])


def redis_values(dev: DevAccess) -> Iterator[Output]:
    """Keys and values of Redis; the newest entries of streams."""
    redis = redis_of(dev)
    keys: list[str] = list(redis.scan_iter(count=1000))
    yield "keys in Redis", "\n".join(keys).encode()
    for start in range(0, len(keys), BATCH):
        batch = keys[start : start + BATCH]
        pipeline = redis.pipeline(transaction=False)
        for key in batch:
            pipeline.type(key)
        for key, kind in zip(batch, pipeline.execute(), strict=True):
            yield f"Redis {key}", str(_value(redis, key, kind)).encode()


def _value(redis: Any, key: str, kind: str) -> Any:
    if kind == "none":
        return None  # it expired since the scan
    if kind == "string":
        return redis.get(key)
    if kind == "stream":
        return redis.xrevrange(key, count=ENTRIES)
    raise AssertionError(f"{key} in Redis is a {kind}: read it here too")


def platform_logs(since: datetime) -> Iterator[Output]:
    """The logs of operator, gateway, router and the other pods of the release."""
    label = f"app.kubernetes.io/instance={RELEASE}"
    pods = kubectl(*IN_RELEASE, "get", "pods", "-l", label, "-o", "name").split()
    for pod in pods:
        try:
            text = kubectl(
                *IN_RELEASE, "logs", pod, "--all-containers", "--ignore-errors",
                f"--since-time={since:%Y-%m-%dT%H:%M:%SZ}", f"--limit-bytes={LOG_BYTES}",
            )  # fmt: skip
        except KubectlError as error:
            if "NotFound" not in str(error):
                raise
            text = ""  # the pod is gone since the listing
        yield f"log of {pod}", text.encode()
