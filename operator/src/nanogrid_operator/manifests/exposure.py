"""What exposes a session besides the router: its Service, its Ingress or TargetGroupBinding. Pure.

The Ingress or TargetGroupBinding owns the Service. So whoever deletes the session, the garbage
collector deletes the Service only when the load balancer controller has removed its finalizer:
https://kubernetes.io/docs/concepts/architecture/garbage-collection/
"""

from typing import Final, NamedTuple

from nanogrid import names
from nanogrid.api.session import (
    EXPOSE_INGRESS,
    EXPOSE_ROUTER,
    EXPOSE_TARGET_GROUP,
    SessionSpec,
)
from nanogrid.controller_class import labels
from nanogrid.types import Json
from nanogrid_operator.kube.objects import owner_reference
from nanogrid_operator.model.facts import Job
from nanogrid_operator.settings import Settings

SERVICE_PORT: Final = 80
CORE: Final = "/api/v1"
NETWORKING: Final = "/apis/networking.k8s.io/v1"
ELB: Final = "/apis/elbv2.k8s.aws/v1beta1"
# The load balancer controller begins to deregister a pod up to a second after its end.
DEREGISTRATION_MARGIN_SECONDS: Final = 5


class Owned(NamedTuple):
    """An object of a session: the base path of its API, its plural, its manifest."""

    base: str
    plural: str
    body: Json


def rules(job: Job) -> SessionSpec | None:
    """The session's rules, or None for a batch job."""
    return job.spec.session_rules if job.spec is not None and job.spec.is_session else None


def service(job: Job, settings: Settings) -> Owned | None:
    """The Service of a session that does not only use the router."""
    wanted = rules(job)
    if wanted is None or wanted.expose == EXPOSE_ROUTER:
        return None
    spec: Json = {
        "selector": {names.LABEL_JOB_UID: job.uid, names.LABEL_MODE: names.MODE_SESSION},
        "ports": [{"name": "http", "port": SERVICE_PORT, "targetPort": names.SESSION_PORT}],
    }
    if settings.ip_family_policy:
        spec["ipFamilyPolicy"] = settings.ip_family_policy
    body = {"apiVersion": "v1", "kind": "Service", "metadata": metadata(job), "spec": spec}
    return Owned(CORE, "services", body)


def entrance(job: Job, settings: Settings) -> Owned | None:
    """The Ingress or TargetGroupBinding of a session, which a load balancer controller serves."""
    wanted = rules(job)
    if wanted is not None and wanted.expose == EXPOSE_INGRESS:
        return Owned(NETWORKING, "ingresses", _ingress(job, settings))
    if wanted is not None and wanted.expose == EXPOSE_TARGET_GROUP:
        body = _target_group_binding(job, wanted, settings)
        return Owned(ELB, "targetgroupbindings", body)
    return None


def owner_of_service(owner: Json) -> Json:
    """A merge patch for the Service: this Ingress or TargetGroupBinding is its only owner."""
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": False,
    }
    return {"metadata": {"ownerReferences": [reference]}}


def drain_seconds(wanted: SessionSpec, settings: Settings) -> int:
    """Seconds that the containers of an ended session run on while it is deregistered."""
    if wanted.expose == EXPOSE_ROUTER or settings.deregistration_seconds == 0:
        return 0
    return settings.deregistration_seconds + DEREGISTRATION_MARGIN_SECONDS


def readiness_gate(wanted: SessionSpec, job_name: str, uid: str) -> str | None:
    """The condition that the load balancer controller sets on a pod while its target is healthy."""
    if wanted.expose != EXPOSE_TARGET_GROUP:
        return None
    return f"{names.TARGET_HEALTH_PREFIX}{names.session_service(job_name, uid)}"


def url(job: Job, settings: Settings, address: str = "") -> str | None:
    """The URL of the session; None if the operator does not know it.

    Args:
        job: The session.
        settings: The operator's settings.
        address: The host name or address of the load balancer that serves its Ingress.
    """
    wanted = rules(job)
    if wanted is None:
        return None
    path = names.session_path(job.namespace, job.name)
    if wanted.expose == EXPOSE_ROUTER:
        base = settings.session_url.rstrip("/")
        return f"{base}{path}" if base else None
    host = settings.session_ingress_host or address
    if wanted.expose == EXPOSE_INGRESS and host:
        return f"{_origin(settings.session_listeners, host)}{path}"
    return f"http://{names.session_service(job.name, job.uid)}.{job.namespace}.svc"


def _origin(listeners: dict[str, int], host: str) -> str:
    """Scheme, host and port of a load balancer's listener; HTTPS is preferred."""
    scheme, usual = ("https", 443) if "HTTPS" in listeners else ("http", 80)
    port = listeners.get(scheme.upper(), usual)
    return f"{scheme}://{host}" + ("" if port == usual else f":{port}")


def metadata(job: Job, name: str | None = None) -> Json:
    """The metadata of a session's object; the default name is that of its Service."""
    return {
        "name": name or names.session_service(job.name, job.uid),
        "namespace": job.namespace,
        "labels": {
            "app.kubernetes.io/name": "nanogrid-session",
            "app.kubernetes.io/managed-by": names.MANAGED_BY,
            names.LABEL_JOB: job.name,
            names.LABEL_JOB_UID: job.uid,
            **names.NOT_IN_BACKUPS,
            **labels(job.controller_class),
        },
        "ownerReferences": [owner_reference(job.name, job.uid)],
    }


def _ingress(job: Job, settings: Settings) -> Json:
    own = names.session_service(job.name, job.uid)
    backend = {"service": {"name": own, "port": {"number": SERVICE_PORT}}}
    path = {
        "path": names.session_path(job.namespace, job.name),
        "pathType": "Prefix",
        "backend": backend,
    }
    rule: Json = {"http": {"paths": [path]}}
    if settings.session_ingress_host:
        rule["host"] = settings.session_ingress_host
    annotations = settings.objects("session_ingress_annotations")
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": metadata(job) | {"annotations": annotations},
        "spec": {"ingressClassName": settings.session_ingress_class, "rules": [rule]},
    }


def _target_group_binding(job: Job, wanted: SessionSpec, settings: Settings) -> Json:
    own = names.session_service(job.name, job.uid)
    spec: Json = {
        "serviceRef": {"name": own, "port": SERVICE_PORT},
        "targetGroupARN": wanted.target_group_arn,
        "targetType": "ip",
    }
    if networking := settings.mapping("session_target_networking"):
        spec["networking"] = networking
    return {
        "apiVersion": "elbv2.k8s.aws/v1beta1",
        "kind": "TargetGroupBinding",
        "metadata": metadata(job),
        "spec": spec,
    }
