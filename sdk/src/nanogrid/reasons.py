"""The one enum of reasons, and for each what happened and how to mend it.

A reason is what ``status.reason``, a condition's ``reason`` and the result's ``reason`` hold.
docs/reasons.md is generated from this table, so a reason without a cure cannot exist.
"""

from enum import StrEnum
from typing import NamedTuple


class Help(NamedTuple):
    """What a reason means and what its reader can do about it."""

    meaning: str
    cure: str


class Reason(StrEnum):
    """CamelCase reasons, stable across releases; new ones may be added."""

    # How an execution ended.
    COMPLETED = "Completed"
    NON_ZERO_EXIT = "NonZeroExit"
    SIGNALED = "Signaled"
    OOM_KILLED = "OOMKilled"
    EXECUTION_TIMEOUT = "ExecutionTimeout"
    ENTRYPOINT_NOT_FOUND = "EntrypointNotFound"

    # Inputs and code: the user's code never ran.
    INPUT_NOT_FOUND = "InputNotFound"
    INPUT_ACCESS_DENIED = "InputAccessDenied"
    INPUT_INCOMPLETE = "InputIncomplete"
    INPUT_TOO_LARGE = "InputTooLarge"
    CHECKSUM_MISMATCH = "ChecksumMismatch"
    PATH_CONFLICT = "PathConflict"
    UNSAFE_PATH = "UnsafePath"
    STORAGE_UNAVAILABLE = "StorageUnavailable"
    CLOCK_SKEW = "ClockSkew"
    EMPTY_ARCHIVE = "EmptyArchive"
    CORRUPT_ARCHIVE = "CorruptArchive"
    UNSAFE_ARCHIVE = "UnsafeArchive"
    ARCHIVE_TOO_LARGE = "ArchiveTooLarge"
    SYNC_FAILED = "SyncFailed"
    INPUT_SYNC_TIMEOUT = "InputSyncTimeout"

    # Outputs.
    OUTPUT_UPLOAD_FAILED = "OutputUploadFailed"

    # Stopped from outside.
    CANCELLED = "Cancelled"
    TERMINATED = "Terminated"
    SUSPENDED = "Suspended"
    PREEMPTED = "Preempted"
    NODE_LOST = "NodeLost"

    # A session's own ends, and what its API answers.
    IDLE_TIMEOUT = "IdleTimeout"
    LIFETIME_EXCEEDED = "LifetimeExceeded"
    EXECUTION_LIMIT = "ExecutionLimit"
    SESSION_ENDED = "SessionEnded"
    SESSION_READY = "SessionReady"
    INITIALIZING = "Initializing"
    SANDBOX_RESTARTED = "SandboxRestarted"
    CONTEXT_LOST = "ContextLost"
    EXECUTION_RUNNING = "ExecutionRunning"
    EXECUTION_INTERRUPTED = "ExecutionInterrupted"
    EXECUTION_NOT_FOUND = "ExecutionNotFound"
    EXECUTION_ENDED = "ExecutionEnded"
    CONTEXT_NOT_FOUND = "ContextNotFound"
    FILE_NOT_FOUND = "FileNotFound"
    FILE_TOO_LARGE = "FileTooLarge"
    QUEUE_FULL = "QueueFull"
    BAD_REQUEST = "BadRequest"
    IDEMPOTENCY_CONFLICT = "IdempotencyConflict"
    INTERNAL_ERROR = "InternalError"
    UNAUTHORIZED = "Unauthorized"
    WRONG_SESSION = "WrongSession"
    PREFIX_NOT_ALLOWED = "PrefixNotAllowed"
    SESSION_NOT_FOUND = "SessionNotFound"
    SESSION_UNREACHABLE = "SessionUnreachable"

    # What the functions' API answers.
    FUNCTION_NOT_FOUND = "FunctionNotFound"
    VERSION_NOT_FOUND = "VersionNotFound"
    VERSION_LIMIT = "VersionLimit"
    FUNCTION_IN_USE = "FunctionInUse"
    RUN_NOT_FOUND = "RunNotFound"
    RUN_ENDED = "RunEnded"
    OUTPUT_NOT_FOUND = "OutputNotFound"
    REQUEST_TOO_LARGE = "RequestTooLarge"
    RATE_LIMITED = "RateLimited"
    FORBIDDEN = "Forbidden"
    CLUSTER_UNAVAILABLE = "ClusterUnavailable"

    # The pod.
    INVALID_SPEC = "InvalidSpec"
    NAME_CONFLICT = "NameConflict"
    QUEUED = "Queued"
    POD_REJECTED = "PodRejected"
    UNSCHEDULABLE = "Unschedulable"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    CONFIG_ERROR = "ConfigError"
    STARTUP_TIMEOUT = "StartupTimeout"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    EVICTED = "Evicted"
    POD_LOST = "PodLost"
    SANDBOX_LOST = "SandboxLost"
    RUNTIME_INVALID = "RuntimeInvalid"
    AGENT_FAILED = "AgentFailed"
    RESULT_MISMATCH = "ResultMismatch"
    RESULT_UNREADABLE = "ResultUnreadable"

    # Progress of a job that has not ended.
    POD_CREATED = "PodCreated"
    RETRYING = "Retrying"
    STOPPING = "Stopping"
    SYNCING = "Syncing"
    EXECUTING = "Executing"

    # Conditions of inputs, outputs and delivery.
    SYNCED = "Synced"
    NO_INPUTS = "NoInputs"
    UPLOADED = "Uploaded"
    NO_OUTPUTS = "NoOutputs"
    NOT_EXECUTED = "NotExecuted"
    DELIVERED = "Delivered"
    NO_SUBSCRIBER = "NoSubscriber"
    STORED = "Stored"
    REDIS_UNAVAILABLE = "RedisUnavailable"
    REDIS_ACCESS_DENIED = "RedisAccessDenied"
    REDIS_READ_ONLY = "RedisReadOnly"
    REDIS_OUT_OF_MEMORY = "RedisOutOfMemory"
    REDIS_REFUSED = "RedisRefused"
    REQUEST_ID_CONFLICT = "RequestIdConflict"
    WEBHOOK_PENDING = "WebhookPending"
    WEBHOOK_ACCEPTED = "WebhookAccepted"
    WEBHOOK_REFUSED = "WebhookRefused"
    WEBHOOK_GIVEN_UP = "WebhookGivenUp"


# The hint for code that ended by itself after the kernel had killed a child of it.
CHILD_OOM_KILLED = "The kernel killed a process of the sandbox that reached the memory limit"

R = Reason
HELP: dict[Reason, Help] = {
    R.COMPLETED: Help("The code exited with 0 and its outputs are stored.", "Nothing to do."),
    R.NON_ZERO_EXIT: Help(
        "The code ended with an exit code other than 0.", "Read stderr in status.result."
    ),
    R.SIGNALED: Help(
        "A signal that NanoGrid did not send ended the code.",
        "See status.result.signal; SIGSEGV and SIGABRT come from native libraries.",
    ),
    R.OOM_KILLED: Help(
        "The kernel killed the code because it reached its memory limit.",
        "Raise spec.resources.limits.memory, or read the input in pieces.",
    ),
    R.EXECUTION_TIMEOUT: Help(
        "The code ran longer than spec.timeouts.executionSeconds and was stopped.",
        "Raise the timeout, or find out from the partial stdout where it hangs.",
    ),
    R.ENTRYPOINT_NOT_FOUND: Help(
        "The command, or main.py, does not exist in the sandbox.",
        "Put main.py at the top level of the archive or into its only folder, or set spec.command.",
    ),
    R.INPUT_NOT_FOUND: Help(
        "An S3 key does not exist, or a prefix holds no (or too few) files; the code did not run.",
        "Compare bucket, key and prefix in the message with `aws s3 ls`; upload what is missing.",
    ),
    R.INPUT_ACCESS_DENIED: Help(
        "S3 refused the credentials; the code did not run.",
        "Check the S3 secret or the role of the service account, and the bucket policy.",
    ),
    R.INPUT_INCOMPLETE: Help(
        "Files on disk differ from the S3 listing in number or size; the code did not run.",
        "Do not change inputs while a job syncs them; run the job again.",
    ),
    R.INPUT_TOO_LARGE: Help(
        "An input is larger than its maxBytes; the code did not run.",
        "Raise maxBytes, or narrow the prefix.",
    ),
    R.CHECKSUM_MISMATCH: Help(
        "The content does not have the sha256 that the spec asks for; the code did not run.",
        "Upload the right object, or correct sha256.",
    ),
    R.PATH_CONFLICT: Help(
        "Two inputs, or an input and the code, give the same file; the code did not run.",
        "Give them different mountPaths.",
    ),
    R.UNSAFE_PATH: Help(
        "An S3 key would be written outside its mountPath; the code did not run.",
        "Rename keys that begin or end with '/', or hold '..', '//' or control characters.",
    ),
    R.STORAGE_UNAVAILABLE: Help(
        "S3 did not answer properly, also when it was asked again.",
        "Check the endpoint and the network; run the job again if its code did not run.",
    ),
    R.CLOCK_SKEW: Help(
        "S3 refuses requests of a clock that is over 15 minutes off; the code did not run.",
        "Mend time synchronization (NTP) on the node that the pod ran on; run the job again.",
    ),
    R.EMPTY_ARCHIVE: Help(
        "The code's ZIP holds no files; nothing ran.", "Zip the folder's content again; upload it."
    ),
    R.CORRUPT_ARCHIVE: Help(
        "The code's object is not a readable ZIP; nothing ran.", "Create and upload it again."
    ),
    R.UNSAFE_ARCHIVE: Help(
        "The ZIP has an entry that is refused (link, '..', absolute, duplicate, encrypted).",
        "Remove the entry that the message names.",
    ),
    R.ARCHIVE_TOO_LARGE: Help(
        "The ZIP unpacks to more files or bytes than allowed, or to over 200 times its size.",
        "Make it smaller; move data to S3.",
    ),
    R.SYNC_FAILED: Help(
        "The sync container ended without saying why.", "kubectl logs POD -c sync-input"
    ),
    R.INPUT_SYNC_TIMEOUT: Help(
        "Copying the inputs took longer than spec.timeouts.inputSyncSeconds; the code did not run.",
        "Raise the timeout, or copy less.",
    ),
    R.CANCELLED: Help(
        "spec.cancel was set: the code was stopped; what it had written is stored.",
        "Create a new job to run it again.",
    ),
    R.TERMINATED: Help(
        "The pod was told to stop from outside; the code was stopped before it had ended.",
        "See the pod's events for who deleted or drained it; run again.",
    ),
    R.SUSPENDED: Help(
        "spec.suspend is true: no pod runs for the job.", "Set spec.suspend to false to go on."
    ),
    R.PREEMPTED: Help(
        "The scheduler gave the pod's place to one of higher priority.", "Run again."
    ),
    R.NODE_LOST: Help("The pod's node stopped answering.", "Run again, or allow retries."),
    R.OUTPUT_UPLOAD_FAILED: Help(
        "The code ended, but not all of its output files could be stored.",
        "Check S3, or raise the cap that the message names; exit code and stdout are kept.",
    ),
    R.IDLE_TIMEOUT: Help(
        "The session had nothing to do for session.idleTimeoutSeconds and ended.",
        "Create a new session, or raise the timeout; artifacts and records are in S3.",
    ),
    R.LIFETIME_EXCEEDED: Help(
        "The session reached session.maxLifetimeSeconds and ended.",
        "Create a new session, or raise the limit; artifacts and records are in S3.",
    ),
    R.EXECUTION_LIMIT: Help(
        "The session ran session.maxExecutions executions and ended.",
        "Create a new session, or raise the limit; artifacts and records are in S3.",
    ),
    R.SESSION_ENDED: Help(
        "A client asked the session to end.", "Nothing to do; artifacts and records are in S3."
    ),
    R.SESSION_READY: Help("The session takes requests.", "Nothing to do."),
    R.INITIALIZING: Help(
        "The session copies its inputs, or waits for its sandbox.",
        "Ask again after the seconds in Retry-After.",
    ),
    R.SANDBOX_RESTARTED: Help(
        "The session's sandbox container ended and was started anew; its contexts are gone, its "
        "files are not.",
        "Run again what built up the context's variables; out of memory is the usual cause.",
    ),
    R.CONTEXT_LOST: Help(
        "The process of a context ended (crash, out of memory, or it was removed).",
        "The next execution with that name starts a new one without the old variables.",
    ),
    R.EXECUTION_RUNNING: Help(
        "Another execution runs and session.concurrencyPolicy is Reject.",
        "Wait for it, interrupt it with DELETE /executions/N, or use the policy Serial.",
    ),
    R.EXECUTION_INTERRUPTED: Help(
        "A client interrupted the execution.", "Nothing to do; run it again if it was a mistake."
    ),
    R.EXECUTION_NOT_FOUND: Help(
        "The session has no execution of that number.", "List them with GET /executions."
    ),
    R.EXECUTION_ENDED: Help(
        "The execution is over and cannot be interrupted any more.",
        "GET /executions/N shows how it ended.",
    ),
    R.CONTEXT_NOT_FOUND: Help(
        "The session has no context of that name.", "List them with GET /contexts."
    ),
    R.FILE_NOT_FOUND: Help(
        "The workspace has no such file.", "List the files with GET /files; paths begin at /app."
    ),
    R.FILE_TOO_LARGE: Help(
        "The file is larger than the API takes.", "Put it into S3 and use /file-sync."
    ),
    R.QUEUE_FULL: Help(
        "Too many requests wait for their turn.", "Try again after the seconds in Retry-After."
    ),
    R.BAD_REQUEST: Help(
        "The request cannot be understood; the message names the field.",
        "Correct it; /openapi.json describes every request.",
    ),
    R.IDEMPOTENCY_CONFLICT: Help(
        "The Idempotency-Key was sent before, with another request.", "Use a new key."
    ),
    R.INTERNAL_ERROR: Help(
        "The API failed in a way that nobody foresaw.",
        "kubectl logs POD -c agent shows the traceback; try again.",
    ),
    R.UNAUTHORIZED: Help(
        "The request has no valid token.",
        "Send the session's token as Authorization: Bearer; it is in the Secret that "
        "status.session.tokenSecretName names.",
    ),
    R.WRONG_SESSION: Help(
        "The request names another session than the one it reached.",
        "Check the session id, and drop cookies of older sessions.",
    ),
    R.PREFIX_NOT_ALLOWED: Help(
        "The bucket or prefix is not one of this session's own.",
        "Use the session's prefix, or name the source in spec.inputs.",
    ),
    R.SESSION_NOT_FOUND: Help(
        "There is no session of that namespace and name.",
        "Check both with kubectl get executionjobs --all-namespaces.",
    ),
    R.SESSION_UNREACHABLE: Help(
        "The session's pod does not answer.",
        "Try again after the seconds in Retry-After; see the job's status for its pod.",
    ),
    R.FUNCTION_NOT_FOUND: Help(
        "There is no function of that name, or it is being deleted.",
        "List them with kubectl get fn, or GET /functions.",
    ),
    R.VERSION_NOT_FOUND: Help(
        "The function has no version of that number.",
        "List them with kubectl get fn ID -o yaml, or GET /functions/ID/versions.",
    ),
    R.VERSION_LIMIT: Help(
        "The function has as many versions as a function can have.",
        "Upload the code as a new function.",
    ),
    R.FUNCTION_IN_USE: Help(
        "Runs of the function have not ended.", "Wait for them, or cancel them; then try again."
    ),
    R.RUN_NOT_FOUND: Help(
        "There is no run of that requestId, or it was deleted.", "List them with GET /runs."
    ),
    R.RUN_ENDED: Help("The run is over.", "GET /runs/ID has its result."),
    R.OUTPUT_NOT_FOUND: Help(
        "The run left no output file of that name.",
        "The result's outputs name all files; a run that has not ended has none.",
    ),
    R.REQUEST_TOO_LARGE: Help(
        "The request's body is larger than the gateway takes.",
        "Put large data into S3, and only its name into the request.",
    ),
    R.RATE_LIMITED: Help(
        "The caller sends too many requests, or has too many under way.",
        "Try again after the seconds in Retry-After.",
    ),
    R.FORBIDDEN: Help(
        "The caller is known, and may not do this.",
        "Ask for the right that the message names, in the gateway's namespace.",
    ),
    R.CLUSTER_UNAVAILABLE: Help(
        "The Kubernetes API server did not answer properly.",
        "Try again; a repeated request with the same requestId does no harm.",
    ),
    R.INVALID_SPEC: Help("The job's spec cannot be run as it is.", "Mend what the message names."),
    R.NAME_CONFLICT: Help(
        "A pod of the name that this job needs belongs to somebody else.",
        "Delete or rename that pod, or give the job another name.",
    ),
    R.POD_REJECTED: Help(
        "The API server refused the pod (quota, admission or a missing service account).",
        "The message is the API server's: change quota, policy or spec.",
    ),
    R.QUEUED: Help(
        "The job waits for its turn: its namespace has as many pods as it may.",
        "Nothing: the oldest job is next. To run more at once, add nodes, or raise the limit that "
        "the message names in the chart's values.",
    ),
    R.UNSCHEDULABLE: Help(
        "No node has room for the pod.", "Lower spec.resources or add nodes; see the message."
    ),
    R.IMAGE_PULL_FAILED: Help(
        "The node cannot pull an image of the pod.", "Check spec.runtime.image and pull secrets."
    ),
    R.CONFIG_ERROR: Help(
        "The kubelet cannot make a container (a missing Secret, say).", "Create what is missing."
    ),
    R.STARTUP_TIMEOUT: Help(
        "The code had not started after spec.timeouts.startupSeconds.",
        "See the message for what the pod waited for.",
    ),
    R.DEADLINE_EXCEEDED: Help(
        "The pod outlived all of its timeouts together and was stopped.",
        "See the pod's events; the agent may have been starved.",
    ),
    R.EVICTED: Help(
        "The pod had to leave its node, which was drained or short of memory or disk.",
        "If the message names memory or a volume, ask for as much as the job needs; "
        "else run again, or allow retries.",
    ),
    R.POD_LOST: Help(
        "The pod vanished before it had a result.", "Somebody deleted it, or its node; run again."
    ),
    R.SANDBOX_LOST: Help(
        "The sandbox container ended before the launcher could report.",
        "See the kubelet's reason in the message; run again.",
    ),
    R.RUNTIME_INVALID: Help(
        "The runtime image cannot run the launcher.",
        "Build it on the executor image, or add python3 >= 3.11 to it; see docs/runtimes.md.",
    ),
    R.AGENT_FAILED: Help(
        "The agent container ended without a result.", "kubectl logs POD -c agent"
    ),
    R.RESULT_MISMATCH: Help(
        "The reported result contradicts what the kubelet saw; it is not trusted.",
        "Treat the output as tampered with.",
    ),
    R.RESULT_UNREADABLE: Help(
        "The pod is gone, and storage, which may have its result, did not answer for 10 minutes.",
        "Mend S3; see results/{requestId}/result.json there, or run the job again.",
    ),
    R.RETRYING: Help("An attempt failed and another one follows.", "Wait."),
    R.STOPPING: Help("The pod is being stopped; outputs are stored meanwhile.", "Wait."),
    R.POD_CREATED: Help("The pod is created and has not started.", "Wait."),
    R.SYNCING: Help("Inputs are being copied and verified.", "Wait."),
    R.EXECUTING: Help("The code runs.", "Wait."),
    R.SYNCED: Help("All inputs are in place and verified.", "Nothing to do."),
    R.NO_INPUTS: Help("The job has nothing to sync.", "Nothing to do."),
    R.UPLOADED: Help("All output files are stored.", "Nothing to do."),
    R.NO_OUTPUTS: Help("The code left no output files.", "Nothing to do."),
    R.NOT_EXECUTED: Help("The code never ran.", "See the job's reason."),
    R.DELIVERED: Help("Redis has the result, and a subscriber got it.", "Nothing to do."),
    R.NO_SUBSCRIBER: Help(
        "Redis has the result; nobody was subscribed.", "Read key result:ID or the stream."
    ),
    R.STORED: Help("S3 has the result.", "Nothing to do."),
    R.REDIS_UNAVAILABLE: Help(
        "Redis does not answer, or is still starting; delivery is retried until it does.",
        "Check that Redis runs, and redis.url.",
    ),
    R.REDIS_ACCESS_DENIED: Help(
        "Redis refused the operator's user or password; delivery is retried.",
        "Correct the Secret (then restart the operator), or the user's ACL: docs/operations.md "
        "has the commands it needs.",
    ),
    R.REDIS_READ_ONLY: Help(
        "Redis is a read-only replica; delivery is retried on a new connection each time.",
        "Wait for the failover to end, or point redis.url at the primary.",
    ),
    R.REDIS_OUT_OF_MEMORY: Help(
        "Redis has reached maxmemory and evicts nothing; delivery is retried.",
        "Raise maxmemory, or lower redis.resultTTLSeconds and redis.streamMaxLength.",
    ),
    R.REDIS_REFUSED: Help(
        "Redis answered with an error; delivery is retried.", "Mend what the message names."
    ),
    R.REQUEST_ID_CONFLICT: Help(
        "Another job's result is stored under this requestId.", "Use a fresh requestId per job."
    ),
    R.WEBHOOK_PENDING: Help(
        "The webhook has not taken the result yet; it is asked again for a day.",
        "Check the endpoint with what the message says.",
    ),
    R.WEBHOOK_ACCEPTED: Help("The webhook took the result.", "Nothing to do."),
    R.WEBHOOK_REFUSED: Help(
        "The webhook refused the result for good; it is not asked again.",
        "Mend the endpoint or its URL; read the result from the CR, S3 or Redis.",
    ),
    R.WEBHOOK_GIVEN_UP: Help(
        "The webhook did not take the result for a day; it is not asked again.",
        "Read the result from the CR, S3 or Redis.",
    ),
}


def sentence(reason: Reason, detail: str = "") -> str:
    """One line for a status message: what happened, the detail, and the cure."""
    help_ = HELP[reason]
    detail = detail.strip().rstrip(". ")
    middle = f" {detail}." if detail else ""
    cure = "" if help_.cure in ("Nothing to do.", "Wait.") else f" {help_.cure}"
    return f"{help_.meaning}{middle}{cure}"


def reasons_markdown() -> str:
    """The table of docs/reasons.md."""
    rows = [f"| `{r.value}` | {HELP[r].meaning} | {HELP[r].cure} |" for r in Reason]
    head = [
        "# Reasons",
        "",
        "Generated by `make manifests` from `sdk/src/nanogrid/reasons.py`; do not edit.",
        "",
        "| Reason | What happened | What to do |",
        "|---|---|---|",
    ]
    return "\n".join(head + rows) + "\n"
