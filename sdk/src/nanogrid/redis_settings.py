"""How the settings of operator and gateway describe Redis. Both have the same fields for it."""

# ruff: noqa: D102 the classes that take the fields explain them

from typing import Protocol

from nanogrid.redis_role import iam_of
from nanogrid.redis_url import (
    CLUSTER,
    ENV_REDIS_MODE,
    ENV_REDIS_URL,
    RedisServer,
    server_problem,
)
from nanogrid.settings import SettingsError
from nanogrid.tenancy import redis_cluster_problem


class RedisSettings(Protocol):
    """The fields; :class:`nanogrid.redis_url.RedisServer` and ``Iam`` explain them."""

    @property
    def redis_url(self) -> str: ...
    @property
    def redis_mode(self) -> str: ...
    @property
    def redis_username(self) -> str: ...
    @property
    def redis_password(self) -> str: ...
    @property
    def redis_ca_bundle(self) -> str: ...
    @property
    def redis_sentinel_master(self) -> str: ...
    @property
    def redis_sentinel_username(self) -> str: ...
    @property
    def redis_sentinel_password(self) -> str: ...
    @property
    def redis_iam_cache(self) -> str: ...
    @property
    def redis_iam_service(self) -> str: ...
    @property
    def redis_iam_region(self) -> str: ...
    @property
    def redis_iam_account(self) -> str: ...
    @property
    def s3_region(self) -> str: ...
    @property
    def compatibility_namespace(self) -> str: ...


def redis_server(settings: RedisSettings) -> RedisServer:
    """Where results are delivered.

    Raises:
        SettingsError: a role and other settings exclude each other.
    """
    try:
        iam = iam_of(
            settings.redis_url,
            settings.redis_username,
            settings.redis_password,
            service=settings.redis_iam_service,
            cache=settings.redis_iam_cache,
            region=settings.redis_iam_region or settings.s3_region,
            account=settings.redis_iam_account,
        )
    except ValueError as e:
        raise SettingsError(str(e)) from None
    return RedisServer(
        url=settings.redis_url,
        mode=settings.redis_mode,
        username=settings.redis_username,
        password=settings.redis_password,
        ca_bundle=settings.redis_ca_bundle,
        sentinel_master=settings.redis_sentinel_master,
        sentinel_username=settings.redis_sentinel_username,
        sentinel_password=settings.redis_sentinel_password,
        iam=iam,
    )


def check_redis(settings: RedisSettings) -> None:
    """Refuse settings that cannot work together.

    Raises:
        SettingsError: which variables, and why; it shows no password.
    """
    wrong = server_problem(redis_server(settings))
    if not wrong and settings.redis_mode == CLUSTER:
        wrong = redis_cluster_problem(settings.compatibility_namespace)
    if wrong:
        raise SettingsError(f"{ENV_REDIS_URL} and {ENV_REDIS_MODE}: {wrong}")
