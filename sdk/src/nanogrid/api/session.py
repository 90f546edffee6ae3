"""Lifetime and access of a session: the ``session`` block of an ExecutionJob."""

from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field

from nanogrid.api.fields import Model, cel
from nanogrid.api.runtime import EXECUTION_SECONDS

EXPOSE_ROUTER = "Router"
EXPOSE_SERVICE = "Service"
EXPOSE_INGRESS = "Ingress"
EXPOSE_TARGET_GROUP = "TargetGroupBinding"

IDLE_SECONDS: Final = 900
LIFETIME_SECONDS: Final = 28_800


class SessionSpec(Model):
    """A long-running sandbox that executes code from HTTP requests."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "!has(self.idleTimeoutSeconds) || !has(self.maxLifetimeSeconds) || "
                "self.idleTimeoutSeconds <= self.maxLifetimeSeconds",
                "session.idleTimeoutSeconds exceeds maxLifetimeSeconds: lower it, or raise "
                "maxLifetimeSeconds",
            ),
            (
                "!has(self.executionTimeoutSeconds) || !has(self.maxLifetimeSeconds) || "
                "self.executionTimeoutSeconds <= self.maxLifetimeSeconds",
                "session.executionTimeoutSeconds exceeds maxLifetimeSeconds: lower it, or raise "
                "maxLifetimeSeconds",
            ),
            (
                "(self.expose == 'TargetGroupBinding') == has(self.targetGroupARN)",
                "session.targetGroupARN belongs to expose: TargetGroupBinding, and only to it",
            ),
        )
    )

    idle_timeout_seconds: int | None = Field(
        None,
        ge=5,
        le=604_800,
        description="Seconds without executions and requests until the session ends. Defaults to "
        "900, or to a shorter maxLifetimeSeconds.",
    )
    max_lifetime_seconds: int | None = Field(
        None,
        ge=5,
        le=604_800,
        description="Maximum lifetime of the session in seconds, counted from when it is ready. "
        "Defaults to 28,800, or to a longer idleTimeoutSeconds or executionTimeoutSeconds.",
    )
    max_executions: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="Number of executions after which the session ends. Defaults to no limit.",
    )
    execution_timeout_seconds: int | None = Field(
        None,
        ge=1,
        le=604_800,
        description="Timeout in seconds of an execution that sets no timeout. Defaults to 300, or "
        "to a shorter maxLifetimeSeconds or limit of the namespace.",
    )
    concurrency_policy: Literal["Serial", "Reject"] = Field(
        "Serial",
        description="What happens to an execution while another one runs. Serial queues it, Reject "
        "answers 409.",
    )
    expose: Literal["Router", "Service", "Ingress", "TargetGroupBinding"] = Field(
        "Router",
        description="How clients reach the session. Router is shared by all sessions. Service, "
        "Ingress and TargetGroupBinding belong to this session only.",
    )
    target_group_arn: (
        Annotated[str, Field(min_length=20, max_length=512, pattern=r"^arn:[^\s]+$")] | None
    ) = Field(
        None,
        alias="targetGroupARN",
        description="ARN of the target group. Only for expose: TargetGroupBinding.",
    )
    auth: Literal["Token", "Unprotected"] = Field(
        "Token",
        description="Token requires the bearer token in the Secret status.session.tokenSecretName. "
        "Unprotected requires nothing; use it only behind a network policy or a proxy.",
    )

    @property
    def idle_seconds(self) -> int:
        """The idle timeout in force."""
        return self.idle_timeout_seconds or min(IDLE_SECONDS, self.lifetime_seconds)

    @property
    def lifetime_seconds(self) -> int:
        """The lifetime in force. A default is not shorter than what must fit into it."""
        written = (self.idle_timeout_seconds or 0, self.execution_timeout_seconds or 0)
        return self.max_lifetime_seconds or max(LIFETIME_SECONDS, *written)

    @property
    def execution_seconds(self) -> int:
        """The timeout in force of an execution that sets none."""
        return self.execution_timeout_seconds or min(EXECUTION_SECONDS, self.lifetime_seconds)
