"""Objects that tests must not leave in the cluster, in Redis or in S3."""

from nanogrid import names
from scripts.devaccess import DevAccess
from support.kubectl import kubectl_json, redis_of


def leftovers(dev: DevAccess) -> list[str]:
    """Sandbox pods without a job or a pool, unfinished uploads, and results without expiry."""
    # A pod that waits in a pool has the label, too; its owner is the pool.
    owners = {
        owner["metadata"]["uid"]
        for kind in (names.PLURAL, names.POOL_PLURAL)
        for owner in kubectl_json("get", f"{kind}.{names.GROUP}", "-A")["items"]
    }
    pods = kubectl_json("get", "pods", "-A", "-l", names.LABEL_JOB_UID)["items"]
    found = [
        f"pod {pod['metadata']['namespace']}/{pod['metadata']['name']}"
        for pod in pods
        if not pod["metadata"].get("deletionTimestamp")
        and not owners.intersection(o["uid"] for o in pod["metadata"].get("ownerReferences", []))
    ]
    uploads = dev.s3.list_multipart_uploads(Bucket=dev.bucket).get("Uploads", [])
    found += [f"multipart upload {upload['Key']}" for upload in uploads]
    redis = redis_of(dev)
    keys = list(redis.scan_iter(match="result:*", count=1000))
    return found + [f"key {key} without expiry" for key in keys if redis.ttl(key) == -1]
