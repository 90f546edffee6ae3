"""All settings of the functions' API: variable, default, meaning and unit."""

import json
import os
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from nanogrid import assumed_role, names, redis_settings
from nanogrid.addresses import Networks, networks
from nanogrid.api.job import MAX_TTL_SECONDS
from nanogrid.controller_class import problem as class_problem
from nanogrid.redis_url import CLUSTER, STANDALONE, RedisServer
from nanogrid.settings import SettingsError, check_ca_bundle
from nanogrid.tenancy import Area, redis_prefix_problem

PREFIX = "NANOGRID_"
# Variables that the other components share.
ALIASES = {"s3_region": names.ENV_S3_REGION, "sts_endpoint": names.ENV_STS_ENDPOINT}

Seconds = Annotated[float, Field(gt=0, le=86_400)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]


def _checked(problem: Callable[[str], str]) -> Callable[[str], str]:
    """A validator that refuses texts with a problem."""

    def check(text: str) -> str:
        if wrong := problem(text):
            raise ValueError(wrong)
        return text

    return check


class Settings(BaseModel):
    """Read once at start; the variable of ``field`` is ``NANOGRID_FIELD``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    namespace: Annotated[str, Field(min_length=1, max_length=63)] = Field(
        description="namespace of functions and runs; required"
    )
    compatibility_namespace: str = Field(
        "", description="namespace with the Redis names of the older systems; empty: none"
    )
    controller_class: Annotated[str, AfterValidator(_checked(class_problem))] = Field(
        "", description="spec.controllerClass of the runs, the operator's; empty: none"
    )
    host: str = Field("", description="address to listen on; empty means all addresses")
    port: Annotated[int, Field(ge=1, le=65_535)] = Field(8080, description="port of the API")
    metrics_port: Annotated[int, Field(ge=0, le=65_535)] = Field(
        0, description="port of /metrics; 0: none"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="of logs")
    log_format: Literal["text", "json"] = Field("text", description="of logs")

    s3_endpoint: str = Field("", description="URL of the S3 server; empty is AWS")
    s3_region: str = Field("us-east-1", description="region of the bucket")
    s3_ca_bundle: str = Field("", description="PEM text of CAs that S3 may have")
    s3_proxy: str = Field("", description="URL of an HTTP proxy for S3; empty: none")
    s3_kms_key_id: str = Field("", description="KMS key of what is stored; empty: the bucket's")
    s3_role_arn: Annotated[str, Field(pattern=f"^({assumed_role.ARN})?$")] = Field(
        "", description="role that the gateway assumes for S3; empty: none"
    )
    s3_role_external_id: Annotated[str, Field(pattern=f"^({assumed_role.EXTERNAL_ID})?$")] = Field(
        "", description="external id of this role; empty: none"
    )
    sts_endpoint: Annotated[str, Field(pattern=f"^({assumed_role.ENDPOINT})?$")] = Field(
        "", description="URL of STS; empty: that of AWS in the region"
    )
    s3_bucket: Annotated[str, Field(min_length=3)] = Field(
        description="bucket of code, inputs, outputs and results, the operator's; required"
    )
    s3_prefix: str = Field(
        "", description="in front of the default roots of all namespaces, the operator's"
    )
    s3_root: Annotated[str, Field(max_length=512, pattern=r"^([^/].*/)?$")] = Field(
        "",
        description="root of the namespace in the bucket, the operator's: empty, or a path that "
        "ends with a slash",
    )
    redis_url: str = Field(description="where results are delivered, the operator's; required")
    redis_mode: str = Field(
        STANDALONE, description="Standalone, Sentinel or Cluster, the operator's"
    )
    redis_sentinel_master: str = Field(
        "", description="name of the master that the Sentinels know, the operator's"
    )
    redis_sentinel_username: str = Field(
        "", description="of the Sentinels; empty: their default user"
    )
    redis_sentinel_password: str = Field("", description="of the Sentinels", repr=False)
    redis_username: str = Field("", description="of Redis; empty: that of the URL")
    redis_password: str = Field("", description="of Redis", repr=False)
    redis_ca_bundle: str = Field("", description="PEM text of CAs that Redis may have")
    redis_iam_cache: str = Field(
        "", description="name of a Redis of AWS that takes the pod's IAM role; empty: a password"
    )
    redis_iam_service: Literal["elasticache", "elasticache-serverless", "memorydb"] = Field(
        "elasticache", description="of this Redis"
    )
    redis_iam_region: str = Field("", description="of this Redis; empty: that of S3")
    redis_iam_account: str = Field("", description="service account of this pod, for messages")
    redis_prefix: Annotated[str, AfterValidator(_checked(redis_prefix_problem))] = Field(
        "", description="what all keys and channels begin with, the operator's; empty: nothing"
    )
    redis_timeout_seconds: Seconds = Field(2.0, description="per Redis command")
    kube_timeout_seconds: Seconds = Field(10.0, description="per Kubernetes API request")

    wait_seconds: Annotated[float, Field(ge=0)] = Field(
        25.0, description="seconds that POST /run waits for the result by default"
    )
    max_wait_seconds: Annotated[float, Field(ge=0, le=3600)] = Field(
        60.0, description="the longest wait in seconds that a request can ask for"
    )
    max_waiting: Count = Field(
        200, description="requests that wait at a time; others are answered 202 immediately"
    )
    storage_threads: Count = Field(
        32, description="threads for calls of S3 and checks of archives; further ones queue"
    )
    max_streams: Count = Field(
        16,
        description="log streams at a time, of one caller at most half of them; others are "
        "answered 429",
    )
    max_slow_clients: Count = Field(
        100, description="clients that send a request slowly, at a time; others are answered 408"
    )
    max_connections: Count = Field(
        1000,
        description="connections at a time; one without a request makes room for a new one",
    )
    max_connections_per_address: Count = Field(
        500, description="connections of one address at a time, except of trusted proxies"
    )
    trusted_proxies: str = Field(
        "",
        description="comma-separated CIDRs of load balancers whose X-Forwarded-For is believed; "
        "empty: the address of the connection counts",
    )
    run_ttl_seconds: Annotated[int, Field(ge=60, le=MAX_TTL_SECONDS)] = Field(
        86_400, description="seconds that a finished run and its requestId are kept"
    )

    max_upload_bytes: Annotated[int, Field(ge=1, le=1 << 30)] = Field(
        64 << 20, description="most bytes of an uploaded ZIP with its form"
    )
    max_input_bytes: Annotated[int, Field(ge=1, le=1 << 28)] = Field(
        8 << 20, description="most bytes of POST /run's body"
    )

    runtimes: dict[str, str] = Field(
        {"python": ""},
        description="JSON object: names that POST /upload takes as runtime, and their images; "
        "empty is the operator's default image",
    )

    auth_mode: Literal["kubernetes", "tokens", "none"] = Field(
        "kubernetes",
        description="kubernetes: bearer tokens that the cluster knows, with permissions in the "
        "namespace; tokens: those of a file; none: all callers, for tests",
    )
    auth_audience: str = Field(
        "", description="audience that tokens must be for; empty is the API server's own"
    )
    auth_tokens_file: str = Field(
        "", description="for mode tokens: lines of NAME TOKEN; read again when it changes"
    )
    auth_cache_seconds: Annotated[float, Field(ge=0, le=30)] = Field(
        30.0, description="seconds that the API server's answer about a caller is cached"
    )

    rate_per_second: Annotated[float, Field(gt=0)] = Field(
        50.0, description="requests per second of one caller, per replica"
    )
    rate_burst: Count = Field(200, description="requests of one caller at once, per replica")
    max_concurrent: Count = Field(200, description="active requests of one caller, per replica")

    read_seconds: Annotated[float, Field(ge=1, le=600)] = Field(
        30.0,
        description="seconds for a client's first byte, as many for a request's head, as many for "
        "its body and one more per 64 KiB; and for a client that reads nothing of its answer",
    )
    grace_seconds: Seconds = Field(20.0, description="seconds for active requests after SIGTERM")
    keepalive_seconds: Annotated[int, Field(ge=1, le=4000)] = Field(
        75, description="seconds of idle connections; more than the load balancer's idle timeout"
    )

    @property
    def proxies(self) -> Networks:
        """The networks of the trusted proxies.

        Raises:
            SettingsError: the setting is no list of CIDRs.
        """
        return networks(self.trusted_proxies, variable("trusted_proxies"))

    @property
    def redis_server(self) -> RedisServer:
        """See :func:`nanogrid.redis_settings.redis_server`."""
        return redis_settings.redis_server(self)

    @property
    def area(self) -> Area:
        """Where the data of the gateway's namespace is."""
        return Area.of(
            self.namespace,
            bucket=self.s3_bucket,
            root=self.s3_root,
            compatibility_namespace=self.compatibility_namespace,
            redis_prefix=self.redis_prefix,
            redis_cluster=self.redis_mode == CLUSTER,
        )

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Read the environment; empty variables count as absent.

        Raises:
            SettingsError: a value is missing, has the wrong type or is out of bounds.
        """
        given: dict[str, Any] = {
            f: text for f in cls.model_fields if (text := environ.get(variable(f), ""))
        }
        try:
            if "runtimes" in given:
                given["runtimes"] = json.loads(given["runtimes"])
            settings = cls.model_validate(given)
        except ValidationError as e:
            faults = (f"{variable(str(x['loc'][0]))}: {x['msg']}" for x in e.errors())
            raise SettingsError("; ".join(faults)) from None
        except json.JSONDecodeError as e:
            raise SettingsError(f"{variable('runtimes')} is not JSON: {e}") from None
        if settings.auth_mode == "tokens" and not settings.auth_tokens_file:
            raise SettingsError("NANOGRID_AUTH_MODE=tokens needs NANOGRID_AUTH_TOKENS_FILE")
        if settings.wait_seconds > settings.max_wait_seconds:
            if "wait_seconds" in given:
                raise SettingsError("NANOGRID_WAIT_SECONDS exceeds NANOGRID_MAX_WAIT_SECONDS")
            settings = settings.model_copy(update={"wait_seconds": settings.max_wait_seconds})
        _ = settings.proxies
        redis_settings.check_redis(settings)
        for name in ("s3_ca_bundle", "redis_ca_bundle"):
            check_ca_bundle(variable(name), getattr(settings, name))
        return settings


def variable(field: str) -> str:
    """The environment variable of a field."""
    return ALIASES.get(field, PREFIX + field.upper())


def help_text() -> str:
    """All settings, one per line, for ``--help``."""
    width = max(len(variable(name)) for name in Settings.model_fields)

    def line(name: str, default: Any, doc: str | None) -> str:
        shown = "" if default == "" or repr(default) == "PydanticUndefined" else default
        return f"  {variable(name):{width}}  {doc}" + (f" (default {shown})" if shown != "" else "")

    return "\n".join(line(n, f.default, f.description) for n, f in Settings.model_fields.items())
