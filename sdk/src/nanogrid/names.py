"""Every name that two parts of NanoGrid share: API group, labels, containers, paths, keys.

Glossary: a *job* is the ExecutionJob object, an *attempt* one try at it, a *pod* the sandbox of an
attempt, an *execution* one run of code in it, a *result* what came out, a *delivery* telling
others.
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
CATEGORY: Final = "nanogrid"
FUNCTION_KIND: Final = "Function"
FUNCTION_PLURAL: Final = "functions"
FUNCTION_SINGULAR: Final = "function"
FUNCTION_SHORT_NAME: Final = "fn"

# Of a job that runs a function: what it is found by, and what its request asked for.
LABEL_FUNCTION: Final = f"{GROUP}/function"
ANNOTATION_REQUEST_DIGEST: Final = f"{GROUP}/request-digest"
ANNOTATION_RUNTIME: Final = f"{GROUP}/runtime"
ANNOTATION_FUNCTION_VERSION: Final = f"{GROUP}/function-version"

# Labels and annotations of a sandbox pod. `LABEL_JOB_UID` is what the operator watches by.
LABEL_JOB: Final = f"{GROUP}/job"
LABEL_JOB_UID: Final = f"{GROUP}/job-uid"
LABEL_ATTEMPT: Final = f"{GROUP}/attempt"
LABEL_MODE: Final = f"{GROUP}/mode"
MODE_BATCH: Final = "Batch"
MODE_SESSION: Final = "Session"
MANAGED_BY: Final = "nanogrid-operator"
ANNOTATION_DEFAULT_CONTAINER: Final = "kubectl.kubernetes.io/default-container"
# The EKS identity webhook injects the role into all containers but those named here.
ANNOTATION_IRSA_SKIP: Final = "eks.amazonaws.com/skip-containers"

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
INSTALLED_LAUNCHER_DIR: Final = f"{RUN_DIR}/launcher"  # put there for other images
TOKEN_DIR: Final = "/var/run/secrets/nanogrid"  # noqa: S105 a path
TOKEN_FILE: Final = f"{TOKEN_DIR}/token"
SESSION_TOKEN_DIR: Final = "/var/run/secrets/nanogrid-session"  # noqa: S105 a path
SESSION_TOKEN_FILE: Final = f"{SESSION_TOKEN_DIR}/token"
TERMINATION_FILE: Final = "/dev/termination-log"
ENTRYPOINT: Final = "main.py"

# How a function finds its inputData: the variable holds a path that can be opened.
ENV_FUNCTION_INPUT: Final = "FUNCTION_INPUT"
FUNCTION_INPUT_FILE: Final = "input.json"
FUNCTION_INPUT_DIR: Final = f"{WORKSPACE}/input"
FUNCTION_INPUT_STDIN: Final = "/dev/stdin"

# Environment of the pod's trusted containers.
ENV_TASK: Final = "NANOGRID_TASK"
ENV_RESULTS_URL: Final = "NANOGRID_RESULTS_URL"
ENV_S3_ENDPOINT: Final = "NANOGRID_S3_ENDPOINT"
ENV_S3_REGION: Final = "AWS_REGION"
# User code may not set these: they would reach, or look like, our own settings.
RESERVED_ENV_PREFIXES: Final = ("NANOGRID_", "AWS_", "KUBERNETES_")

# At most, for outputs and report after the code was told to stop; the pod's grace allows for it.
STOP_UPLOAD_SECONDS: Final = 120

# The results endpoint of the operator.
RESULTS_AUDIENCE: Final = "nanogrid-results"
RESULTS_PATH: Final = "/v1/results"
SESSIONS_PATH: Final = "/v1/sessions"  # how a session tells of its activity
RESULTS_PORT: Final = 8080

# A session's HTTP API, served by its agent; a port that user code is unlikely to want.
SESSION_PORT: Final = 9080
# What a webhook gets beside the result.
HEADER_REQUEST_ID: Final = "X-NanoGrid-Request-Id"
HEADER_TIMESTAMP: Final = "X-NanoGrid-Timestamp"
HEADER_SIGNATURE: Final = "X-NanoGrid-Signature"

# Redis: one key, one channel and one stream entry per result.
REDIS_STREAM: Final = "results"


def result_key(request_id: str) -> str:
    """The Redis key, and also the Redis channel, of one request's result."""
    return f"result:{request_id}"


# S3 keys, relative to the bucket.
def result_object(request_id: str) -> str:
    """The key of one request's result JSON."""
    return f"results/{request_id}/result.json"


def manifest_object(request_id: str) -> str:
    """The key of the manifest that proves one request's inputs."""
    return f"results/{request_id}/manifest.json"


def function_prefix(function_id: str) -> str:
    """The prefix, ending in a slash, below which a function keeps its code and large inputs."""
    return f"functions/{function_id}/"


def function_object(function_id: str, version: int) -> str:
    """The key of one version's ZIP."""
    return f"{function_prefix(function_id)}v{version}.zip"


def function_input_object(function_id: str, request_id: str, sha256: str) -> str:
    """The key of one request's inputData, when it is too large for standard input.

    The content's hex digest is in it, so that no other request can change it under a run.
    """
    folder = f"{function_prefix(function_id)}inputs/{request_id}/{sha256[:16]}"
    return f"{folder}/{FUNCTION_INPUT_FILE}"


def stream_object(request_id: str, stream: str) -> str:
    """The key of one request's full stdout or stderr."""
    return f"results/{request_id}/{stream}.txt"


def session_prefix(request_id: str) -> str:
    """The prefix, ending in a slash, below which a session keeps everything of its own."""
    return f"sessions/{request_id}/"


# Folders below a session's prefix.
SESSION_INPUT: Final = "input/"  # put there by the caller
SESSION_DATA: Final = "data/"  # files sent through the API
SESSION_DEBUG: Final = "debug/"  # one record per execution
SESSION_ARTIFACTS: Final = "artifacts/"  # what the session leaves
SESSION_ARTIFACTS_DIR: Final = "artifacts"  # the same, in the workspace


def execution_object(request_id: str, number: int) -> str:
    """The key of one execution's record."""
    return f"{session_prefix(request_id)}{SESSION_DEBUG}execution_{number}.json"


def short_digest(uid: str) -> str:
    """Eight hex digits that make a name a job's own, for as long as anybody remembers it."""
    return hashlib.sha256(uid.encode()).hexdigest()[:8]


def session_object(job_name: str, uid: str) -> str:
    """The name of a session's Secret (key ``token``), and of its Service and Ingress if any."""
    return f"{job_name[:45]}-s-{short_digest(uid)}"


SESSION_KEY_BYTES: Final = 16  # a shorter key could be guessed


def session_path(namespace: str, job_name: str) -> str:
    """The path of a session at the router."""
    return f"/sessions/{namespace}/{job_name}"


def session_token(key: bytes, uid: str) -> str:
    """A session's bearer token.

    Whoever has the key (operator, router) knows the token of every session without storing any.

    Args:
        key: the installation's secret key.
        uid: the job's uid.
    """
    digest = hmac.new(key, f"session:{uid}".encode(), hashlib.sha256).digest()
    return "ngs_" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


# Below this, in the outputs' prefix, go the files of a run that failed.
PARTIAL_PREFIX: Final = ".partial/"


def outputs_prefix(request_id: str) -> str:
    """The default prefix, ending in a slash, of one request's output files."""
    return f"outputs/{request_id}/"
