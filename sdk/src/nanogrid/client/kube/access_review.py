"""Questions to the API server about what somebody may do. Pure."""

from nanogrid.kube.conventions import AUTHORIZATION
from nanogrid.types import Json


def access_review(
    verb: str, resource: str, namespace: str | None, group: str, service_account: str
) -> tuple[str, Json]:
    """The path and the body of a review; for the arguments see ``Cluster.can``."""
    base, _, below = resource.partition("/")
    asked = {"verb": verb, "resource": base, "group": group, "subresource": below}
    spec: Json = {"resourceAttributes": asked | {"namespace": namespace or ""}}
    kind = "SelfSubjectAccessReview"
    if service_account:
        kind = "SubjectAccessReview"
        spec |= _account(service_account)
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec}
    return f"{AUTHORIZATION}/{kind.lower()}s", body


def _account(service_account: str) -> Json:
    """User and groups of a token of NAMESPACE:NAME, in a SubjectAccessReview."""
    everyone = "system:serviceaccounts"
    own = f"{everyone}:{service_account.partition(':')[0]}"
    user = f"system:serviceaccount:{service_account}"
    return {"user": user, "groups": ["system:authenticated", everyone, own]}
