"""Every tunable of the operator: its environment variable, default, meaning and unit, once."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from nanogrid import names
from nanogrid.envsettings import LOG_LEVELS, SettingsError, values
from nanogrid.envsettings import env as _env
from nanogrid.quantity import quantity

# Requests of the containers that are ours; with limits below them no pod could be made.
AGENT_REQUESTS = {"cpu": "50m", "memory": "64Mi"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Read once at start; see each field's ``doc``."""

    executor_image: str = _env("NANOGRID_EXECUTOR_IMAGE", "", "image of sync, agent and launcher")
    image_pull_policy: str = _env(
        "NANOGRID_IMAGE_PULL_POLICY", "IfNotPresent", "for all containers"
    )
    results_url: str = _env("NANOGRID_RESULTS_URL", "", "where agents POST results")
    port: int = _env(
        "NANOGRID_PORT", names.RESULTS_PORT, "port of the results endpoint and the probes"
    )
    watch_namespaces: str = _env("NANOGRID_WATCH_NAMESPACES", "", "comma-separated; empty is all")

    s3_endpoint: str = _env("NANOGRID_S3_ENDPOINT", "", "URL of the S3 server; empty is AWS")
    s3_region: str = _env("AWS_REGION", "us-east-1", "region of the bucket")
    s3_bucket: str = _env("NANOGRID_S3_BUCKET", "", "default bucket for code, inputs and results")
    s3_secret: str = _env(
        "NANOGRID_S3_SECRET",
        "",
        "Secret in the job's namespace with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; "
        "empty when the service account carries a role",
    )
    s3_secret_replicate: bool = _env(
        "NANOGRID_S3_SECRET_REPLICATE", False, "copy the operator's keys into that Secret"
    )
    s3_access_key: str = _env("AWS_ACCESS_KEY_ID", "", "the operator's own key")
    s3_secret_key: str = _env("AWS_SECRET_ACCESS_KEY", "", "the operator's own secret key")

    redis_url: str = _env("NANOGRID_REDIS_URL", "redis://localhost:6379/0", "redis:// or rediss://")
    redis_password: str = _env("NANOGRID_REDIS_PASSWORD", "", "overrides the URL's password")
    redis_timeout_seconds: float = _env("NANOGRID_REDIS_TIMEOUT_SECONDS", 2.0, "per call")
    result_ttl_seconds: int = _env("NANOGRID_RESULT_TTL_SECONDS", 86400, "life of a result key")
    stream_max_length: int = _env("NANOGRID_STREAM_MAX_LENGTH", 100_000, "entries kept, about")

    webhook_url: str = _env("NANOGRID_WEBHOOK_URL", "", "where results are POSTed; empty is none")
    webhook_key: str = _env("NANOGRID_WEBHOOK_KEY", "", "signs requests; empty: not signed")
    webhook_prefixes: str = _env(
        "NANOGRID_WEBHOOK_ALLOWED_URL_PREFIXES", "", "of jobs' own URLs, by spaces; empty is none"
    )
    webhook_timeout_seconds: float = _env("NANOGRID_WEBHOOK_TIMEOUT_SECONDS", 10.0, "per request")
    webhook_give_up_seconds: float = _env(
        "NANOGRID_WEBHOOK_GIVE_UP_SECONDS", 86400.0, "after the job's end"
    )

    service_account: str = _env("NANOGRID_SANDBOX_SERVICE_ACCOUNT", "default", "of sandbox pods")
    runtime_class: str = _env("NANOGRID_RUNTIME_CLASS", "", "runtimeClassName of sandbox pods")
    memory_limit: str = _env("NANOGRID_DEFAULT_MEMORY", "256Mi", "limit when a job names none")
    cpu_limit: str = _env("NANOGRID_DEFAULT_CPU", "1", "limit when a job names none")
    cpu_request: str = _env("NANOGRID_DEFAULT_CPU_REQUEST", "100m", "request when a job names none")
    workspace_size: str = _env("NANOGRID_WORKSPACE_SIZE", "2Gi", "sizeLimit of /app")
    tmp_size: str = _env("NANOGRID_TMP_SIZE", "256Mi", "sizeLimit of /tmp")
    agent_cpu: str = _env("NANOGRID_AGENT_CPU", "1", "limit of sync and agent")
    agent_memory: str = _env("NANOGRID_AGENT_MEMORY", "256Mi", "limit of sync and agent")
    guaranteed: bool = _env(
        "NANOGRID_GUARANTEED", False, "requests of all containers equal their limits (Fargate)"
    )
    sandbox_env: str = _env(
        "NANOGRID_SANDBOX_ENV",
        "",
        "variables of user code under a job's own, a JSON object of strings; {namespace}, {job}, "
        "{uid}, {requestId} and {attempt} in them are filled in",
    )
    pod_labels: str = _env("NANOGRID_POD_LABELS", "", "of sandbox pods, a JSON object of strings")
    pod_annotations: str = _env(
        "NANOGRID_POD_ANNOTATIONS", "", "of sandbox pods, a JSON object of strings"
    )
    node_selector: str = _env(
        "NANOGRID_NODE_SELECTOR", "", "of sandbox pods, a JSON object of strings"
    )
    tolerations: str = _env("NANOGRID_TOLERATIONS", "", "of sandbox pods, a JSON list of objects")
    termination_grace_seconds: float = _env(
        "NANOGRID_TERMINATION_GRACE_SECONDS",
        10.0,
        "between SIGTERM and SIGKILL at a timeout",
        zero=True,
    )
    node_lost_seconds: int = _env(
        "NANOGRID_NODE_LOST_SECONDS", 60, "how long a pod stays on a node that does not answer"
    )

    max_waiting_pods: int = _env(
        "NANOGRID_MAX_WAITING_PODS",
        50,
        "pods of one namespace that wait for a node at once; 0 is no limit",
        zero=True,
    )
    max_pods: int = _env(
        "NANOGRID_MAX_PODS", 0, "pods of one namespace that live at once; 0 is no limit", zero=True
    )

    lease_name: str = _env("NANOGRID_LEASE_NAME", "", "Lease to hold while working; empty: none")
    lease_namespace: str = _env("NANOGRID_LEASE_NAMESPACE", "", "namespace of the Lease")
    identity: str = _env("NANOGRID_IDENTITY", "", "the holder's name in the Lease: the pod's")

    session_key: str = _env(
        "NANOGRID_SESSION_KEY",
        "",
        "secret that sessions' tokens are made from, shared with the router; empty: no sessions",
    )
    session_url: str = _env("NANOGRID_SESSION_URL", "", "where clients find the router")
    session_expose: str = _env(
        "NANOGRID_SESSION_EXPOSE", "", "comma-separated: Service, Ingress, TargetGroupBinding"
    )
    session_ingress_class: str = _env("NANOGRID_SESSION_INGRESS_CLASS", "alb", "of own Ingresses")
    session_ingress_host: str = _env("NANOGRID_SESSION_INGRESS_HOST", "", "host of own Ingresses")
    session_ingress_annotations: str = _env(
        "NANOGRID_SESSION_INGRESS_ANNOTATIONS", "", "of own Ingresses, a JSON object of strings"
    )
    deregistration_seconds: int = _env(
        "NANOGRID_DEREGISTRATION_SECONDS",
        10,
        "how long a pod with an own load balancer target waits before it stops",
        zero=True,
    )

    workers: int = _env("NANOGRID_WORKERS", 16, "jobs reconciled at the same time")
    resync_seconds: float = _env("NANOGRID_RESYNC_SECONDS", 300.0, "between full LISTs")
    kube_timeout_seconds: float = _env("NANOGRID_KUBE_TIMEOUT_SECONDS", 15.0, "per API request")
    log_level: str = _env("NANOGRID_LOG_LEVEL", "INFO", "of logs", choices=LOG_LEVELS)

    @property
    def namespaces(self) -> list[str]:
        """The namespaces to watch; empty means all."""
        return [n.strip() for n in self.watch_namespaces.split(",") if n.strip()]

    @property
    def exposures(self) -> list[str]:
        """The ways in, beside the router, that sessions may have of their own."""
        return [e.strip() for e in self.session_expose.split(",") if e.strip()]

    def objects(self, name: str) -> dict[str, str]:
        """A setting that is a JSON object of strings."""
        found: dict[str, str] = json.loads(getattr(self, name) or "{}")
        return found

    def lists(self, name: str) -> list[dict[str, Any]]:
        """A setting that is a JSON list of objects."""
        found: list[dict[str, Any]] = json.loads(getattr(self, name) or "[]")
        return found

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Read the environment.

        Raises:
            SettingsError: a value has the wrong type, or a required one is missing.
        """
        given = values(cls, environ)
        for f in fields(cls):
            if f.name in given:
                _check(f.name, f.metadata["env"], given[f.name])
        settings = cls(**given)
        for name in ("executor_image", "results_url"):
            if not getattr(settings, name):
                env = next(f.metadata["env"] for f in fields(cls) if f.name == name)
                raise SettingsError(f"{env} is not set; the chart sets it")
        if settings.lease_name and not (settings.lease_namespace and settings.identity):
            raise SettingsError(
                "NANOGRID_LEASE_NAME needs NANOGRID_LEASE_NAMESPACE and NANOGRID_IDENTITY as well"
            )
        return settings


JSON_OBJECTS = (
    "session_ingress_annotations",
    "sandbox_env",
    "pod_labels",
    "pod_annotations",
    "node_selector",
)
JSON_LISTS = ("tolerations",)
QUANTITIES = (
    "agent_cpu",
    "agent_memory",
    "memory_limit",
    "cpu_limit",
    "cpu_request",
    "workspace_size",
    "tmp_size",
)


def _check(name: str, env: str, value: Any) -> None:
    """A value that could never work is refused now, not at the first job."""
    if name in QUANTITIES:
        try:
            quantity(value)
        except ValueError as e:
            raise SettingsError(f"{env}: {e}") from None
    if name in ("agent_cpu", "agent_memory"):
        least = AGENT_REQUESTS[name.removeprefix("agent_")]
        if quantity(value) < quantity(least):
            raise SettingsError(f"{env} is {value}: at least {least} is needed")
    if name == "session_key" and len(value) < names.SESSION_KEY_BYTES:
        raise SettingsError(f"{env} has {len(value)} characters: expected 16 or more random ones")
    if name in JSON_OBJECTS or name in JSON_LISTS:
        _check_json(env, value, name in JSON_LISTS)
    if name == "webhook_url" and not value.startswith(("http://", "https://")):
        raise SettingsError(f"{env}: expected an http:// or https:// URL")


def _check_json(env: str, text: str, many: bool) -> None:
    try:
        found = json.loads(text)
    except ValueError as e:
        raise SettingsError(f"{env}: no JSON: {e}") from None
    if many:
        if not (isinstance(found, list) and all(isinstance(v, dict) for v in found)):
            raise SettingsError(f"{env}: expected a list of objects")
    elif not (isinstance(found, dict) and all(isinstance(v, str) for v in found.values())):
        raise SettingsError(f"{env}: expected an object of strings")
