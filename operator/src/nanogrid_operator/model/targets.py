"""The targets of results, as metrics and spans name them."""

from typing import Final

TARGETS: Final = ("redis", "s3", "webhook")
REDIS, S3, WEBHOOK = TARGETS
