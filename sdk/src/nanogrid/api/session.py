"""Lifetime and access of a session: the ``session`` block of an ExecutionJob."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from nanogrid.api.fields import Model, cel

EXPOSE_ROUTER = "Router"
EXPOSE_SERVICE = "Service"
EXPOSE_INGRESS = "Ingress"
EXPOSE_TARGET_GROUP = "TargetGroupBinding"


class SessionSpec(Model):
    """A long-running sandbox that executes code from HTTP requests."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "self.idleTimeoutSeconds <= self.maxLifetimeSeconds",
                "session.idleTimeoutSeconds exceeds maxLifetimeSeconds: lower it, or raise "
                "maxLifetimeSeconds",
            ),
            (
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

    idle_timeout_seconds: int = Field(
        900,
        ge=5,
        le=604_800,
        description="Seconds without executions and requests until the session ends.",
    )
    max_lifetime_seconds: int = Field(
        28_800,
        ge=5,
        le=604_800,
        description="Maximum lifetime of the session in seconds, counted from when it is ready.",
    )
    max_executions: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="Number of executions after which the session ends. Defaults to no limit.",
    )
    execution_timeout_seconds: int = Field(
        300,
        ge=1,
        le=604_800,
        description="Timeout in seconds of an execution that sets no timeout.",
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
