"""Whether the installation takes a session, and the Secret with its token. Pure.

:mod:`nanogrid_operator.manifests.exposure` has the objects that expose a session.
"""

import base64

from nanogrid import names
from nanogrid.api.job import ExecutionJob
from nanogrid.api.session import EXPOSE_ROUTER
from nanogrid.types import Json
from nanogrid_operator.manifests import exposure
from nanogrid_operator.model.facts import Job
from nanogrid_operator.settings import Settings


def owned_objects(job: Job, settings: Settings) -> list[tuple[str, str, Json]]:
    """The objects that each session needs before its pod: (API base path, plural, manifest).

    Their names contain a digest of the job's uid, so an object that exists already belongs to this
    job.
    """
    if exposure.rules(job) is None:
        return []
    return [(exposure.CORE, "secrets", _secret(job, settings))]


def refusal(job: Job, settings: Settings) -> str:
    """Why this installation does not take the session; empty if it does."""
    wanted = exposure.rules(job)
    if wanted is None:
        return ""
    if why := disabled(settings):
        return why
    if wanted.expose != EXPOSE_ROUTER and wanted.expose not in settings.exposures:
        allowed = ", ".join([EXPOSE_ROUTER, *settings.exposures])
        return (
            f"session.expose: {wanted.expose} is not allowed, only {allowed}: use one of them, or "
            "ask the platform team to add it to sessions.expose in the chart's values"
        )
    return ""


def token_of(job: ExecutionJob, settings: Settings) -> str | None:
    """The token that the agent of a session asks for; empty if its spec disables tokens.

    None: the installation has no sessions any more, so there is no secret to derive a token from.
    """
    if job.spec.session_rules.auth != "Token":
        return ""
    if disabled(settings):
        return None
    return names.session_token(settings.session_key.encode(), job.metadata["uid"])


def disabled(settings: Settings) -> str:
    """Why this installation has no sessions; empty if it has some."""
    if len(settings.session_key) < names.KEY_BYTES:
        return "sessions are not enabled: set sessions.enabled in the chart's values"
    return ""


def _secret(job: Job, settings: Settings) -> Json:
    token = names.session_token(settings.session_key.encode(), job.uid)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": exposure.metadata(job, names.session_object(job.name, job.uid)),
        "immutable": True,
        "data": {"token": base64.b64encode(token.encode()).decode()},
    }
