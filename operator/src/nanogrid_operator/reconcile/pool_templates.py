"""The pods that each pool should have now: built once for each version of a pool."""

from dataclasses import dataclass, field
from typing import NamedTuple

from nanogrid.api.pool import PoolSpec
from nanogrid.types import Json
from nanogrid_operator.decision import policy
from nanogrid_operator.manifests import network, session
from nanogrid_operator.manifests.pool_pod import (
    blank_job,
    build_pool_pod,
    template,
    version_of_pods,
)
from nanogrid_operator.model.claim import ClaimProofs
from nanogrid_operator.model.errors import InvalidSpecError
from nanogrid_operator.model.pool import Pool
from nanogrid_operator.model.tenant import Tenant, Tenants, with_default_limits
from nanogrid_operator.reconcile.network_probe import NetworkProbe
from nanogrid_operator.settings import Settings

NO_REVIEWS = (
    "this installation may not review tokens (rbac.clusterWide in the chart's values is false), "
    "so waiting pods cannot prove who they are: pools are not available"
)


class Template(NamedTuple):
    """A pod of the pool without a name, and the version of the pool's pods."""

    pod: Json
    version: str


class _Known(NamedTuple):
    """What a template was made for, and the template."""

    spec: PoolSpec
    tenant: Tenant
    enforced: bool | None
    template: Template


@dataclass(slots=True, kw_only=True)
class PoolTemplates:
    """Builds the manifests of pools' pods."""

    settings: Settings
    tenants: Tenants
    network: NetworkProbe
    proofs: ClaimProofs
    _known: dict[str, _Known] = field(default_factory=dict, init=False)  # by the pool's uid

    def of(self, pool: Pool) -> Template:
        """A pod of the pool.

        Raises:
            InvalidSpecError: The pool is not valid, or its namespace does not allow it.
        """
        if pool.spec is None:
            raise InvalidSpecError(pool.error)
        tenant, enforced = self.tenants.of(pool.namespace), self.network.condition.enforced
        known = self._known.get(pool.uid)
        if known is not None and known[:3] == (pool.spec, tenant, enforced):
            return known.template
        tenant, settings, gate = self._context(pool)
        if settings.report_key:
            raise InvalidSpecError(NO_REVIEWS)
        if pool.spec.is_for_sessions and (why := session.disabled(settings)):
            raise InvalidSpecError(why)
        policy.check(blank_job(pool).spec, tenant, settings)
        pod = template(pool, settings, tenant, gate)
        found = Template(pod, version_of_pods(pod))
        self._known[pool.uid] = _Known(pool.spec, tenant, enforced, found)
        return found

    def pod(self, pool: Pool, token: str) -> Json:
        """The manifest of a new pod; ``token`` has eight random hex digits."""
        tenant, settings, gate = self._context(pool)
        version = self.of(pool).version
        return build_pool_pod(pool, token, settings, tenant, gate, self.proofs, version)

    def forget(self, pool_uid: str) -> None:
        """The pool was deleted."""
        self._known.pop(pool_uid, None)

    def _context(self, pool: Pool) -> tuple[Tenant, Settings, int | None]:
        tenant = self.tenants.of(pool.namespace)
        settings = with_default_limits(self.settings, tenant.limits)
        enforced = self.network.condition.enforced
        gate = network.gate_port(blank_job(pool).spec, self.settings, enforced=enforced)
        return tenant, settings, gate
