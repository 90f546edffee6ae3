"""A review of what the current user, or a service account, may do. Pure."""

from nanogrid.kube import reviews
from nanogrid.types import Json


def access_review(
    verb: str, resource: str, namespace: str | None, group: str, service_account: str
) -> tuple[str, Json]:
    """The path and the body of a review; for the arguments see ``Cluster.can``."""
    base, _, below = resource.partition("/")
    asked = {"verb": verb, "resource": base, "group": group, "subresource": below}
    account = _account(service_account) if service_account else None
    return reviews.access_review(asked | {"namespace": namespace or ""}, account)


def _account(service_account: str) -> Json:
    """User and groups of a token of NAMESPACE:NAME, in a SubjectAccessReview."""
    everyone = "system:serviceaccounts"
    own = f"{everyone}:{service_account.partition(':')[0]}"
    user = f"system:serviceaccount:{service_account}"
    return {"user": user, "groups": ["system:authenticated", everyone, own]}
