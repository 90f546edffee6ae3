"""Who sends a report: the pod of a reviewed token, or the job of a derived one."""

import base64
import hmac
from dataclasses import dataclass
from typing import Protocol

from nanogrid import json_text, names
from nanogrid.kube.client import KubeApi
from nanogrid.kube.reviews import reviewed_user, token_review
from nanogrid_operator.settings import Settings
from nanogrid_operator.watch.cache import JobCache

POD_UID = "authentication.kubernetes.io/pod-uid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """What a token proves; an empty field is not proven."""

    pod_uid: str = ""
    job_uid: str = ""

    def __str__(self) -> str:
        return f"pod uid={self.pod_uid}" if self.pod_uid else f"agent of job uid={self.job_uid}"

    def may_report(self, job_uid: str, pod_uid: str) -> bool:
        """Whether it may report for a job whose attempt has this pod."""
        if self.pod_uid:
            return self.pod_uid == pod_uid
        return bool(self.job_uid) and self.job_uid == job_uid


class Authenticator(Protocol):
    """One way to authenticate reports."""

    async def sender(self, token: str) -> Sender | None:
        """The sender that the token proves; None if it proves none.

        Raises:
            KubeError: The token cannot be checked now.
        """

    def claimed(self, token: str, cache: JobCache) -> str:
        """The uid of a known pod or job that a token names, not verified; empty if it is of none.

        The uid is random: only who is that pod, or may read the namespace, can name it.
        """


def make_authenticator(settings: Settings, kube: KubeApi) -> Authenticator:
    """The way that the settings name."""
    if settings.report_key:
        return ReportTokens(settings.report_key.encode())
    return TokenReviews(kube)


class TokenReviews:
    """The API server reviews tokens that the kubelet projects; this needs a cluster-wide right."""

    def __init__(self, kube: KubeApi) -> None:
        self._kube = kube

    async def sender(self, token: str) -> Sender | None:
        """The pod that the token is bound to."""
        if not token:
            return None
        audience = names.RESULTS_AUDIENCE
        user = reviewed_user(await self._kube.create(*token_review(token, audience)), audience)
        uids = ((user or {}).get("extra") or {}).get(POD_UID, [])
        return Sender(pod_uid=uids[0]) if uids and uids[0] else None

    def claimed(self, token: str, cache: JobCache) -> str:
        """The pod in the token's claims."""
        try:
            text = token.split(".")[1]
            claims = json_text.parse(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            bound = claims["kubernetes.io"]
            name, uid = bound["pod"]["name"], bound["pod"]["uid"]
            return str(uid) if cache.has_pod(bound["namespace"], name, uid) else ""
        except (IndexError, KeyError, TypeError, ValueError):
            return ""  # the token is none of the kubelet's


class ReportTokens:
    """The operator derives the token of each job from its key; no request is needed."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    async def sender(self, token: str) -> Sender | None:
        """The job that the token is derived from."""
        uid = names.report_token_uid(token)
        if not uid:
            return None
        expected = names.report_token(self._key, uid).encode()
        # As bytes: compare_digest refuses text that is not ASCII.
        if not hmac.compare_digest(expected, token.encode(errors="replace")):
            return None
        return Sender(job_uid=uid)

    def claimed(self, token: str, cache: JobCache) -> str:
        """The job in the token."""
        uid = names.report_token_uid(token)
        return uid if cache.job(uid) is not None else ""
