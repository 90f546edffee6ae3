"""What a session has beside its pod: a token and a way in. Pure."""

import base64
from dataclasses import dataclass
from typing import Any

from nanogrid import names, wire
from nanogrid.spec_session import (
    EXPOSE_INGRESS,
    EXPOSE_ROUTER,
    EXPOSE_TARGET_GROUP,
)
from nanogrid.spec_session import Session as Rules
from nanogrid_operator.facts import Job, owner_reference
from nanogrid_operator.settings import Settings

Json = dict[str, Any]

SERVICE_PORT = 80


@dataclass(frozen=True, slots=True)
class Seen:
    """The newest report of a session and when it came, in seconds since the epoch."""

    report: wire.SessionReport
    at: float

    @property
    def last_activity(self) -> float:
        """When the session last did something, by the operator's clock."""
        return self.at - self.report.last_activity_millis / 1000


def rules(job: Job) -> Rules | None:
    """The session's rules, or None for a batch job."""
    if job.model is None or not job.model.spec.is_session:
        return None
    return job.model.spec.session_rules


def companions(job: Job, settings: Settings) -> list[tuple[str, str, Json]]:
    """What a session needs before its pod: (API base path, plural, manifest), in order.

    The names hold a digest of the job's uid, so that one that exists is this job's own.
    """
    wanted = rules(job)
    if wanted is None:
        return []
    made = [("/api/v1", "secrets", _secret(job, settings))]
    if wanted.expose != EXPOSE_ROUTER:
        made.append(("/api/v1", "services", _service(job)))
    if wanted.expose == EXPOSE_INGRESS:
        made.append(("/apis/networking.k8s.io/v1", "ingresses", _ingress(job, settings)))
    if wanted.expose == EXPOSE_TARGET_GROUP:
        binding = _target_group_binding(job, wanted)
        made.append(("/apis/elbv2.k8s.aws/v1beta1", "targetgroupbindings", binding))
    return made


def ways_in(job: Job, settings: Settings) -> list[tuple[str, str, Json]]:
    """The companions that lead to a session; they go when it ends."""
    return [made for made in companions(job, settings) if made[1] != "secrets"]


def refusal(job: Job, settings: Settings) -> str:
    """Why this installation does not take the session; empty when it does."""
    wanted = rules(job)
    if wanted is None:
        return ""
    if len(settings.session_key) < names.SESSION_KEY_BYTES:
        return "this installation has no sessions: set sessions.enabled in the chart's values"
    if wanted.expose != EXPOSE_ROUTER and wanted.expose not in settings.exposures:
        allowed = ", ".join([EXPOSE_ROUTER, *settings.exposures])
        return (
            f"session.expose: {wanted.expose} is not allowed here, only {allowed}: use one of "
            "them, or let the platform team add it to sessions.expose in the chart's values"
        )
    return ""


def url(job: Job, settings: Settings) -> str | None:
    """Where clients reach the session, as far as the operator knows it."""
    wanted = rules(job)
    if wanted is None:
        return None
    if wanted.expose == EXPOSE_ROUTER:
        base = settings.session_url.rstrip("/")
        return f"{base}{names.session_path(job.namespace, job.name)}" if base else None
    name = names.session_object(job.name, job.uid)
    return f"http://{name}.{job.namespace}.svc"


def _metadata(job: Job) -> Json:
    return {
        "name": names.session_object(job.name, job.uid),
        "namespace": job.namespace,
        "labels": {
            "app.kubernetes.io/name": "nanogrid-session",
            "app.kubernetes.io/managed-by": names.MANAGED_BY,
            names.LABEL_JOB: job.name,
            names.LABEL_JOB_UID: job.uid,
        },
        "ownerReferences": [owner_reference(job.name, job.uid)],
    }


def _secret(job: Job, settings: Settings) -> Json:
    token = names.session_token(settings.session_key.encode(), job.uid)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _metadata(job),
        "immutable": True,
        "data": {"token": base64.b64encode(token.encode()).decode()},
    }


def _service(job: Job) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(job),
        "spec": {
            "selector": {names.LABEL_JOB_UID: job.uid, names.LABEL_MODE: names.MODE_SESSION},
            "ports": [{"name": "http", "port": SERVICE_PORT, "targetPort": names.SESSION_PORT}],
        },
    }


def _ingress(job: Job, settings: Settings) -> Json:
    own = names.session_object(job.name, job.uid)
    backend = {"service": {"name": own, "port": {"number": SERVICE_PORT}}}
    path = {
        "path": names.session_path(job.namespace, job.name),
        "pathType": "Prefix",
        "backend": backend,
    }
    rule: Json = {"http": {"paths": [path]}}
    if settings.session_ingress_host:
        rule["host"] = settings.session_ingress_host
    metadata = _metadata(job) | {"annotations": settings.objects("session_ingress_annotations")}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": metadata,
        "spec": {"ingressClassName": settings.session_ingress_class, "rules": [rule]},
    }


def _target_group_binding(job: Job, wanted: Rules) -> Json:
    own = names.session_object(job.name, job.uid)
    return {
        "apiVersion": "elbv2.k8s.aws/v1beta1",
        "kind": "TargetGroupBinding",
        "metadata": _metadata(job),
        "spec": {
            "serviceRef": {"name": own, "port": SERVICE_PORT},
            "targetGroupARN": wanted.target_group_arn,
            "targetType": "ip",
        },
    }
