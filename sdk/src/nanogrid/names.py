"""All names that several parts of NanoGrid share: API group, labels, containers, paths, keys.

Glossary: a *job* is the ExecutionJob object. An *attempt* is one try to run it. A *pod* is the
sandbox of an attempt. An *execution* is one run of code in a pod. A *result* is the outcome of a
job. A *delivery* sends the result to its receivers.
"""

import base64
import hashlib
import hmac
from typing import Final

GROUP: Final = "nanogrid.io"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KIND: Final = "ExecutionJob"
PLURAL: Final = "executionjobs"
SINGULAR: Final = "executionjob"
SHORT_NAME: Final = "ej"
JOB_NAME_MAX: Final = 52  # characters; the names of its pods add a suffix
CATEGORY: Final = "nanogrid"
FUNCTION_KIND: Final = "Function"
FUNCTION_PLURAL: Final = "functions"
FUNCTION_SINGULAR: Final = "function"
FUNCTION_SHORT_NAME: Final = "fn"
TENANT_KIND: Final = "NanoGridTenant"
TENANT_PLURAL: Final = "nanogridtenants"
TENANT_SINGULAR: Final = "nanogridtenant"
TENANT_SHORT_NAME: Final = "ngt"
POOL_KIND: Final = "ExecutionPool"
POOL_PLURAL: Final = "executionpools"
POOL_SINGULAR: Final = "executionpool"
POOL_SHORT_NAME: Final = "epool"  # not ep: kubectl knows this as Endpoints
POOL_NAME_MAX: Final = 45  # characters; the names of its pods add a suffix

# Labels and annotations of a job that runs a function.
LABEL_FUNCTION: Final = f"{GROUP}/function"
ANNOTATION_REQUEST_DIGEST: Final = f"{GROUP}/request-digest"
ANNOTATION_RUNTIME: Final = f"{GROUP}/runtime"
ANNOTATION_FUNCTION_VERSION: Final = f"{GROUP}/function-version"

# Annotations of a job: the W3C Trace Context of what created it, its parent in the trace.
ANNOTATION_TRACEPARENT: Final = f"{GROUP}/traceparent"
ANNOTATION_TRACESTATE: Final = f"{GROUP}/tracestate"

# Annotation of a job that the installation's default time to live does not delete. Any value but
# "false" keeps it: a value with an error in it must not delete a job.
ANNOTATION_KEEP: Final = f"{GROUP}/keep"

# Annotations of a job that comes from a backup. A tool sets the first one so that the job does not
# start; any value but "false" does. A user sets the second one to the job's uid, and the job
# starts. After the next restore the job has another uid, and does not start.
ANNOTATION_RESTORED: Final = f"{GROUP}/restored"
ANNOTATION_START_RESTORED: Final = f"{GROUP}/start-restored"
# Labels by which a restore marks what it creates, one line per tool.
RESTORE_LABELS: Final = (
    "velero.io/restore-name", "velero.io/backup-name",  # Velero, and OADP of OpenShift
)  # fmt: skip
# Labels of pods and other objects that only one attempt or session uses: no backup has them.
NOT_IN_BACKUPS: Final = {"velero.io/exclude-from-backup": "true"}

# Labels and annotations of a sandbox pod. The operator watches pods by `LABEL_JOB_UID`.
LABEL_JOB: Final = f"{GROUP}/job"
LABEL_JOB_UID: Final = f"{GROUP}/job-uid"
LABEL_ATTEMPT: Final = f"{GROUP}/attempt"
# A pod of an ExecutionPool: its pool, and a digest of the manifest that the pool's pods have now.
# LABEL_JOB_UID is empty until a session claims the pod. A batch job's claim leaves it empty, and
# writes the three names above as annotations: see :mod:`nanogrid.pod_identity`.
LABEL_POOL: Final = f"{GROUP}/pool"
LABEL_POOL_VERSION: Final = f"{GROUP}/pool-version"
# The proof that the operator has created a pool's pod: nanogrid.result_auth.pool_proof.
ANNOTATION_POOL_PROOF: Final = f"{GROUP}/pool-proof"
# On a claimed pod: the proof that the operator has claimed it for the attempt that it names. Users
# who may create pods can name any job, but not write this. See nanogrid.result_auth.claim_proof.
ANNOTATION_CLAIM: Final = f"{GROUP}/claim"
# The controller class of the pod's job; see :mod:`nanogrid.controller_class`.
LABEL_CONTROLLER_CLASS: Final = f"{GROUP}/controller-class"
LABEL_MODE: Final = f"{GROUP}/mode"
MODE_BATCH: Final = "Batch"
MODE_SESSION: Final = "Session"
# What NetworkPolicies select: the network access of a job, and sessions with an own entry point.
LABEL_EGRESS: Final = f"{GROUP}/egress"
LABEL_EXPOSED: Final = f"{GROUP}/exposed"
LABEL_DRAIN: Final = f"{GROUP}/drain-seconds"  # that its containers run on after the session's end
# Labels of Kueue. A job's queue and priority are those of its pods; Kueue marks the pods it queues.
LABEL_KUEUE_PRIORITY: Final = "kueue.x-k8s.io/priority-class"
KUEUE_LABELS: Final = ("kueue.x-k8s.io/queue-name", LABEL_KUEUE_PRIORITY)
LABEL_KUEUE_MANAGED: Final = "kueue.x-k8s.io/managed"
MANAGED_BY: Final = "nanogrid-operator"
# The two pods that test whether the cluster enforces NetworkPolicies: one has the policy of a
# sandbox, the other one may reach the port that sandboxes may not reach.
LABEL_PROBE: Final = f"{GROUP}/probe"
PROBE_DENIED: Final = "denied"
PROBE_ALLOWED: Final = "allowed"
PROBE_KINDS: Final = (PROBE_DENIED, PROBE_ALLOWED)
# The AWS Load Balancer Controller sets a condition with this prefix, and the name of the
# TargetGroupBinding, on each pod that has it as a readiness gate.
TARGET_HEALTH_PREFIX: Final = "target-health.elbv2.k8s.aws/"
ANNOTATION_DEFAULT_CONTAINER: Final = "kubectl.kubernetes.io/default-container"
# The EKS identity webhook injects the role into all containers except those in this annotation.
ANNOTATION_IRSA_SKIP: Final = "eks.amazonaws.com/skip-containers"
# /etc/passwd of the sandbox: a volume shows the annotation as a file.
ANNOTATION_PASSWD: Final = f"{GROUP}/passwd"

# Containers of a sandbox pod.
CONTAINER_SYNC: Final = "sync-input"
CONTAINER_INSTALL: Final = "install-launcher"
CONTAINER_CHECK: Final = "check-runtime"
RUNTIME_CONTAINERS: Final = (CONTAINER_INSTALL, CONTAINER_CHECK)
CONTAINER_AGENT: Final = "agent"
CONTAINER_SANDBOX: Final = "sandbox"

# Paths inside a sandbox pod.
WORKSPACE: Final = "/app"
DEFAULT_DATA_PATH: Final = "/app/data"
DEFAULT_OUTPUT_DIR: Final = "output"
RUN_DIR: Final = "/run/nanogrid"
AGENT_SOCKET: Final = f"{RUN_DIR}/agent.sock"
MANIFEST_FILE: Final = f"{RUN_DIR}/manifest.json"
LAUNCHER_DIR: Final = "/opt/nanogrid/launcher"  # in the executor image
INSTALLED_LAUNCHER_DIR: Final = f"{RUN_DIR}/launcher"  # a copy for other images
TOKEN_DIR: Final = "/var/run/secrets/nanogrid"  # noqa: S105 a path
TOKEN_FILE: Final = f"{TOKEN_DIR}/token"
SESSION_TOKEN_DIR: Final = "/var/run/secrets/nanogrid-session"  # noqa: S105 a path
SESSION_TOKEN_FILE: Final = f"{SESSION_TOKEN_DIR}/token"
TERMINATION_FILE: Final = "/dev/termination-log"
ENTRYPOINT: Final = "main.py"

# How a function finds its inputData: the variable has a path that the code can open.
ENV_FUNCTION_INPUT: Final = "FUNCTION_INPUT"
ENV_HTTPS_PROXY: Final = "https_proxy"  # of code, as most HTTP clients read it
FUNCTION_INPUT_FILE: Final = "input.json"
FUNCTION_INPUT_DIR: Final = f"{WORKSPACE}/input"
FUNCTION_INPUT_STDIN: Final = "/dev/stdin"

# Environment of the pod's trusted containers.
ENV_TASK: Final = "NANOGRID_TASK"
ENV_POOL_TASK: Final = "NANOGRID_POOL_TASK"  # instead of the task, in a pod that waits for a job
ENV_LOG_JOB: Final = "NANOGRID_LOG_JOB"  # of containers without the task: its fields in logs
ENV_RESULTS_URL: Final = "NANOGRID_RESULTS_URL"
ENV_RESULT_KEY: Final = "NANOGRID_RESULT_KEY"  # of the agent only
ENV_S3_ENDPOINT: Final = "NANOGRID_S3_ENDPOINT"
ENV_S3_REGION: Final = "AWS_REGION"
ENV_S3_CA_BUNDLE: Final = "NANOGRID_S3_CA_BUNDLE"  # PEM text of CAs, in addition to the system's
ENV_S3_PROXY: Final = "NANOGRID_S3_PROXY"  # URL of an HTTP proxy; empty: none
ENV_S3_KMS_KEY: Final = "NANOGRID_S3_KMS_KEY_ID"  # encrypts what is stored; empty: as the bucket
# The role that the pods assume for S3, and the standard variable of all AWS clients for STS.
ENV_S3_ROLE_ARN: Final = "NANOGRID_S3_ROLE_ARN"  # empty: the pod's own credentials are used
ENV_S3_ROLE_EXTERNAL_ID: Final = "NANOGRID_S3_ROLE_EXTERNAL_ID"
ENV_S3_ROLE_SESSION: Final = "NANOGRID_S3_ROLE_SESSION"
ENV_STS_ENDPOINT: Final = "AWS_ENDPOINT_URL_STS"  # empty: that of the region
ENV_S3_PREFIX: Final = "NANOGRID_S3_PREFIX"  # of the default roots of all namespaces
# The agent alone has these: one for each variable of the code with a value from a Secret.
SECRET_ENV_PREFIX: Final = "NANOGRID_SECRET_ENV_"  # noqa: S105 a name
# User code must not set these variables: they are, or look like, settings of NanoGrid.
RESERVED_ENV_PREFIXES: Final = ("NANOGRID_", "AWS_", "KUBERNETES_")

# Limit for upload and report after the code is stopped. The grace period of the pod includes it.
STOP_UPLOAD_SECONDS: Final = 120

# The results endpoint of the operator.
RESULTS_AUDIENCE: Final = "nanogrid-results"
RESULTS_PATH: Final = "/v1/results"
SESSIONS_PATH: Final = "/v1/sessions"  # reports of sessions
MEMORY_PATH: Final = "/v1/memory"  # memory of running code
TASK_PATH: Final = "/v1/task"  # where the agent of a pool's pod waits for its task
RESULTS_PORT: Final = 8080
# The operator's port that sandboxes may not reach. It accepts and closes connections: a pod that
# reaches the results port, but not this one, has its NetworkPolicies in force.
DENIED_PORT: Final = 8081

# The agent's HTTP API of a session. User code is unlikely to need this port.
SESSION_PORT: Final = 9080

# The egress proxy, which sandbox pods with an allow-list reach.
EGRESS_PROXY_PORT: Final = 3128

# Headers of a webhook request.
HEADER_REQUEST_ID: Final = "X-NanoGrid-Request-Id"
HEADER_TIMESTAMP: Final = "X-NanoGrid-Timestamp"
HEADER_SIGNATURE: Final = "X-NanoGrid-Signature"


# S3 keys, relative to the root of the namespace. Redis names are in :mod:`nanogrid.tenancy`.
def result_object(request_id: str) -> str:
    """The key of a request's result JSON."""
    return f"results/{request_id}/result.json"


def manifest_object(request_id: str) -> str:
    """The key of the manifest of a request's inputs."""
    return f"results/{request_id}/manifest.json"


def function_prefix(function_id: str) -> str:
    """The prefix of a function's code and large inputs; it ends with a slash."""
    return f"functions/{function_id}/"


def function_object(function_id: str, version: int) -> str:
    """The key of a version's ZIP."""
    return f"{function_prefix(function_id)}v{version}.zip"


def function_input_object(function_id: str, request_id: str, sha256: str) -> str:
    """The key of a request's inputData that is too large for standard input.

    It contains the hex digest of the content, so no other request can change the input of a run.
    """
    folder = f"{function_prefix(function_id)}inputs/{request_id}/{sha256[:16]}"
    return f"{folder}/{FUNCTION_INPUT_FILE}"


def stream_object(request_id: str, stream: str) -> str:
    """The key of a request's full stdout or stderr."""
    return f"results/{request_id}/{stream}.txt"


def session_prefix(request_id: str) -> str:
    """The prefix of all objects of a session; it ends with a slash."""
    return f"sessions/{request_id}/"


# Folders below a session's prefix.
SESSION_INPUT: Final = "input/"  # written by the caller
SESSION_DATA: Final = "data/"  # files from the API
SESSION_DEBUG: Final = "debug/"  # one record per execution
SESSION_ARTIFACTS: Final = "artifacts/"  # output of the session
SESSION_ARTIFACTS_DIR: Final = "artifacts"  # the same in the workspace


def execution_object(request_id: str, number: int) -> str:
    """The key of an execution's record."""
    return f"{session_prefix(request_id)}{SESSION_DEBUG}execution_{number}.json"


POOL_POD_MARK: Final = "-pool-"
_POOL_TOKEN_DIGITS: Final = 8


def pool_pod(pool: str, token: str) -> str:
    """The name of a pool's pod; ``token`` has eight random hex digits."""
    return f"{pool}{POOL_POD_MARK}{token}"


def is_pool_pod(name: str) -> bool:
    """Whether a pod's name is that of a pool's pod: it names no job."""
    _, mark, token = name.rpartition(POOL_POD_MARK)
    digits = len(token) == _POOL_TOKEN_DIGITS and all(c in "0123456789abcdef" for c in token)
    return bool(mark) and digits


def short_digest(uid: str) -> str:
    """A hash of eight hex digits, so that names of different jobs are different."""
    return hashlib.sha256(uid.encode()).hexdigest()[:8]


def session_object(job_name: str, uid: str) -> str:
    """The name of a session's Secret (key ``token``)."""
    return f"{job_name[:45]}-s-{short_digest(uid)}"


def session_service(job_name: str, uid: str) -> str:
    """The name of a session's Service, Ingress and TargetGroupBinding.

    A job's name may have dots and begin with a digit. A Service's name may not (RFC 1035), so dots
    become hyphens, and another first character follows ``s-``.
    """
    label = job_name.replace(".", "-")
    if not label[:1].isalpha():
        label = f"s-{label}"
    return f"{label[:45]}-s-{short_digest(uid)}"


KEY_BYTES: Final = 16  # of a secret key; a shorter one could be guessed


def session_path(namespace: str, job_name: str) -> str:
    """The path of a session in the router."""
    return f"/sessions/{namespace}/{job_name}"


def session_token(key: bytes, uid: str) -> str:
    """A session's bearer token.

    Operator and router have the key, so they can compute each token and store none.

    Args:
        key: the installation's secret key.
        uid: the job's uid.
    """
    digest = hmac.new(key, f"session:{uid}".encode(), hashlib.sha256).digest()
    return "ngs_" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def report_secret(job_name: str, uid: str) -> str:
    """The name of the Secret with a job's report token (key ``token``)."""
    return f"{job_name[:45]}-r-{short_digest(uid)}"


REPORT_TOKEN_PREFIX: Final = "ngr_"  # noqa: S105 not a secret


def report_token(key: bytes, uid: str) -> str:
    """The token with which a job's agent reports to an operator that may not review tokens.

    Args:
        key: the operator's secret key.
        uid: the job's uid.
    """
    digest = hmac.new(key, f"report:{uid}".encode(), hashlib.sha256).digest()
    code = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    return f"{REPORT_TOKEN_PREFIX}{uid}.{code}"


def report_token_uid(token: str) -> str:
    """The uid that a report token names, not verified; empty if it is no report token."""
    uid, dot, _ = token.removeprefix(REPORT_TOKEN_PREFIX).rpartition(".")
    return uid if dot and token.startswith(REPORT_TOKEN_PREFIX) else ""


# Folder below the prefix of the outputs for the files of a failed run.
PARTIAL_PREFIX: Final = ".partial/"


def outputs_prefix(request_id: str) -> str:
    """The default prefix of a request's output files; it ends with a slash."""
    return f"outputs/{request_id}/"
