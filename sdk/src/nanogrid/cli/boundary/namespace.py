"""The objects that make the boundary of a namespace: policies, NanoGridTenant, quota."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nanogrid import names
from nanogrid.cli.boundary.installation import Installation
from nanogrid.cli.finding import Finding
from nanogrid.controller_class import NO_CLASS, policy_name
from nanogrid.kube.conventions import JOBS, collection
from nanogrid.tenancy import Area
from nanogrid.types import Json

if TYPE_CHECKING:
    from nanogrid.api.tenant import TenantSpec
    from nanogrid.client import Cluster

CHECK: Final = names.TENANT_KIND
NEEDED_POLICIES: Final = ("ingress", "egress")  # names without what all policies share
EVERY_IMAGE: Final = "**"
OWN_ROOT: Final = (
    'Set tenancy.compatibilityNamespace to "-", or give this namespace a bucket of its own.'
)


@dataclass(frozen=True, slots=True)
class Known:
    """What the user can read about the tenant.

    Attributes:
        finding: for the report.
        root: of the namespace's keys; None if it is unknown.
        accounts: service accounts that its jobs may use.
    """

    finding: Finding
    root: str | None = None
    accounts: tuple[str, ...] = ()


def tenant(cluster: "Cluster", namespace: str, installation: Installation | None) -> Known:
    """Read the NanoGridTenant and the installation's settings for the namespace."""
    from pydantic import ValidationError

    from nanogrid.api.faults import faults
    from nanogrid.api.tenant import TenantSpec
    from nanogrid.client import errors

    if installation is None:
        hint = "Run it as a user who may list Deployments."
        return Known(Finding(CHECK, "skip", "the namespace of the release is unknown", hint))
    base = collection(JOBS, names.TENANT_PLURAL, installation.namespace)
    where = f"in {installation.namespace}"
    try:
        found = cluster.get(f"{base}/{namespace}").get("spec") or {}
        detail = f"{namespace} {where} is valid"
    except errors.NotFound:
        found, detail = {}, f"none {where}; the installation's defaults apply"
    except errors.Forbidden as error:
        hint = f"Run it as a user who may get {names.TENANT_PLURAL} {where}."
        return Known(Finding(CHECK, "skip", error.message, hint))
    defaults = installation.env("NANOGRID_TENANT_DEFAULTS") or "{}"
    try:
        own, shared = TenantSpec.model_validate(found), TenantSpec.model_validate_json(defaults)
    except ValidationError as error:
        detail = f"{namespace} {where} is not valid: {faults(error, TenantSpec, 'spec')}"
        return Known(Finding(CHECK, "fail", detail, "Correct it; until then no job can run."))
    return _known(namespace, installation, own, shared, detail)


def _known(
    namespace: str,
    installation: Installation,
    own: "TenantSpec",
    defaults: "TenantSpec",
    detail: str,
) -> Known:
    area = Area.of(
        namespace,
        bucket="",
        root=own.root,
        compatibility_namespace=installation.env("NANOGRID_COMPATIBILITY_NAMESPACE"),
        prefix=installation.env(names.ENV_S3_PREFIX),
    )
    allow, ceiling = own.allow or defaults.allow, own.network or defaults.network
    accounts = [installation.env("NANOGRID_SANDBOX_SERVICE_ACCOUNT") or "default", "default"]
    accounts += allow.service_accounts if allow else []
    egress = ceiling.egress if ceiling else "Deny"
    finding = Finding(CHECK, "ok", f"{detail}; root '{area.root}', egress up to {egress}")
    if area.root == "":
        text = f"{detail}; its root is empty, so it contains the roots of other namespaces"
        finding = Finding(CHECK, "warn", text, OWN_ROOT)
    elif allow and EVERY_IMAGE in allow.images:
        hint = "List the registries that the tenant needs."
        finding = Finding(CHECK, "warn", f"{detail}; allow.images has {EVERY_IMAGE}", hint)
    return Known(finding, area.root, tuple(dict.fromkeys(accounts)))


def policies(
    cluster: "Cluster", namespace: str, installation: Installation | None
) -> Iterator[Finding]:
    """Check NanoGrid's NetworkPolicies, and name others that allow sandboxes more."""
    path = f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies"
    found = {one["metadata"]["name"]: one for one in cluster.list(path)}
    own = installation.controller_class if installation else NO_CLASS
    needed = {policy_name(name, own) for name in NEEDED_POLICIES}
    missing = sorted(needed - set(found))
    if missing:
        hint = "The operator creates them before the first pod, if network.policies is set."
        yield Finding("policies", "fail", f"missing: {', '.join(missing)}", hint)
    else:
        ours = sum(map(_ours, found.values()))
        yield Finding("policies", "ok", f"{ours} of NanoGrid")
    wider = sorted(n for n, one in found.items() if n not in needed and _widens(one))
    if wider:
        detail = f"also for sandboxes: {', '.join(wider)}"
        hint = (
            "Policies only allow more. Exclude pods with the label "
            f"{names.LABEL_JOB_UID} from their podSelector."
        )
        yield Finding("policies", "warn", detail, hint)


def _ours(policy: Json) -> bool:
    """Whether an operator has made the policy."""
    labels = policy["metadata"].get("labels") or {}
    return bool(labels.get("app.kubernetes.io/managed-by") == names.MANAGED_BY)


def _widens(policy: Json) -> bool:
    """Whether a policy of another author selects all pods and allows something."""
    spec = policy.get("spec") or {}
    allows = bool(spec.get("ingress") or spec.get("egress"))
    return not _ours(policy) and allows and not spec.get("podSelector")


def quota(
    cluster: "Cluster", namespace: str, installation: Installation | None
) -> Iterator[Finding]:
    """Name the ResourceQuotas; jobs that they do not admit wait."""
    path = f"/api/v1/namespaces/{namespace}/resourcequotas"
    found = sorted(one["metadata"]["name"] for one in cluster.list(path))
    yield Finding("quota", "ok", ", ".join(found) or "no ResourceQuota")
