"""What the installation allows each namespace: NanoGridTenants over the installation's defaults."""

from collections.abc import Iterable, Set
from dataclasses import dataclass, replace

from pydantic import ValidationError

from nanogrid.api.faults import faults
from nanogrid.api.tenant import Allowed, NetworkCeiling, TenantLimits, TenantSpec
from nanogrid.quantity import quantity
from nanogrid.redis_url import CLUSTER
from nanogrid.tenancy import Area
from nanogrid.tenant_keys import folder_of_another
from nanogrid.types import Json
from nanogrid_operator.model.errors import InvalidSpecError
from nanogrid_operator.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """One namespace: where its data is, and what its jobs may ask for.

    ``foreign_roots`` are the roots of other namespaces that are below its own root, as all roots
    are below the empty one. Its jobs may not name keys there.
    """

    area: Area
    allow: Allowed
    network: NetworkCeiling
    limits: TenantLimits
    weight: int
    foreign_roots: frozenset[str] = frozenset()

    @property
    def namespace(self) -> str:
        """The Kubernetes namespace."""
        return self.area.namespace


_NONE = TenantSpec()


def with_default_limits(settings: Settings, limits: TenantLimits) -> Settings:
    """The settings with default limits of a job that fit into the sums of its namespace."""
    memory, cpu = settings.memory_limit, settings.cpu_limit
    if limits.memory is not None:
        memory = min(memory, str(limits.memory), key=quantity)
    if limits.cpu is not None:
        cpu = min(cpu, str(limits.cpu), key=quantity)
    if (memory, cpu) == (settings.memory_limit, settings.cpu_limit):
        return settings
    return replace(settings, memory_limit=memory, cpu_limit=cpu)


class Tenants:
    """The tenants of the installation; :meth:`replace` takes the objects of a LIST.

    Args:
        settings: The operator's settings.
        namespaces: Those that have jobs; the caller adds to it.
    """

    def __init__(self, settings: Settings, namespaces: Set[str] = frozenset()) -> None:
        self._settings = settings
        self._namespaces = namespaces
        self._defaults = TenantSpec.model_validate_json(settings.tenant_defaults or "{}")
        self._specs: dict[str, TenantSpec] = {}
        self._invalid: dict[str, str] = {}
        self._known: dict[str, Tenant] = {}
        self._counted = 0  # namespaces when the known tenants were built

    def replace(self, objects: Iterable[Json]) -> dict[str, str]:
        """Take the NanoGridTenants of the release; returns the errors of invalid ones by name."""
        specs, invalid = {}, {}
        for body in objects:
            name = body["metadata"]["name"]
            try:
                specs[name] = TenantSpec.model_validate(body.get("spec") or {})
            except ValidationError as e:
                invalid[name] = faults(e, TenantSpec, "spec")
        self._specs, self._invalid, self._known = specs, invalid, {}
        return invalid

    def of(self, namespace: str) -> Tenant:
        """The tenant of a namespace.

        Raises:
            InvalidSpecError: Its NanoGridTenant is not valid, or its root is in a folder of another
                namespace. So nothing is allowed.
        """
        if namespace in self._invalid:
            raise InvalidSpecError(
                f"the NanoGridTenant {namespace} is not valid, so no job of the namespace can run: "
                f"{self._invalid[namespace]}; ask the platform team to correct it"
            )
        if len(self._namespaces) != self._counted:  # its root may be below another one
            self._known, self._counted = {}, len(self._namespaces)
        if namespace not in self._known:
            self._known[namespace] = self._tenant(namespace)
        return self._known[namespace]

    def area(self, namespace: str) -> Area:
        """Where a namespace's data is, also when its NanoGridTenant is not valid."""
        spec = self._specs.get(namespace, _NONE)
        return Area.of(
            namespace,
            bucket=spec.bucket or self._defaults.bucket or self._settings.s3_bucket,
            root=spec.root,
            compatibility_namespace=self._settings.compatibility_namespace,
            prefix=self._settings.s3_prefix,
            redis_prefix=self._settings.redis_prefix,
            redis_cluster=self._settings.redis_mode == CLUSTER,
        )

    def _others(self, own: Area) -> list[Area]:
        """The areas of all other known namespaces in the same bucket."""
        settings = self._settings
        known = {*self._specs, *self._invalid, *self._namespaces, *settings.namespaces}
        known |= {settings.namespace, settings.compatibility_namespace} - {""}
        others = map(self.area, known - {own.namespace})
        return [other for other in others if other.bucket == own.bucket]

    @staticmethod
    def _check_root(own: Area, others: list[Area]) -> None:
        """Refuse the root of a namespace that would own the files of another one.

        The root of a namespace with the name outputs has the outputs of one with an empty root.
        """
        for other in others:
            if folder := folder_of_another(own.root, other.root):
                raise InvalidSpecError(
                    f"{own.root}, the root of namespace {own.namespace}, is in "
                    f"{other.root}{folder}/, where the files of namespace {other.namespace} are, "
                    f"so no job of {own.namespace} can run: ask the platform team for another "
                    f"root or bucket (NanoGridTenant {own.namespace})"
                )

    @staticmethod
    def _roots_below(own: Area, others: list[Area]) -> frozenset[str]:
        """The roots of all other known namespaces below a root, without those that are refused."""
        return frozenset(
            other.root
            for other in others
            if other.root.startswith(own.root)
            and other.root != own.root
            and not folder_of_another(other.root, own.root)
        )

    def limits_from(self, namespace: str) -> str:
        """Where the limits of a namespace are set, for people."""
        spec = self._specs.get(namespace)
        own = spec is not None and spec.limits is not None
        return f"NanoGridTenant {namespace}" if own else "the chart's tenancy.defaults"

    def _tenant(self, namespace: str) -> Tenant:
        spec, defaults = self._specs.get(namespace, _NONE), self._defaults
        area = self.area(namespace)
        others = self._others(area)
        self._check_root(area, others)
        return Tenant(
            area=area,
            foreign_roots=self._roots_below(area, others),
            allow=spec.allow or defaults.allow or Allowed(),
            network=spec.network or defaults.network or NetworkCeiling(),
            limits=spec.limits or defaults.limits or TenantLimits(),
            weight=spec.weight or defaults.weight or 1,
        )
