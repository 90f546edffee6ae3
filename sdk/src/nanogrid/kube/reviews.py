"""Questions to the API server: who a token belongs to, and what somebody may do. Pure."""

from nanogrid.kube.conventions import AUTHORIZATION, TOKEN_REVIEWS, collection
from nanogrid.types import Json


def token_review(token: str, audience: str = "") -> tuple[str, Json]:
    """The path and the body of a review of a token; no audience: the API server's own."""
    spec: Json = {"token": token}
    if audience:
        spec["audiences"] = [audience]
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
    return TOKEN_REVIEWS, body


def reviewed_user(review: Json, audience: str = "") -> Json | None:
    """The user that an answer proves; None if the token is not valid for the audience."""
    status = review.get("status") or {}
    # An API server that does not know audiences would accept any token.
    confirmed = not audience or audience in (status.get("audiences") or [])
    return (status.get("user") or {}) if status.get("authenticated") and confirmed else None


def access_review(
    attributes: Json, user: Json | None = None, *, local: str = ""
) -> tuple[str, Json]:
    """The path and the body of a review of a permission; :func:`allowed` reads the answer.

    Args:
        attributes: of the resource: verb, group, resource, namespace.
        user: whose permission, as fields of the spec; None: that of the caller.
        local: the namespace of a local review, which a Role in the one namespace permits; empty
            asks for a user with a right for the whole cluster.
    """
    kind = "SelfSubjectAccessReview"
    if user is not None:
        kind = "LocalSubjectAccessReview" if local else "SubjectAccessReview"
    body: Json = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": kind,
        "spec": {**(user or {}), "resourceAttributes": attributes},
    }
    if local:
        body["metadata"] = {"namespace": local}
    return collection(AUTHORIZATION, f"{kind.lower()}s", local or None), body


def allowed(review: Json) -> bool:
    """Whether the answer to an access review is yes."""
    return bool((review.get("status") or {}).get("allowed"))
