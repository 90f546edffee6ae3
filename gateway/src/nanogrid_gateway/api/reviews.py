"""Asks the API server who a token belongs to, and what a user may do. Nothing is cached here."""

from dataclasses import dataclass, replace
from typing import Final

from nanogrid import names
from nanogrid.kube.reviews import access_review, allowed, reviewed_user, token_review
from nanogrid.types import Json
from nanogrid_gateway.kube.client import Kube

ALL_NAMESPACES: Final = ""  # as Kubernetes writes it in a review


@dataclass(frozen=True, slots=True)
class Permission:
    """What a request needs: a verb on one of our kinds, by its plural.

    ``namespace`` None is the gateway's own, :data:`ALL_NAMESPACES` every one.
    """

    verb: str
    resource: str
    namespace: str | None = None

    def within(self, namespace: str) -> "Permission":
        """The same in a namespace."""
        return replace(self, namespace=namespace)


# For routes whose handler itself selects what the caller may see.
KNOWN_CALLER: Final = Permission("", "")


def require(verb: str, resource: str = names.PLURAL) -> Permission:
    """The permission that a route requires; default are the runs."""
    return Permission(verb, resource)


@dataclass(frozen=True, slots=True)
class User:
    """A caller as the API server knows it."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


class Reviews:
    """The API server's reviews.

    Args:
        kube: the API server, and the gateway's namespace.
        audience: that tokens must be for; empty is the API server's own.

    Raises:
        KubeError: from every method: the API server did not answer, or refused.
    """

    def __init__(self, kube: Kube, audience: str) -> None:
        self._kube = kube
        self._audience = audience

    async def user_of(self, token: str) -> User | None:
        """The user of a token; None if it is not valid."""
        review = await self._kube.create(*token_review(token, self._audience))
        user = reviewed_user(review, self._audience)
        if user is None:
            return None
        return User(
            name=user.get("username", ""),
            uid=user.get("uid", ""),
            groups=tuple(user.get("groups") or ()),
            extra=tuple((k, tuple(v)) for k, v in sorted((user.get("extra") or {}).items())),
        )

    async def allows(self, user: User, permission: Permission) -> bool:
        """Whether a user has a permission.

        In the gateway's namespace a local review asks, which a Role in the one namespace permits.
        """
        namespace = permission.namespace
        local = namespace is None or namespace == self._kube.namespace
        place = self._kube.namespace if namespace is None else namespace
        attributes: Json = {
            "namespace": place,
            "verb": permission.verb,
            "group": names.GROUP,
            "resource": permission.resource,
        }
        caller: Json = {
            "user": user.name,
            "uid": user.uid,
            "groups": list(user.groups),
            "extra": {k: list(v) for k, v in user.extra},
        }
        path, body = access_review(attributes, caller, local=place if local else "")
        return allowed(await self._kube.create(path, body))
