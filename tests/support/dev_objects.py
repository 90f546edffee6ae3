"""Objects in the S3 bucket of the chart's devServices."""

from scripts.devaccess import DevAccess


def put_object(dev: DevAccess, key: str, body: bytes) -> str:
    """Store an object; returns its key."""
    dev.s3.put_object(Bucket=dev.bucket, Key=key, Body=body)
    return key


def object_sizes(dev: DevAccess, prefix: str) -> dict[str, int]:
    """The sizes of the objects below a prefix, by key without the prefix."""
    listed = dev.s3.list_objects_v2(Bucket=dev.bucket, Prefix=prefix).get("Contents", [])
    return {o["Key"].removeprefix(prefix): o["Size"] for o in listed}


def read_object(dev: DevAccess, key: str) -> bytes:
    """The content of an object."""
    body: bytes = dev.s3.get_object(Bucket=dev.bucket, Key=key)["Body"].read()
    return body
