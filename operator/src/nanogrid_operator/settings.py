"""All settings of the operator: environment variable, default, meaning and unit."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from pydantic import ValidationError

from nanogrid import assumed_role, controller_class, log_line, names, redis_settings
from nanogrid.addresses import Networks, networks
from nanogrid.api.job import MAX_TTL_SECONDS
from nanogrid.api.tenant import TenantSpec
from nanogrid.cloudwatch import rules as cloudwatch
from nanogrid.metrics import server as metrics
from nanogrid.redis_role import ELASTICACHE, IAM_SERVICES
from nanogrid.redis_url import (
    ENV_REDIS_MODE,
    ENV_REDIS_URL,
    MODES,
    STANDALONE,
    RedisServer,
)
from nanogrid.sandbox_limits import AGENT, CHART_VALUES, problem
from nanogrid.settings import SettingsError, check_ca_bundle, env, values
from nanogrid.tenancy import ENV_REDIS_PREFIX, redis_prefix_problem

ALB = "alb.ingress.kubernetes.io"  # prefix of the load balancer controller's annotations
# Requests of sync and agent. With limits below them, the API server would reject every pod.
AGENT_REQUESTS = {name: bounds.least for name, bounds in AGENT.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Read once at the start; see the ``doc`` of each field."""

    executor_image: str = env("NANOGRID_EXECUTOR_IMAGE", "", "image of sync, agent and launcher")
    image_pull_policy: str = env("NANOGRID_IMAGE_PULL_POLICY", "IfNotPresent", "for all containers")
    results_url: str = env("NANOGRID_RESULTS_URL", "", "where agents POST results")
    report_key: str = env(
        "NANOGRID_REPORT_KEY",
        "",
        "secret that the tokens of agents are derived from; empty: the API server reviews tokens",
    )
    port: int = env("NANOGRID_PORT", names.RESULTS_PORT, "port of results and probes")
    metrics_port: int = env(metrics.ENV, 0, "port of /metrics; 0: none", zero=True)
    watch_namespaces: str = env("NANOGRID_WATCH_NAMESPACES", "", "comma-separated; empty: all")
    no_jobs_namespaces: str = env(
        "NANOGRID_DENIED_NAMESPACES", "", "namespaces without jobs, comma-separated"
    )

    namespace: str = env("NANOGRID_NAMESPACE", "", "the release's namespace, with NanoGridTenants")
    controller_class: str = env(
        controller_class.ENV, "", "spec.controllerClass of the jobs to run; empty: those without"
    )
    compatibility_namespace: str = env(
        "NANOGRID_COMPATIBILITY_NAMESPACE",
        "",
        "namespace with the S3 and Redis names of the older systems; empty: none",
    )
    tenant_defaults: str = env(
        "NANOGRID_TENANT_DEFAULTS",
        "",
        "spec of a NanoGridTenant for all namespaces, a JSON object",
    )
    runtime_images: str = env(
        "NANOGRID_RUNTIME_IMAGES", "", "comma-separated; every job may use them as runtime"
    )
    platform_images: str = env(
        "NANOGRID_PLATFORM_IMAGES", "", "comma-separated; no job may use their repositories"
    )
    reserved_secrets: str = env(
        "NANOGRID_RESERVED_SECRETS", "", "comma-separated; no job may read Secrets of these names"
    )

    s3_endpoint: str = env("NANOGRID_S3_ENDPOINT", "", "URL of the S3 server; empty: AWS")
    s3_region: str = env("AWS_REGION", "us-east-1", "region of the bucket")
    s3_ca_bundle: str = env(
        "NANOGRID_S3_CA_BUNDLE", "", "PEM text of CAs that S3 may have, besides the system's"
    )
    s3_proxy: str = env("NANOGRID_S3_PROXY", "", "URL of an HTTP proxy for S3; empty: none")
    s3_kms_key_id: str = env(
        names.ENV_S3_KMS_KEY, "", "KMS key of what is stored in S3; empty: as the bucket says"
    )
    s3_prefix: str = env(
        names.ENV_S3_PREFIX,
        "",
        "in front of the default roots of all namespaces: a path that ends with a slash",
    )
    s3_bucket: str = env("NANOGRID_S3_BUCKET", "", "default bucket for code, inputs and results")
    s3_role_arn: str = env(
        names.ENV_S3_ROLE_ARN, "", "role that the operator assumes for S3; empty: none"
    )
    s3_sandbox_role_arn: str = env(
        "NANOGRID_S3_SANDBOX_ROLE_ARN",
        "",
        "role that sync and agent of a job assume for S3; {namespace} is the job's; empty: none",
    )
    s3_role_external_id: str = env(
        names.ENV_S3_ROLE_EXTERNAL_ID, "", "external id of both roles; empty: none"
    )
    sts_endpoint: str = env(
        names.ENV_STS_ENDPOINT, "", "URL of STS; empty: that of AWS in the region"
    )
    s3_secret: str = env(
        "NANOGRID_S3_SECRET",
        "",
        "Secret in the job's namespace with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; "
        "empty if the service account has a role",
    )
    s3_secret_replicate: bool = env(
        "NANOGRID_S3_SECRET_REPLICATE", False, "copy the operator's keys into that Secret"
    )
    s3_access_key: str = env("AWS_ACCESS_KEY_ID", "", "the operator's own key")
    s3_secret_key: str = env("AWS_SECRET_ACCESS_KEY", "", "the operator's own secret key")

    redis_url: str = env(
        ENV_REDIS_URL,
        "redis://localhost:6379/0",
        "redis:// or rediss://; with Sentinels, or a Redis Cluster, several addresses by commas",
    )
    redis_mode: str = env(ENV_REDIS_MODE, STANDALONE, f"one of {', '.join(MODES)}")
    redis_sentinel_master: str = env(
        "NANOGRID_REDIS_SENTINEL_MASTER", "", "name of the master that the Sentinels know"
    )
    redis_sentinel_username: str = env(
        "NANOGRID_REDIS_SENTINEL_USERNAME", "", "of the Sentinels; empty: their default user"
    )
    redis_sentinel_password: str = env(
        "NANOGRID_REDIS_SENTINEL_PASSWORD", "", "of the Sentinels; empty: they need none"
    )
    redis_username: str = env("NANOGRID_REDIS_USERNAME", "", "overrides the URL's user")
    redis_password: str = env("NANOGRID_REDIS_PASSWORD", "", "overrides the URL's password")
    redis_ca_bundle: str = env(
        "NANOGRID_REDIS_CA_BUNDLE", "", "PEM text of CAs that Redis may have, besides the system's"
    )
    redis_iam_cache: str = env(
        "NANOGRID_REDIS_IAM_CACHE",
        "",
        "name of a Redis of AWS that takes the pod's IAM role; empty: a password, or none",
    )
    redis_iam_service: str = env(
        "NANOGRID_REDIS_IAM_SERVICE", ELASTICACHE, "of this Redis", choices=IAM_SERVICES
    )
    redis_iam_region: str = env("NANOGRID_REDIS_IAM_REGION", "", "of this Redis; empty: S3's")
    redis_iam_account: str = env(
        "NANOGRID_REDIS_IAM_ACCOUNT", "", "service account of this pod, for messages"
    )
    redis_prefix: str = env(ENV_REDIS_PREFIX, "", "before all keys, channels and streams")
    redis_timeout_seconds: float = env("NANOGRID_REDIS_TIMEOUT_SECONDS", 2.0, "per call")
    result_ttl_seconds: int = env("NANOGRID_RESULT_TTL_SECONDS", 86400, "life of a result key")
    stream_max_length: int = env("NANOGRID_STREAM_MAX_LENGTH", 100_000, "entries kept, about")

    webhook_url: str = env("NANOGRID_WEBHOOK_URL", "", "where results are POSTed; empty: nowhere")
    webhook_key: str = env("NANOGRID_WEBHOOK_KEY", "", "signs requests; empty: no signature")
    webhook_prefixes: str = env(
        "NANOGRID_WEBHOOK_ALLOWED_URL_PREFIXES",
        "",
        "of jobs' own URLs, by spaces; empty: none",
    )
    webhook_ca_bundle: str = env(
        "NANOGRID_WEBHOOK_CA_BUNDLE",
        "",
        "PEM text of CAs that webhooks may have, besides the system's",
    )
    webhook_proxy: str = env(
        "NANOGRID_WEBHOOK_PROXY", "", "URL of an HTTP proxy for webhooks; empty: none"
    )
    webhook_timeout_seconds: float = env("NANOGRID_WEBHOOK_TIMEOUT_SECONDS", 10.0, "per request")
    webhook_give_up_seconds: float = env(
        "NANOGRID_WEBHOOK_GIVE_UP_SECONDS", 86400.0, "after the job's end"
    )

    cloudwatch_mode: str = env(
        "NANOGRID_CLOUDWATCH_MODE",
        "",
        "how metrics of jobs go to CloudWatch: emf (lines on stdout) or api; empty: not",
        choices=("emf", "api"),
    )
    cloudwatch_namespace: str = env(
        "NANOGRID_CLOUDWATCH_NAMESPACE", "NanoGrid", "of these metrics in CloudWatch"
    )
    cloudwatch_region: str = env(
        "NANOGRID_CLOUDWATCH_REGION", "", "of CloudWatch; empty: that of S3"
    )
    cloudwatch_endpoint: str = env(
        "NANOGRID_CLOUDWATCH_ENDPOINT", "", "URL of CloudWatch; empty: that of AWS in the region"
    )
    cloudwatch_proxy: str = env(
        "NANOGRID_CLOUDWATCH_PROXY", "", "URL of an HTTP proxy for CloudWatch; empty: none"
    )
    cloudwatch_ca_bundle: str = env(
        "NANOGRID_CLOUDWATCH_CA_BUNDLE",
        "",
        "PEM text of CAs that CloudWatch may have, besides the system's",
    )
    cloudwatch_dimensions: str = env(
        "NANOGRID_CLOUDWATCH_DIMENSIONS",
        "",
        "more dimensions of these metrics, a JSON object of strings",
    )
    cloudwatch_interval_seconds: float = env(
        "NANOGRID_CLOUDWATCH_INTERVAL_SECONDS", 60.0, "between two times when metrics are sent"
    )
    cloudwatch_max_functions: int = env(
        "NANOGRID_CLOUDWATCH_MAX_FUNCTIONS",
        500,
        "functions with metrics of their own, in an hour; further ones are _other",
    )

    service_account: str = env("NANOGRID_SANDBOX_SERVICE_ACCOUNT", "default", "of sandbox pods")
    runtime_class: str = env("NANOGRID_RUNTIME_CLASS", "", "runtimeClassName of sandbox pods")
    memory_limit: str = env("NANOGRID_DEFAULT_MEMORY", "256Mi", "limit of a job without one")
    cpu_limit: str = env("NANOGRID_DEFAULT_CPU", "1", "limit of a job without one")
    cpu_request: str = env("NANOGRID_DEFAULT_CPU_REQUEST", "100m", "request of a job without one")
    workspace_size: str = env("NANOGRID_WORKSPACE_SIZE", "2Gi", "sizeLimit of /app")
    max_workspace_size: str = env(
        "NANOGRID_MAX_WORKSPACE_SIZE", "2Gi", "largest size of /app that a job may choose"
    )
    tmp_size: str = env("NANOGRID_TMP_SIZE", "256Mi", "sizeLimit of /tmp")
    storage_medium: str = env(
        "NANOGRID_STORAGE_MEDIUM", "", "of /app and /tmp: empty for disk, or Memory"
    )
    ephemeral_request: str = env(
        "NANOGRID_EPHEMERAL_STORAGE_REQUEST", "64Mi", "of the sandbox container"
    )
    max_processes: int = env(
        "NANOGRID_MAX_PROCESSES",
        1024,
        "processes and threads of a job's user; 0: no limit",
        zero=True,
    )
    uid_start: int = env("NANOGRID_UID_START", 2_000_000_000, "first user ID of sandbox pods")
    uid_count: int = env("NANOGRID_UID_COUNT", 100_000_000, "user IDs of sandbox pods")
    host_users: bool = env(
        "NANOGRID_HOST_USERS", True, "false: each sandbox pod has a user namespace"
    )
    agent_cpu: str = env("NANOGRID_AGENT_CPU", "1", "limit of sync and agent")
    agent_memory: str = env("NANOGRID_AGENT_MEMORY", "256Mi", "limit of sync and agent")
    guaranteed: bool = env(
        "NANOGRID_GUARANTEED", False, "requests of all containers equal their limits (Fargate)"
    )
    sandbox_env: str = env(
        "NANOGRID_SANDBOX_ENV",
        "",
        "variables of user code, a JSON object of strings; a job's own win; {namespace}, {job}, "
        "{uid}, {requestId} and {attempt} are filled in",
    )
    pod_labels: str = env("NANOGRID_POD_LABELS", "", "of sandbox pods, a JSON object of strings")
    pod_annotations: str = env(
        "NANOGRID_POD_ANNOTATIONS", "", "of sandbox pods, a JSON object of strings"
    )
    node_selector: str = env(
        "NANOGRID_NODE_SELECTOR", "", "of sandbox pods, a JSON object of strings"
    )
    tolerations: str = env("NANOGRID_TOLERATIONS", "", "of sandbox pods, a JSON list of objects")
    ttl_after_finished: str = env(
        "NANOGRID_TTL_SECONDS_AFTER_FINISHED",
        "",
        "from its end to the deletion of a finished job whose spec names no time; empty: it stays",
    )
    affinity: str = env("NANOGRID_AFFINITY", "", "of sandbox pods, a JSON object")
    topology_spread: str = env(
        "NANOGRID_TOPOLOGY_SPREAD",
        "",
        "topologySpreadConstraints of sandbox pods, a JSON list of objects; one without a "
        "labelSelector counts all sandbox pods of the namespace",
    )
    priority_class: str = env(
        "NANOGRID_PRIORITY_CLASS", "", "priorityClassName of jobs that name none; empty: none"
    )
    default_pool: str = env(
        "NANOGRID_DEFAULT_POOL",
        "",
        "ExecutionPool, in their namespace, of jobs that no other pool takes; empty: none",
    )
    pool_priority_class: str = env(
        "NANOGRID_POOL_PRIORITY_CLASS",
        "",
        "priorityClassName of pods of pools that name none; empty: as of jobs",
    )
    termination_grace_seconds: float = env(
        "NANOGRID_TERMINATION_GRACE_SECONDS",
        10.0,
        "between SIGTERM and SIGKILL at a timeout",
        zero=True,
    )
    network_policies: bool = env(
        "NANOGRID_NETWORK_POLICIES", True, "create NetworkPolicies in the jobs' namespaces"
    )
    sandbox_egress: str = env(
        "NANOGRID_SANDBOX_EGRESS",
        "",
        "what every sandbox pod reaches (DNS, S3, results): a JSON list of egress rules of a "
        "NetworkPolicy",
    )
    cluster_cidrs: str = env(
        "NANOGRID_CLUSTER_CIDRS",
        "",
        "comma-separated; public addresses of the cluster's own pods, nodes and load balancers, "
        "which Internet does not mean",
    )
    ip_family_policy: str = env(
        "NANOGRID_IP_FAMILY_POLICY", "", "ipFamilyPolicy of sessions' Services; empty: none"
    )
    session_ingress: str = env(
        "NANOGRID_SESSION_INGRESS",
        "",
        "who reaches sessions (the router): a JSON list of peers of a NetworkPolicy",
    )
    fullname: str = env(
        "NANOGRID_FULLNAME", "", "name of the release's objects; empty: no test of the network"
    )
    denied_port: int = env(
        "NANOGRID_DENIED_PORT",
        0,
        "port that sandboxes may not reach, for tests of the network; 0: none",
        zero=True,
    )
    pod_ips: str = env(
        "NANOGRID_POD_IPS", "", "comma-separated; the operator's own addresses; empty: no pod"
    )
    network_gate: bool = env(
        "NANOGRID_NETWORK_GATE", True, "code has a network when the NetworkPolicies of its pod hold"
    )
    network_probe_seconds: float = env(
        "NANOGRID_NETWORK_PROBE_SECONDS", 86400.0, "between tests of an enforced network"
    )
    network_probe_timeout_seconds: int = env(
        "NANOGRID_NETWORK_PROBE_TIMEOUT_SECONDS", 90, "for the pods of one test"
    )
    image_pull_secrets: str = env(
        "NANOGRID_IMAGE_PULL_SECRETS", "", "of the pods of that test, a JSON list of objects"
    )
    sandbox_pull_secrets: str = env(
        "NANOGRID_SANDBOX_PULL_SECRETS",
        "",
        "comma-separated; Secrets in the jobs' namespaces with which the kubelet pulls images; "
        "empty: those of the service account",
    )
    allow_unenforced_network: bool = env(
        "NANOGRID_ALLOW_UNENFORCED_NETWORK",
        False,
        "run jobs whose network boundary the cluster does not enforce",
    )
    egress_proxy_url: str = env(
        "NANOGRID_EGRESS_PROXY_URL", "", "URL of the egress proxy; empty: no hosts in allow-lists"
    )
    egress_proxy_peers: str = env(
        "NANOGRID_EGRESS_PROXY_PEERS",
        "",
        "the egress proxy: a JSON list of peers of a NetworkPolicy; empty: no policy",
    )
    egress_key: str = env(
        "NANOGRID_EGRESS_KEY", "", "signs the allow-lists of jobs, shared with the egress proxy"
    )

    node_lost_seconds: int = env(
        "NANOGRID_NODE_LOST_SECONDS", 60, "how long a pod stays on a node that does not answer"
    )

    max_waiting_pods: int = env(
        "NANOGRID_MAX_WAITING_PODS",
        50,
        "pods of one namespace that wait for a node at the same time; 0: no limit",
        zero=True,
    )
    max_pods: int = env(
        "NANOGRID_MAX_PODS", 0, "live pods of one namespace; 0: no limit", zero=True
    )
    max_unscheduled_pods: int = env(
        "NANOGRID_MAX_UNSCHEDULED_PODS",
        10,
        "pods without a node of one namespace; namespaces that queue share it; fewer while the "
        "cluster is full; 0: no limit",
        zero=True,
    )
    max_total_waiting_pods: int = env(
        "NANOGRID_MAX_TOTAL_WAITING_PODS",
        100,
        "pods of all namespaces that wait for a node; namespaces that queue share it; 0: no limit",
        zero=True,
    )
    max_total_pods: int = env(
        "NANOGRID_MAX_TOTAL_PODS", 0, "live pods of all namespaces; 0: no limit", zero=True
    )

    lease_name: str = env("NANOGRID_LEASE_NAME", "", "Lease of the leader election; empty: none")
    lease_namespace: str = env("NANOGRID_LEASE_NAMESPACE", "", "namespace of the Lease")
    identity: str = env("NANOGRID_IDENTITY", "", "holder in the Lease: the pod's name")
    pod_uid: str = env(
        "NANOGRID_POD_UID", "", "of this pod: it shows others that a holder is gone; empty: no pod"
    )

    result_key_master: str = env(
        "NANOGRID_RESULT_KEY_MASTER",
        "",
        "secret that the keys of results' authentication codes are derived from; required",
    )

    session_key: str = env(
        "NANOGRID_SESSION_KEY",
        "",
        "secret that session tokens are derived from, shared with the router; empty: no sessions",
    )
    session_url: str = env("NANOGRID_SESSION_URL", "", "URL of the router for clients")
    session_expose: str = env(
        "NANOGRID_SESSION_EXPOSE", "", "comma-separated: Service, Ingress, TargetGroupBinding"
    )
    session_ingress_class: str = env(
        "NANOGRID_SESSION_INGRESS_CLASS", "alb", "class of sessions' Ingresses"
    )
    session_ingress_host: str = env(
        "NANOGRID_SESSION_INGRESS_HOST", "", "host of sessions' Ingresses"
    )
    session_ingress_annotations: str = env(
        "NANOGRID_SESSION_INGRESS_ANNOTATIONS",
        "",
        "of sessions' Ingresses, a JSON object of strings",
    )
    session_target_networking: str = env(
        "NANOGRID_SESSION_TARGET_NETWORKING",
        "",
        "spec.networking of sessions' TargetGroupBindings, a JSON object; empty: none",
    )
    deregistration_seconds: int = env(
        "NANOGRID_DEREGISTRATION_SECONDS",
        10,
        "how long a pod that is a load balancer target waits before it stops",
        zero=True,
    )

    memory_writes_per_second: int = env(
        "NANOGRID_MEMORY_WRITES_PER_SECOND",
        5,
        "to show the memory of running jobs, of all jobs together; 0: none",
        zero=True,
    )
    workers: int = env("NANOGRID_WORKERS", 16, "jobs reconciled at the same time")
    resync_seconds: float = env("NANOGRID_RESYNC_SECONDS", 300.0, "between full LISTs")
    kube_timeout_seconds: float = env("NANOGRID_KUBE_TIMEOUT_SECONDS", 15.0, "per API request")
    log_level: str = env(log_line.ENV_LEVEL, "INFO", "of logs", choices=log_line.LEVELS)
    executor_log_level: str = env(
        "NANOGRID_EXECUTOR_LOG_LEVEL",
        "INFO",
        "of logs of the platform's containers in sandbox pods",
        choices=log_line.LEVELS,
    )
    log_format: str = env(log_line.ENV_FORMAT, log_line.TEXT, "of logs", choices=log_line.FORMATS)

    @property
    def namespaces(self) -> list[str]:
        """The namespaces to watch; empty means all."""
        return self.words("watch_namespaces")

    @property
    def denied_namespaces(self) -> list[str]:
        """The namespaces whose jobs are refused."""
        return self.words("no_jobs_namespaces")

    @property
    def default_ttl(self) -> int | None:
        """``ttl_after_finished`` in seconds; None: finished jobs stay."""
        return int(self.ttl_after_finished) if self.ttl_after_finished else None

    @property
    def exposures(self) -> list[str]:
        """How sessions may be exposed besides the router."""
        return self.words("session_expose")

    @property
    def session_listeners(self) -> dict[str, int]:
        """Ports of the load balancer of sessions' Ingresses, by protocol: HTTP, HTTPS.

        As the AWS Load Balancer Controller reads the annotations: without listen-ports it listens
        on HTTPS if there is a certificate, else on HTTP.

        Raises:
            SettingsError: The annotation is not valid.
        """
        given = self.objects("session_ingress_annotations")
        text = given.get(f"{ALB}/listen-ports")
        if not text:
            return {"HTTPS": 443} if given.get(f"{ALB}/certificate-arn") else {"HTTP": 80}
        try:
            found = {name: int(port) for one in json.loads(text) for name, port in one.items()}
        except (ValueError, TypeError, AttributeError):
            raise SettingsError(
                f"NANOGRID_SESSION_INGRESS_ANNOTATIONS: {ALB}/listen-ports is {text}: expected "
                'JSON like [{"HTTPS": 443}]'
            ) from None
        return found

    def words(self, name: str) -> list[str]:
        """A setting that is a comma-separated list."""
        text: str = getattr(self, name)
        return [word.strip() for word in text.split(",") if word.strip()]

    @property
    def redis_server(self) -> RedisServer:
        """See :func:`nanogrid.redis_settings.redis_server`."""
        return redis_settings.redis_server(self)

    @property
    def own_networks(self) -> Networks:
        """The networks of ``cluster_cidrs``."""
        return networks(self.cluster_cidrs, "NANOGRID_CLUSTER_CIDRS")

    def objects(self, name: str) -> dict[str, str]:
        """A setting that is a JSON object of strings."""
        found: dict[str, str] = json.loads(getattr(self, name) or "{}")
        return found

    def mapping(self, name: str) -> dict[str, Any]:
        """A setting that is a JSON object of any values."""
        found: dict[str, Any] = json.loads(getattr(self, name) or "{}")
        return found

    def lists(self, name: str) -> list[dict[str, Any]]:
        """A setting that is a JSON list of objects."""
        found: list[dict[str, Any]] = json.loads(getattr(self, name) or "[]")
        return found

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Read the environment.

        Raises:
            SettingsError: A value has the wrong type, or a required value is missing.
        """
        given = values(cls, environ)
        for f in fields(cls):
            if f.name in given:
                _check(f.name, f.metadata["env"], given[f.name])
        settings = cls(**given)
        for name in ("executor_image", "results_url", "result_key_master"):
            if not getattr(settings, name):
                env = next(f.metadata["env"] for f in fields(cls) if f.name == name)
                raise SettingsError(f"{env} is not set; the chart sets it")
        _ = settings.own_networks, settings.session_listeners
        for f in fields(cls):
            if f.name in CA_BUNDLES:
                check_ca_bundle(f.metadata["env"], getattr(settings, f.name))
        redis_settings.check_redis(settings)
        _check_uids(settings.uid_start, settings.uid_count)
        if settings.egress_proxy_url and not settings.egress_key:
            raise SettingsError("NANOGRID_EGRESS_PROXY_URL also needs NANOGRID_EGRESS_KEY")
        if settings.s3_sandbox_role_arn and settings.s3_proxy.startswith("https:"):
            raise SettingsError(
                "NANOGRID_S3_PROXY begins with https://: with NANOGRID_S3_SANDBOX_ROLE_ARN, pods "
                "ask STS through the proxy, and can do so only through http://HOST:PORT"
            )
        if settings.lease_name and not (settings.lease_namespace and settings.identity):
            raise SettingsError(
                "NANOGRID_LEASE_NAME also needs NANOGRID_LEASE_NAMESPACE and NANOGRID_IDENTITY"
            )
        return settings


JSON_OBJECTS = (
    "session_ingress_annotations",
    "sandbox_env",
    "pod_labels",
    "pod_annotations",
    "node_selector",
    "cloudwatch_dimensions",
)
JSON_LISTS = (
    "tolerations",
    "topology_spread",
    "sandbox_egress",
    "session_ingress",
    "egress_proxy_peers",
    "image_pull_secrets",
)
JSON_MAPPINGS = ("affinity", "session_target_networking")
CA_BUNDLES = ("s3_ca_bundle", "redis_ca_bundle", "webhook_ca_bundle", "cloudwatch_ca_bundle")
KEYS = ("session_key", "report_key", "result_key_master", "egress_key")
QUANTITIES = {
    "agent_cpu": "sandbox.agent.cpu",
    "agent_memory": "sandbox.agent.memory",
    "memory_limit": "sandbox.memory",
    "cpu_limit": "sandbox.cpu",
    "cpu_request": "sandbox.cpuRequest",
    "workspace_size": "sandbox.workspaceSize",
    "max_workspace_size": "sandbox.maxWorkspaceSize",
    "tmp_size": "sandbox.tmpSize",
    "ephemeral_request": "sandbox.ephemeralStorageRequest",
}
PROXY = (
    r"https?://([A-Za-z0-9.-]+|\[[0-9a-f:]+\])(:[0-9]+)?/?",
    "http://HOST:PORT, without user and password",
)
FORMS = {  # messages do not repeat values: URLs may have passwords
    "s3_prefix": (
        r"([A-Za-z0-9_-][A-Za-z0-9._-]*/)+",
        "a path that ends with a slash, such as team/prod/",
    ),
    "webhook_url": (r"(?s)https?://.*", "an http:// or https:// URL"),
    "s3_proxy": PROXY,
    "s3_role_arn": (assumed_role.ARN, "the ARN of a role, without {placeholders}"),
    "s3_sandbox_role_arn": (
        assumed_role.SANDBOX_ARN,
        "the ARN of a role, in which {namespace} may stand for the namespace of the job",
    ),
    "s3_role_external_id": (
        assumed_role.EXTERNAL_ID,
        "2 to 1000 letters, digits and characters of _+=,.@:/-",
    ),
    "sts_endpoint": (assumed_role.ENDPOINT, "https://HOST[:PORT], without a path"),
    "webhook_proxy": PROXY,
    "cloudwatch_proxy": PROXY,
    "cloudwatch_endpoint": (r"https?://[^\s/@?#]+/?", "https://HOST[:PORT], without a path"),
    "egress_proxy_url": (r"http://([a-z0-9.-]+|\[[0-9a-f:]+\]):[0-9]+", "http://HOST:PORT"),
}
NAMES = {
    "controller_class": controller_class.problem,
    "redis_prefix": redis_prefix_problem,
    "cloudwatch_namespace": cloudwatch.namespace_problem,
}
PLATFORM_UID = 65532  # of operator, gateway and router
MAX_UID = (1 << 31) - 1  # of runAsUser


def _check(name: str, env: str, value: Any) -> None:
    """Refuse a value that can never work now, not at the first job."""
    if name in QUANTITIES and (wrong := problem(value, CHART_VALUES[QUANTITIES[name]])):
        raise SettingsError(f"{env} is {value}: {wrong}")
    if name == "storage_medium" and value != "Memory":
        raise SettingsError(f"{env} is {value!r}: expected Memory, or nothing")
    if name == "ttl_after_finished":
        _check_ttl(env, value)
    if name in KEYS and len(value) < names.KEY_BYTES:
        raise SettingsError(f"{env} has {len(value)} characters: expected 16 random ones or more")
    if name in (*JSON_OBJECTS, *JSON_LISTS, *JSON_MAPPINGS):
        _check_json(env, value, name)
    if name == "tenant_defaults":
        _check_tenant(env, value)
    if name in NAMES and (wrong := NAMES[name](value)):
        raise SettingsError(f"{env} is {value!r}: {wrong}")
    if name in FORMS and not re.fullmatch(FORMS[name][0], value):
        raise SettingsError(f"{env}: expected {FORMS[name][1]}")


def _check_ttl(env: str, value: str) -> None:
    if not (re.fullmatch("[0-9]{1,9}", value) and int(value) <= MAX_TTL_SECONDS):
        raise SettingsError(f"{env} is {value!r}: expected seconds from 0 to {MAX_TTL_SECONDS}")


def _check_uids(start: int, count: int) -> None:
    uids = range(start, start + count)
    if uids[-1] > MAX_UID or PLATFORM_UID in uids:
        raise SettingsError(
            f"NANOGRID_UID_START and NANOGRID_UID_COUNT mean {start} to {uids[-1]}: expected at "
            f"most {MAX_UID}, and not {PLATFORM_UID}, the user ID of the platform's pods"
        )


def _check_json(env: str, text: str, name: str) -> None:
    try:
        found = json.loads(text)
    except ValueError as e:
        raise SettingsError(f"{env}: not valid JSON: {e}") from None
    if name in JSON_LISTS:
        if not (isinstance(found, list) and all(isinstance(v, dict) for v in found)):
            raise SettingsError(f"{env}: expected a list of objects")
    elif not isinstance(found, dict):
        raise SettingsError(f"{env}: expected an object")
    elif name in JSON_OBJECTS and not all(isinstance(v, str) for v in found.values()):
        raise SettingsError(f"{env}: expected an object of strings")
    elif name == "cloudwatch_dimensions" and (wrong := cloudwatch.dimensions_problem(found)):
        raise SettingsError(f"{env}: {wrong}")


def _check_tenant(env: str, text: str) -> None:
    try:
        spec = TenantSpec.model_validate_json(text)
    except ValidationError as e:
        first = e.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the text"
        raise SettingsError(f"{env}: {where}: {first['msg']}") from None
    if spec.root is not None:
        raise SettingsError(
            f"{env}: root: all namespaces would share one root; set it for each of them in a "
            f"{names.TENANT_KIND}"
        )
