"""How long code may run: what the job says, or a default that fits into its limits. Pure."""

from nanogrid.api.job import Spec
from nanogrid_operator.model.tenant import Tenant
from nanogrid_operator.settings import Settings


def longer_grace(spec: Spec, settings: Settings) -> int:
    """Seconds by which the job's grace is longer than the installation's.

    Code can ignore SIGTERM, so they are time to run too.
    """
    grace = spec.termination_grace_period_seconds or 0
    return max(0, grace - int(settings.termination_grace_seconds))


def execution_seconds(spec: Spec, tenant: Tenant, settings: Settings) -> int:
    """The timeout of the code, or of a session's executions.

    A default is not longer than the limit of the namespace. ``decision.policy`` refuses what the
    user wrote.
    """
    if spec.is_session:
        rules = spec.session_rules
        written, seconds = rules.execution_timeout_seconds, rules.execution_seconds
    else:
        written = spec.timeouts.execution_seconds if spec.timeouts else None
        seconds = spec.execution_seconds
    most = tenant.limits.execution_seconds
    if most is None or written is not None:
        return seconds
    return max(1, min(seconds, most - longer_grace(spec, settings)))
