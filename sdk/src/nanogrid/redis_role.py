"""Which IAM role takes the place of a password of Redis. Standard library only."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

# What takes tokens of IAM instead of passwords.
ELASTICACHE: Final = "elasticache"
SERVERLESS: Final = "-serverless"
IAM_SERVICES: Final = (ELASTICACHE, f"{ELASTICACHE}{SERVERLESS}", "memorydb")


@dataclass(frozen=True, slots=True, kw_only=True)
class Iam:
    """A Redis of AWS that takes tokens of an IAM role in place of a password.

    Attributes:
        service: one of ``IAM_SERVICES``.
        cache: name of the cache: of the replication group, serverless cache or MemoryDB cluster.
        region: of the cache.
        user: of Redis.
        account: service account of this pod, for messages; may be empty.
    """

    service: str
    cache: str
    region: str
    user: str
    account: str = ""

    @property
    def api(self) -> str:
        """The service in signatures and policies."""
        return self.service.removesuffix(SERVERLESS)

    @property
    def serverless(self) -> bool:
        """Whether the cache is a serverless one."""
        return self.service.endswith(SERVERLESS)

    @property
    def stored_cache(self) -> str:
        """The name of the cache as AWS stores it: in lower case."""
        return self.cache.lower()


def iam_of(
    url: str, username: str, password: str, *, service: str, cache: str, region: str, account: str
) -> Iam | None:
    """How the settings say that a role is used; None: a password, or nothing.

    Raises:
        ValueError: AWS would refuse every connection, or there is a password as well.
    """
    if not cache:
        return None
    parts = urlsplit(url)
    user = username or unquote(parts.username or "")
    if parts.scheme != "rediss":
        raise ValueError(
            f"NANOGRID_REDIS_IAM_CACHE={cache} needs TLS, but NANOGRID_REDIS_URL does not begin "
            "with rediss://"
        )
    if password or parts.password:
        raise ValueError(
            f"NANOGRID_REDIS_IAM_CACHE={cache} and a password of Redis exclude each other: remove "
            "NANOGRID_REDIS_PASSWORD, and the password in NANOGRID_REDIS_URL"
        )
    if not user:
        raise ValueError(
            f"NANOGRID_REDIS_IAM_CACHE={cache} needs a user: rediss://USER@HOST:6379/0 in "
            "NANOGRID_REDIS_URL, or NANOGRID_REDIS_USERNAME"
        )
    return Iam(service=service, cache=cache, region=region, user=user, account=account)
