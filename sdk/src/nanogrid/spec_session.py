"""How a session lives, ends and is reached: the ``session`` block of an ExecutionJob."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from nanogrid.fields import Model, cel

EXPOSE_ROUTER = "Router"
EXPOSE_SERVICE = "Service"
EXPOSE_INGRESS = "Ingress"
EXPOSE_TARGET_GROUP = "TargetGroupBinding"


class Session(Model):
    """A sandbox that stays and runs many executions, reached by HTTP."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "self.idleTimeoutSeconds <= self.maxLifetimeSeconds",
                "session.idleTimeoutSeconds exceeds maxLifetimeSeconds: lower it, or raise the "
                "lifetime",
            ),
            (
                "self.executionTimeoutSeconds <= self.maxLifetimeSeconds",
                "session.executionTimeoutSeconds exceeds maxLifetimeSeconds: lower it, or raise "
                "the lifetime",
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
        description="Ends the session when nothing ran and nobody asked for so long.",
    )
    max_lifetime_seconds: int = Field(
        28_800, ge=5, le=604_800, description="Ends the session so long after it became ready."
    )
    max_executions: int | None = Field(
        None, ge=1, le=1_000_000, description="Ends the session after so many executions."
    )
    execution_timeout_seconds: int = Field(
        300, ge=1, le=604_800, description="For each execution that names no timeout of its own."
    )
    concurrency_policy: Literal["Serial", "Reject"] = Field(
        "Serial",
        description="Serial lets a second execution wait for its turn, Reject answers it with 409.",
    )
    expose: Literal["Router", "Service", "Ingress", "TargetGroupBinding"] = Field(
        "Router",
        description="How clients reach the session: through the router that all sessions share, "
        "or through a Service, Ingress or TargetGroupBinding of its own.",
    )
    target_group_arn: (
        Annotated[str, Field(min_length=20, max_length=512, pattern=r"^arn:[^\s]+$")] | None
    ) = Field(
        None,
        alias="targetGroupARN",
        description="The target group, for expose: TargetGroupBinding.",
    )
    auth: Literal["Token", "Unprotected"] = Field(
        "Token",
        description="Token asks for the bearer token in status.session.tokenSecretName; "
        "Unprotected asks for nothing: for sessions that a network policy or a proxy protects.",
    )
