"""Rights in the cluster that would let a tenant, or code that gets a token, cross the boundary."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nanogrid import names
from nanogrid.cli.boundary.installation import Installation
from nanogrid.cli.finding import Finding

if TYPE_CHECKING:
    from nanogrid.client import Cluster

RBAC: Final = "rbac.authorization.k8s.io"
Rule = tuple[str, str, str]  # verb, resource, API group
# In the namespace of the release. Each of them gives the rights or the keys of the platform.
RELEASE: Final[tuple[Rule, ...]] = (
    ("get", "secrets", ""),
    ("list", "secrets", ""),
    ("create", names.TENANT_PLURAL, names.GROUP),
    ("patch", names.TENANT_PLURAL, names.GROUP),
    ("create", "pods", ""),
    ("create", "pods/exec", ""),
    ("patch", "pods/ephemeralcontainers", ""),
    ("create", "serviceaccounts/token", ""),
    ("patch", "deployments", "apps"),
    ("create", "rolebindings", RBAC),
)
CLUSTER: Final[tuple[Rule, ...]] = (
    ("get", "nodes/proxy", ""),
    ("list", "secrets", ""),
    ("create", "clusterrolebindings", RBAC),
    ("bind", "clusterroles", RBAC),
    ("escalate", "clusterroles", RBAC),
    ("impersonate", "users", ""),
    ("impersonate", "serviceaccounts", ""),
    ("patch", "customresourcedefinitions", "apiextensions.k8s.io"),
)
# In the namespace itself: (rule, what it opens)
OWN: Final[tuple[tuple[Rule, str], ...]] = (
    (("create", "networkpolicies", "networking.k8s.io"), "open sandboxes to the network"),
    (("create", "pods", ""), "run pods without the limits of NanoGrid"),
    (("create", "pods/exec", ""), "enter agents, which have the S3 credentials"),
    (("patch", "pods/ephemeralcontainers", ""), "add containers to sandbox pods"),
    (("get", "secrets", ""), "read the S3 keys if they are a Secret of the namespace"),
)
RELEASE_HINT: Final = (
    "Remove the right. The platform's namespace and the cluster are not for tenants."
)
OWN_HINT: Final = (
    "Users with these rights are trusted inside the namespace. For others use a role with "
    "executionjobs and functions only."
)


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose rights are checked; ``account`` is NAMESPACE:NAME, or empty for the current user."""

    check: str
    account: str = ""


def findings(
    cluster: "Cluster", namespace: str, installation: Installation | None, accounts: Sequence[str]
) -> Iterator[Finding]:
    """The rights of the current user, and of the namespace's service accounts."""
    from nanogrid.client import errors

    release = installation.namespace if installation else ""
    if not release:
        detail = "the namespace of the release is unknown, so its rights are not checked"
        yield Finding("rights", "skip", detail, "Run it as a user who may list Deployments.")
    if cluster.can("*", "*", None, "*"):
        hint = "Run it with a kubeconfig of the tenant, to check the tenant's rights."
        yield Finding("rights: you", "skip", "you are an administrator of the cluster", hint)
    else:
        yield from _of(cluster, namespace, release, Subject("rights: you"))
    for account in accounts:
        subject = Subject(f"rights: {account}", f"{namespace}:{account}")
        try:
            yield from _of(cluster, namespace, release, subject)
        except errors.Forbidden as error:
            hint = "Run it as a user who may create SubjectAccessReviews."
            yield Finding(subject.check, "skip", error.message, hint)


def _of(cluster: "Cluster", namespace: str, release: str, subject: Subject) -> list[Finding]:
    def allowed(rule: Rule, where: str | None) -> bool:
        verb, resource, group = rule
        return cluster.can(verb, resource, where, group, service_account=subject.account)

    dangerous = [
        f"{_text(rule)} in {release}" for rule in RELEASE if release and allowed(rule, release)
    ]
    dangerous += [f"{_text(rule)} in the cluster" for rule in CLUSTER if allowed(rule, None)]
    own = [f"{_text(rule)} ({use})" for rule, use in OWN if allowed(rule, namespace)]
    found = []
    if dangerous:
        detail = f"can {', '.join(dangerous)}"
        found.append(Finding(subject.check, "fail", detail, RELEASE_HINT))
    if own:
        found.append(Finding(subject.check, "warn", f"can {', '.join(own)}", OWN_HINT))
    count = len(CLUSTER) + len(OWN) + (len(RELEASE) if release else 0)
    return found or [Finding(subject.check, "ok", f"none of {count} dangerous rights")]


def _text(rule: Rule) -> str:
    return f"{rule[0]} {rule[1]}"
