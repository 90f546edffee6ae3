"""Every tunable of the functions' API: its variable, default, meaning and unit, once."""

import json
import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nanogrid import names
from nanogrid.envsettings import SettingsError

PREFIX = "NANOGRID_"
# What the other components call the same.
ALIASES = {"s3_region": names.ENV_S3_REGION}

Seconds = Annotated[float, Field(gt=0, le=86_400)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]


class Settings(BaseModel):
    """Read once at start; the variable of ``field`` is ``NANOGRID_FIELD``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    namespace: Annotated[str, Field(min_length=1, max_length=63)] = Field(
        description="namespace of functions and runs; required"
    )
    host: str = Field("0.0.0.0", description="address to listen on")  # noqa: S104 a container's
    port: Annotated[int, Field(ge=1, le=65_535)] = Field(8080, description="port of the API")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="of logs")

    s3_endpoint: str = Field("", description="URL of the S3 server; empty is AWS")
    s3_region: str = Field("us-east-1", description="region of the bucket")
    s3_bucket: Annotated[str, Field(min_length=3)] = Field(
        description="bucket of code, inputs, outputs and results, the operator's; required"
    )
    redis_url: str = Field(description="where results are delivered, the operator's; required")
    redis_password: str = Field("", description="of Redis", repr=False)
    redis_timeout_seconds: Seconds = Field(2.0, description="per Redis command")
    kube_timeout_seconds: Seconds = Field(10.0, description="per Kubernetes API request")

    wait_seconds: Annotated[float, Field(ge=0)] = Field(
        25.0, description="POST /run waits so long for the result unless the request says"
    )
    max_wait_seconds: Annotated[float, Field(ge=0, le=3600)] = Field(
        60.0, description="longest wait that a request can ask for"
    )
    max_waiting: Count = Field(
        200, description="requests that wait at a time; others are answered 202 at once"
    )
    spare_threads: Count = Field(32, description="threads for requests that do not wait")
    max_streams: Count = Field(16, description="log streams at a time, out of the spare threads")
    run_ttl_seconds: Annotated[int, Field(ge=60, le=31_536_000)] = Field(
        86_400, description="a finished run is kept so long, and its requestId remembered"
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
        description="kubernetes: bearer tokens that the cluster knows, with rights in the "
        "namespace; tokens: those of a file; none: everybody, for tests",
    )
    auth_audience: str = Field(
        "", description="audience that tokens must be for; empty is the API server's own"
    )
    auth_tokens_file: str = Field(
        "", description="of mode tokens: lines of NAME TOKEN; read again when it changes"
    )
    auth_cache_seconds: Annotated[float, Field(ge=0, le=30)] = Field(
        30.0, description="the API server's word on a caller is believed so long"
    )

    rate_per_second: Annotated[float, Field(gt=0)] = Field(
        50.0, description="requests of one caller, per replica"
    )
    rate_burst: Count = Field(200, description="requests of one caller at once, per replica")
    max_concurrent: Count = Field(200, description="requests of one caller under way, per replica")

    read_seconds: Annotated[float, Field(ge=1, le=600)] = Field(
        30.0,
        description="for a client to send a request's head, and as long for its body and a second "
        "more per 64 KiB; and for one that takes nothing of its answer",
    )
    grace_seconds: Seconds = Field(20.0, description="for requests that run after SIGTERM")
    keepalive_seconds: Annotated[int, Field(ge=1, le=4000)] = Field(
        75, description="idle connections; more than the load balancer's idle timeout"
    )

    @property
    def threads(self) -> int:
        """How many requests a process serves at a time."""
        return self.max_waiting + self.spare_threads

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
            said = "; ".join(f"{variable(str(x['loc'][0]))}: {x['msg']}" for x in e.errors())
            raise SettingsError(said) from None
        except json.JSONDecodeError as e:
            raise SettingsError(f"{variable('runtimes')} is no JSON: {e}") from None
        if settings.auth_mode == "tokens" and not settings.auth_tokens_file:
            raise SettingsError("NANOGRID_AUTH_MODE=tokens needs NANOGRID_AUTH_TOKENS_FILE")
        if settings.wait_seconds > settings.max_wait_seconds:
            raise SettingsError("NANOGRID_WAIT_SECONDS exceeds NANOGRID_MAX_WAIT_SECONDS")
        return settings


def variable(field: str) -> str:
    """The environment variable of a field."""
    return ALIASES.get(field, PREFIX + field.upper())


def help_text() -> str:
    """All settings, one a line, for ``--help``."""
    width = max(len(variable(name)) for name in Settings.model_fields)

    def line(name: str, default: Any, doc: str | None) -> str:
        shown = "" if default in ("",) or repr(default) == "PydanticUndefined" else default
        return f"  {variable(name):{width}}  {doc}" + (f" (default {shown})" if shown != "" else "")

    return "\n".join(line(n, f.default, f.description) for n, f in Settings.model_fields.items())
