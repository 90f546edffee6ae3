"""The objects of a session besides its pod: a token, and what exposes it. Pure."""

import base64

from nanogrid import names
from nanogrid.api.session import (
    EXPOSE_INGRESS,
    EXPOSE_ROUTER,
    EXPOSE_TARGET_GROUP,
    SessionSpec,
)
from nanogrid.types import Json
from nanogrid_operator.kube.objects import owner_reference
from nanogrid_operator.model.facts import Job
from nanogrid_operator.settings import Settings

SERVICE_PORT = 80


def rules(job: Job) -> SessionSpec | None:
    """The session's rules, or None for a batch job."""
    return job.spec.session_rules if job.spec is not None and job.spec.is_session else None


def owned_objects(job: Job, settings: Settings) -> list[tuple[str, str, Json]]:
    """The objects that a session needs before its pod: (API base path, plural, manifest).

    They are created in this order. Their names contain a digest of the job's uid, so an object
    that exists already belongs to this job.
    """
    wanted = rules(job)
    if wanted is None:
        return []
    objects = [("/api/v1", "secrets", _secret(job, settings))]
    if wanted.expose != EXPOSE_ROUTER:
        objects.append(("/api/v1", "services", _service(job, settings)))
    if wanted.expose == EXPOSE_INGRESS:
        objects.append(("/apis/networking.k8s.io/v1", "ingresses", _ingress(job, settings)))
    if wanted.expose == EXPOSE_TARGET_GROUP:
        binding = _target_group_binding(job, wanted)
        objects.append(("/apis/elbv2.k8s.aws/v1beta1", "targetgroupbindings", binding))
    return objects


def exposure_objects(job: Job, settings: Settings) -> list[tuple[str, str, Json]]:
    """The objects that expose a session; they are deleted when it ends."""
    return [found for found in owned_objects(job, settings) if found[1] != "secrets"]


def refusal(job: Job, settings: Settings) -> str:
    """Why this installation does not take the session; empty if it does."""
    wanted = rules(job)
    if wanted is None:
        return ""
    if len(settings.session_key) < names.KEY_BYTES:
        return "sessions are not enabled: set sessions.enabled in the chart's values"
    if wanted.expose != EXPOSE_ROUTER and wanted.expose not in settings.exposures:
        allowed = ", ".join([EXPOSE_ROUTER, *settings.exposures])
        return (
            f"session.expose: {wanted.expose} is not allowed, only {allowed}: use one of them, or "
            "ask the platform team to add it to sessions.expose in the chart's values"
        )
    return ""


def url(job: Job, settings: Settings) -> str | None:
    """The URL of the session; None if the operator does not know it."""
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


def _service(job: Job, settings: Settings) -> Json:
    spec: Json = {
        "selector": {names.LABEL_JOB_UID: job.uid, names.LABEL_MODE: names.MODE_SESSION},
        "ports": [{"name": "http", "port": SERVICE_PORT, "targetPort": names.SESSION_PORT}],
    }
    if settings.ip_family_policy:
        spec["ipFamilyPolicy"] = settings.ip_family_policy
    return {"apiVersion": "v1", "kind": "Service", "metadata": _metadata(job), "spec": spec}


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


def _target_group_binding(job: Job, wanted: SessionSpec) -> Json:
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
