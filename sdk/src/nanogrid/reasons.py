"""All reasons, each with its meaning (what happened) and its hint (how to fix it).

A reason is a value of ``status.reason``, of a condition's ``reason`` and of a result's ``reason``.
docs/reasons.md is generated from this table, and a test checks that each reason has a hint.
"""

from enum import StrEnum
from typing import NamedTuple


class Help(NamedTuple):
    """The meaning of a reason, and a hint for the user."""

    meaning: str
    hint: str


class Reason(StrEnum):
    """Reasons in CamelCase, stable across releases; a release may add new ones."""

    # How an execution ended.
    COMPLETED = "Completed"
    NON_ZERO_EXIT = "NonZeroExit"
    SIGNALED = "Signaled"
    OOM_KILLED = "OOMKilled"
    EXECUTION_TIMEOUT = "ExecutionTimeout"
    ENTRYPOINT_NOT_FOUND = "EntrypointNotFound"
    INTERPRETER_NOT_FOUND = "InterpreterNotFound"
    ENTRYPOINT_NOT_EXECUTABLE = "EntrypointNotExecutable"
    ENTRYPOINT_FORMAT_UNKNOWN = "EntrypointFormatUnknown"
    ARGUMENTS_INVALID = "ArgumentsInvalid"
    ARGUMENTS_TOO_LONG = "ArgumentsTooLong"
    PROCESS_REFUSED = "ProcessRefused"

    # Inputs and code: the user's code never ran.
    INPUT_NOT_FOUND = "InputNotFound"
    INPUT_ACCESS_DENIED = "InputAccessDenied"
    INPUT_INCOMPLETE = "InputIncomplete"
    INPUT_TOO_LARGE = "InputTooLarge"
    CHECKSUM_MISMATCH = "ChecksumMismatch"
    PATH_CONFLICT = "PathConflict"
    UNSAFE_PATH = "UnsafePath"
    INPUT_ARCHIVED = "InputArchived"
    ENCRYPTION_KEY_REFUSED = "EncryptionKeyRefused"
    STORAGE_MISCONFIGURED = "StorageMisconfigured"
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
    RESTORED = "Restored"
    PREEMPTED = "Preempted"
    NODE_LOST = "NodeLost"

    # Ends of a session, and errors of its API.
    IDLE_TIMEOUT = "IdleTimeout"
    LIFETIME_EXCEEDED = "LifetimeExceeded"
    EXECUTION_LIMIT = "ExecutionLimit"
    SESSION_ENDED = "SessionEnded"
    SESSION_READY = "SessionReady"
    INITIALIZING = "Initializing"
    SANDBOX_RESTARTED = "SandboxRestarted"
    EXPOSURE_PENDING = "ExposurePending"
    EXPOSURE_FAILED = "ExposureFailed"
    EXPOSURE_IGNORED = "ExposureIgnored"
    TARGET_UNHEALTHY = "TargetUnhealthy"
    CONTEXT_LOST = "ContextLost"
    EXECUTION_RUNNING = "ExecutionRunning"
    EXECUTION_INTERRUPTED = "ExecutionInterrupted"
    EXECUTION_NOT_FOUND = "ExecutionNotFound"
    EXECUTION_ENDED = "ExecutionEnded"
    CONTEXT_NOT_FOUND = "ContextNotFound"
    CONTEXT_LIMIT = "ContextLimit"
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

    # Errors of the functions API.
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
    NETWORK_UNKNOWN = "NetworkUnknown"
    NETWORK_NOT_ENFORCED = "NetworkNotEnforced"
    UNSCHEDULABLE = "Unschedulable"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    CONFIG_ERROR = "ConfigError"
    START_FAILED = "StartFailed"
    STARTUP_TIMEOUT = "StartupTimeout"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    EVICTED = "Evicted"
    POD_LOST = "PodLost"
    SANDBOX_LOST = "SandboxLost"
    RUNTIME_INVALID = "RuntimeInvalid"
    AGENT_FAILED = "AgentFailed"
    RESULT_MISMATCH = "ResultMismatch"
    RESULT_NOT_AUTHENTIC = "ResultNotAuthentic"
    RESULT_UNREADABLE = "ResultUnreadable"

    # Progress of a job that has not ended.
    POD_CREATED = "PodCreated"
    POD_CLAIMED = "PodClaimed"
    STARTED_COLD = "StartedCold"
    # Condition Ready of an ExecutionPool.
    POOL_READY = "PoolReady"
    POOL_STARTING = "PoolStarting"
    POOL_NOT_READY = "PoolNotReady"
    POOL_INVALID = "PoolInvalid"
    RETRYING = "Retrying"
    STOPPING = "Stopping"
    SYNCING = "Syncing"
    EXECUTING = "Executing"

    # Conditions of inputs, outputs and delivery.
    SYNCED = "Synced"
    NO_INPUTS = "NoInputs"
    UPLOADED = "Uploaded"
    NO_OUTPUTS = "NoOutputs"
    OUTPUTS_NOT_MATCHED = "OutputsNotMatched"
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


# The program of the command cannot start, and another attempt changes nothing.
NOT_STARTABLE = (
    Reason.ENTRYPOINT_NOT_FOUND,
    Reason.INTERPRETER_NOT_FOUND,
    Reason.ENTRYPOINT_NOT_EXECUTABLE,
    Reason.ENTRYPOINT_FORMAT_UNKNOWN,
    Reason.ARGUMENTS_INVALID,
    Reason.ARGUMENTS_TOO_LONG,
)

# The cluster or the installation failed, not the user's code, spec or data: those who run the
# platform look at these. Alerts count them.
PLATFORM_FAULTS = (
    Reason.STORAGE_MISCONFIGURED,
    Reason.STORAGE_UNAVAILABLE,
    Reason.ENCRYPTION_KEY_REFUSED,
    Reason.CLOCK_SKEW,
    Reason.SYNC_FAILED,
    Reason.NODE_LOST,
    Reason.TERMINATED,
    Reason.EVICTED,
    Reason.POD_LOST,
    Reason.SANDBOX_LOST,
    Reason.AGENT_FAILED,
    Reason.UNSCHEDULABLE,
    Reason.START_FAILED,
    Reason.STARTUP_TIMEOUT,
    Reason.NETWORK_NOT_ENFORCED,
    Reason.RESULT_NOT_AUTHENTIC,
    Reason.RESULT_UNREADABLE,
)

# Why code can be out of memory although it ended by itself: the kernel killed a child of it.
CHILD_OOM_KILLED = "The kernel killed a process of the sandbox that reached the memory limit"

R = Reason
HELP: dict[Reason, Help] = {
    R.COMPLETED: Help("The code exited with 0 and its outputs are stored.", "Nothing to do."),
    R.NON_ZERO_EXIT: Help(
        "The code exited with a code other than 0.", "Read stderr in status.result."
    ),
    R.SIGNALED: Help(
        "A signal that NanoGrid did not send ended the code.",
        "See status.result.signal. SIGSEGV and SIGABRT come from native libraries.",
    ),
    R.OOM_KILLED: Help(
        "The kernel killed the code because it reached its memory limit.",
        "Raise spec.resources.limits.memory, or read the input in chunks.",
    ),
    R.EXECUTION_TIMEOUT: Help(
        "The code ran longer than its timeout and was stopped.",
        "Raise spec.timeouts.executionSeconds, or use the partial stdout to find where the code "
        "hangs.",
    ),
    R.ENTRYPOINT_NOT_FOUND: Help(
        "The command, or main.py, does not exist in the sandbox.",
        "Put main.py at the top level of the archive or in its only folder, or set spec.command.",
    ),
    R.INTERPRETER_NOT_FOUND: Help(
        "The program needs an interpreter or a loader that the sandbox does not have.",
        "Correct the first line of the script, save it with LF line ends, or use an image that has "
        "the interpreter.",
    ),
    R.ENTRYPOINT_NOT_EXECUTABLE: Help(
        "The code is not allowed to execute the program.",
        "Set the execute permission with `chmod +x` before you pack it, or begin spec.command with "
        "the interpreter.",
    ),
    R.ENTRYPOINT_FORMAT_UNKNOWN: Help(
        "The node cannot execute a program of this format.",
        "Begin a script with a line such as `#!/bin/sh`. Build other programs for Linux and the "
        "machine of the node.",
    ),
    R.ARGUMENTS_INVALID: Help(
        "A program cannot get an argument or a variable of the job.",
        "Remove the NUL character, or correct the name that the message shows.",
    ),
    R.ARGUMENTS_TOO_LONG: Help(
        "The arguments and variables are longer than the kernel accepts.",
        "Put the text into a file or into stdin.",
    ),
    R.PROCESS_REFUSED: Help(
        "The kernel refused to start a process, usually for lack of processes or memory.",
        "Run it again, or allow retries with spec.backoffLimit. If it happens again, raise the "
        "memory limit.",
    ),
    R.INPUT_NOT_FOUND: Help(
        "An S3 key does not exist, or a prefix has no files or too few files. The code did not "
        "run.",
        "Compare bucket, key and prefix in the message with `aws s3 ls`. Upload the missing files.",
    ),
    R.INPUT_ACCESS_DENIED: Help(
        "S3 refused the credentials. The code did not run.",
        "Check the S3 Secret or the role of the service account, and the bucket policy.",
    ),
    R.INPUT_INCOMPLETE: Help(
        "The files on disk differ from the S3 listing in number or size. The code did not run.",
        "Do not change inputs while a job copies them. Run the job again.",
    ),
    R.INPUT_TOO_LARGE: Help(
        "An input is larger than its maxBytes. The code did not run.",
        "Raise maxBytes, or use a narrower prefix.",
    ),
    R.CHECKSUM_MISMATCH: Help(
        "The sha256 of an object differs from the sha256 in the spec. The code did not run.",
        "Upload the right object, or correct sha256.",
    ),
    R.PATH_CONFLICT: Help(
        "Two inputs, or an input and the code, contain the same file. The code did not run.",
        "Give them different mountPaths.",
    ),
    R.UNSAFE_PATH: Help(
        "An S3 key is no path below its mountPath. The code did not run.",
        "Rename the key that the message names: no '..', '//', backslash or control character.",
    ),
    R.INPUT_ARCHIVED: Help(
        "An object is in an archive (S3 Glacier), and cannot be read there. The code did not run.",
        "Restore it with `aws s3api restore-object`, wait for its end, and run the job again.",
    ),
    R.ENCRYPTION_KEY_REFUSED: Help(
        "S3 cannot use the key that encrypts an object, or the bucket.",
        "Check the key in AWS KMS: its state, its policy, and the rights of the credentials.",
    ),
    R.STORAGE_MISCONFIGURED: Help(
        "The address of S3 is wrong: its endpoint, region, certificate or bucket.",
        "Correct the s3 values of the chart. Run the job again.",
    ),
    R.STORAGE_UNAVAILABLE: Help(
        "S3 did not answer, or answered with errors, also after retries.",
        "Check the S3 endpoint and the network. Run the job again if its code did not run.",
    ),
    R.CLOCK_SKEW: Help(
        "The node's clock is wrong by more than 15 minutes, so S3 refuses its requests. The code "
        "did not run.",
        "Fix time synchronization (NTP) on the pod's node. Run the job again.",
    ),
    R.EMPTY_ARCHIVE: Help(
        "The ZIP with the code contains no files. Nothing ran.",
        "Create the ZIP from the folder's content again, and upload it.",
    ),
    R.CORRUPT_ARCHIVE: Help(
        "The object with the code is not a readable ZIP. Nothing ran.",
        "Create the ZIP again, and upload it.",
    ),
    R.UNSAFE_ARCHIVE: Help(
        "The ZIP contains an entry that is not allowed (link, '..', absolute path, duplicate, "
        "encrypted).",
        "Remove the entry that the message names.",
    ),
    R.ARCHIVE_TOO_LARGE: Help(
        "The unpacked ZIP has too many files or bytes, or more than 200 times its packed size.",
        "Make the ZIP smaller. Move data to S3.",
    ),
    R.SYNC_FAILED: Help(
        "The sync container failed without a reason.",
        "Read its log with `kubectl logs POD -c sync-input`.",
    ),
    R.INPUT_SYNC_TIMEOUT: Help(
        "The copy of the inputs took longer than spec.timeouts.inputSyncSeconds. The code did not "
        "run.",
        "Raise the timeout, or copy less data.",
    ),
    R.OUTPUT_UPLOAD_FAILED: Help(
        "The code ended, but some of its output files are not stored.",
        "Check S3, or raise the limit that the message names. Exit code and stdout are kept.",
    ),
    R.CANCELLED: Help(
        "spec.cancel stopped the code. The output so far is stored.",
        "Create a new job to run the code again.",
    ),
    R.TERMINATED: Help(
        "The pod was stopped from outside before the code ended.",
        "Read the pod's events to see who deleted or drained it. Run the job again.",
    ),
    R.SUSPENDED: Help(
        "spec.suspend is true, so the job has no running pod.",
        "Set spec.suspend to false to continue.",
    ),
    R.RESTORED: Help(
        "The job comes from a backup and may have run before, so it does not start by itself.",
        "Look for its result in S3. To run it, set its annotation nanogrid.io/start-restored to "
        "its uid. Or delete it.",
    ),
    R.PREEMPTED: Help(
        "The scheduler or Kueue removed the pod for one of higher priority.", "Run the job again."
    ),
    R.NODE_LOST: Help("The pod's node does not respond.", "Run the job again, or allow retries."),
    R.IDLE_TIMEOUT: Help(
        "The session was idle for session.idleTimeoutSeconds and ended.",
        "Create a new session, or raise the timeout. Artifacts and records are in S3.",
    ),
    R.LIFETIME_EXCEEDED: Help(
        "The session reached session.maxLifetimeSeconds and ended.",
        "Create a new session, or raise the limit. Artifacts and records are in S3.",
    ),
    R.EXECUTION_LIMIT: Help(
        "The session reached session.maxExecutions and ended.",
        "Create a new session, or raise the limit. Artifacts and records are in S3.",
    ),
    R.SESSION_ENDED: Help(
        "A client ended the session.", "Nothing to do. Artifacts and records are in S3."
    ),
    R.SESSION_READY: Help("The session accepts requests.", "Nothing to do."),
    R.INITIALIZING: Help(
        "The session copies its inputs, or waits for its sandbox.",
        "Try again after the number of seconds in Retry-After.",
    ),
    R.SANDBOX_RESTARTED: Help(
        "The session's sandbox container restarted. Its contexts are lost, its files are not.",
        "Run the code that sets the variables of the context again. The usual cause is a lack of "
        "memory.",
    ),
    R.EXPOSURE_PENDING: Help(
        "The sandbox is ready. The load balancer of the session is not.", "Wait."
    ),
    R.EXPOSURE_FAILED: Help(
        "The load balancer controller cannot expose the session.",
        "Correct what the message of the controller names, or use session.expose: Router.",
    ),
    R.EXPOSURE_IGNORED: Help(
        "No load balancer controller has taken up the session.",
        "Check that the AWS Load Balancer Controller runs, and that it serves this Ingress class. "
        "See docs/eks.md.",
    ),
    R.TARGET_UNHEALTHY: Help(
        "The health checks of the load balancer do not reach the session.",
        "Let the load balancer reach port 9080 of the pods, in their security group, and compare "
        "the health check of its target group. See docs/eks.md.",
    ),
    R.CONTEXT_LOST: Help(
        "The process of a context ended (crash, out of memory, or deletion).",
        "The next execution with this name starts a new context without the old variables.",
    ),
    R.EXECUTION_RUNNING: Help(
        "Another execution runs, and session.concurrencyPolicy is Reject.",
        "Wait for its end, interrupt it with DELETE /executions/N, or use the policy Serial.",
    ),
    R.EXECUTION_INTERRUPTED: Help(
        "A client interrupted the execution.",
        "Nothing to do. If it was a mistake, run it again.",
    ),
    R.EXECUTION_NOT_FOUND: Help(
        "The session has no execution with this number.", "List them with GET /executions."
    ),
    R.EXECUTION_ENDED: Help(
        "The execution has ended, so it cannot be interrupted.",
        "Read its result with GET /executions/N.",
    ),
    R.CONTEXT_NOT_FOUND: Help(
        "The session has no context with this name.", "List them with GET /contexts."
    ),
    R.CONTEXT_LIMIT: Help(
        "The session has the maximum number of contexts.",
        "Delete a context with DELETE /contexts/NAME, or use one that exists.",
    ),
    R.FILE_NOT_FOUND: Help(
        "The workspace does not have this file.",
        "List the files with GET /files. Paths begin at /app.",
    ),
    R.FILE_TOO_LARGE: Help(
        "The file is larger than the API accepts.", "Store it in S3 and use /file-sync."
    ),
    R.QUEUE_FULL: Help(
        "Too many requests wait in the queue.",
        "Try again after the number of seconds in Retry-After.",
    ),
    R.BAD_REQUEST: Help(
        "The request is not valid. The message names the field.",
        "Correct the request. /openapi.json describes every request.",
    ),
    R.IDEMPOTENCY_CONFLICT: Help("Another request used this Idempotency-Key.", "Use a new key."),
    R.INTERNAL_ERROR: Help(
        "The API failed with an unexpected error.",
        "Read the traceback with `kubectl logs POD -c agent`. Try again.",
    ),
    R.UNAUTHORIZED: Help(
        "The request has no valid token.",
        "Send the session's token as Authorization: Bearer. It is in the Secret that "
        "status.session.tokenSecretName names.",
    ),
    R.WRONG_SESSION: Help(
        "The request names another session than the one that received it.",
        "Check the session id, and delete cookies of older sessions.",
    ),
    R.PREFIX_NOT_ALLOWED: Help(
        "The bucket or the prefix does not belong to this session.",
        "Use the session's prefix, or name the source in spec.inputs.",
    ),
    R.SESSION_NOT_FOUND: Help(
        "There is no session with this namespace and name.",
        "Check both with `kubectl get executionjobs --all-namespaces`.",
    ),
    R.SESSION_UNREACHABLE: Help(
        "The session's pod does not respond.",
        "Try again after the number of seconds in Retry-After. The job's status names the pod.",
    ),
    R.FUNCTION_NOT_FOUND: Help(
        "There is no function with this name, or it is being deleted.",
        "List the functions with `kubectl get fn`.",
    ),
    R.VERSION_NOT_FOUND: Help(
        "The function has no version with this number.",
        "List the versions with `kubectl get fn ID -o yaml`.",
    ),
    R.VERSION_LIMIT: Help(
        "The function has the maximum number of versions.", "Upload the code as a new function."
    ),
    R.FUNCTION_IN_USE: Help(
        "Some runs of the function have not ended, or other requests change or delete it.",
        "Wait until they end, or cancel them. Then try again.",
    ),
    R.RUN_NOT_FOUND: Help(
        "There is no run with this requestId, or it was deleted.", "List the runs with GET /runs."
    ),
    R.RUN_ENDED: Help("The run has ended.", "Read its result with GET /runs/ID."),
    R.OUTPUT_NOT_FOUND: Help(
        "The run has no output file with this name.",
        "The field outputs of the result lists all files. An unfinished run has none.",
    ),
    R.REQUEST_TOO_LARGE: Help(
        "The body of the request is larger than the gateway accepts.",
        "Store large data in S3, and put only its name into the request.",
    ),
    R.RATE_LIMITED: Help(
        "The caller sends too many requests, or has too many requests in progress.",
        "Try again after the number of seconds in Retry-After.",
    ),
    R.FORBIDDEN: Help(
        "The caller is authenticated, but does not have the permission for this request.",
        "Ask for the permission that the message names.",
    ),
    R.CLUSTER_UNAVAILABLE: Help(
        "The Kubernetes API server did not answer, or answered with an error.",
        "Try again. It is safe to repeat a request with the same requestId.",
    ),
    R.INVALID_SPEC: Help("The job's spec cannot be run.", "Fix the problem in the message."),
    R.NAME_CONFLICT: Help(
        "A pod that does not belong to this job has the name that the job needs.",
        "Delete or rename that pod, or give the job another name.",
    ),
    R.QUEUED: Help(
        "The job waits in the queue, because a limit or a quota leaves no room for its pod now.",
        "Nothing to do. The oldest job of the namespace starts first. To run more jobs at once, "
        "add nodes, or raise the limit that the message names.",
    ),
    R.POD_REJECTED: Help(
        "The API server refused the pod (quota, admission, or a missing service account).",
        "The message is from the API server. Change the quota, the policy or the spec.",
    ),
    R.NETWORK_UNKNOWN: Help(
        "The job waits for the first test of whether the cluster enforces NetworkPolicies.",
        "Wait.",
    ),
    R.NETWORK_NOT_ENFORCED: Help(
        "The network boundary that the job needs is not in force, so no code had a network.",
        "Install a network plugin that enforces NetworkPolicy, or set "
        "security.allowUnenforcedNetwork=true in the chart's values. "
        "`nanogrid doctor` shows the last test.",
    ),
    R.UNSCHEDULABLE: Help(
        "No node has room for the pod.",
        "Lower spec.resources, or add nodes. The message has the details.",
    ),
    R.IMAGE_PULL_FAILED: Help(
        "The node cannot pull an image of the pod.",
        "Check spec.runtime.image and the image pull secrets.",
    ),
    R.CONFIG_ERROR: Help(
        "The kubelet cannot create a container, for example because a Secret is missing.",
        "Create the missing object.",
    ),
    R.START_FAILED: Help(
        "The node cannot start a container of the pod, so no code ran.",
        "The message has the words of the node. Raise spec.resources.limits.memory if they are "
        "about memory. Otherwise check spec.runtime, or the node.",
    ),
    R.STARTUP_TIMEOUT: Help(
        "The code did not start within spec.timeouts.startupSeconds.",
        "Read in the message what the pod waited for.",
    ),
    R.DEADLINE_EXCEEDED: Help(
        "The pod ran longer than all of its timeouts together and was stopped.",
        "Read the pod's events. The agent may have lacked CPU or memory.",
    ),
    R.EVICTED: Help(
        "The pod was evicted: its node was drained, or lacked memory or disk space.",
        "If the message names memory or a volume, request what the job needs. Otherwise run the "
        "job again, or allow retries.",
    ),
    R.POD_LOST: Help(
        "The pod disappeared before it had a result.",
        "The pod or its node was deleted. Run the job again.",
    ),
    R.SANDBOX_LOST: Help(
        "The sandbox container ended before the launcher could report.",
        "Read the kubelet's reason in the message. Run the job again.",
    ),
    R.RUNTIME_INVALID: Help(
        "The runtime image cannot run the launcher.",
        "Build it on the executor image, or add python3 >= 3.11 to it. See docs/runtimes.md.",
    ),
    R.AGENT_FAILED: Help(
        "The agent container ended without a result.",
        "Read its log with `kubectl logs POD -c agent`.",
    ),
    R.RESULT_MISMATCH: Help(
        "The reported result contradicts the kubelet's status, so it is not trusted.",
        "Treat the output as manipulated.",
    ),
    R.RESULT_NOT_AUTHENTIC: Help(
        "A stored result has no valid authentication code, so it is ignored or replaced.",
        "Find out who else can write to S3, to Redis or to the status of pods.",
    ),
    R.RESULT_UNREADABLE: Help(
        "The pod is gone. S3, which may have its result, did not answer for 10 minutes.",
        "Fix S3 and look for results/{requestId}/result.json there, or run the job again.",
    ),
    R.POD_CREATED: Help("The pod exists but has not started.", "Wait."),
    R.POD_CLAIMED: Help("The job has taken a waiting pod of an ExecutionPool.", "Wait."),
    R.POOL_READY: Help("Pods of the pool wait for jobs.", "Nothing to do."),
    R.POOL_STARTING: Help("The first pods of the pool start.", "Wait."),
    R.POOL_NOT_READY: Help(
        "Pods of the pool do not get ready.",
        "Fix what the message says. Jobs start cold until then.",
    ),
    R.POOL_INVALID: Help(
        "The pool can have no pods: its spec is wrong, or its namespace does not allow it.",
        "Fix the problem in the message. Jobs start cold until then.",
    ),
    R.STARTED_COLD: Help(
        "No waiting pod of the job's ExecutionPool fits, so the job gets a pod of its own.",
        "Compare the job with the pool, or raise the pool's minReady and maxReady. See "
        "docs/pools.md.",
    ),
    R.RETRYING: Help("An attempt failed, and another attempt follows.", "Wait."),
    R.STOPPING: Help("The pod stops and stores its outputs.", "Wait."),
    R.SYNCING: Help("Inputs are copied and verified.", "Wait."),
    R.EXECUTING: Help("The code runs.", "Wait."),
    R.SYNCED: Help("All inputs are copied and verified.", "Nothing to do."),
    R.NO_INPUTS: Help("The job has no inputs.", "Nothing to do."),
    R.UPLOADED: Help("All output files are stored.", "Nothing to do."),
    R.NO_OUTPUTS: Help("The code wrote no output files.", "Nothing to do."),
    R.OUTPUTS_NOT_MATCHED: Help(
        "A pattern of spec.outputs matches no file, and files that it may mean are not stored or "
        "not left out.",
        "Correct the pattern. It is relative to outputs.path, and its case matters.",
    ),
    R.NOT_EXECUTED: Help("The code never ran.", "See the job's reason."),
    R.DELIVERED: Help(
        "Redis has the result, and a subscriber received it. A Redis Cluster counts no "
        "subscribers.",
        "Nothing to do.",
    ),
    R.NO_SUBSCRIBER: Help(
        "Redis has the result, but there was no subscriber.",
        "Read the key of the result or the stream. See docs/operations.md.",
    ),
    R.STORED: Help("S3 has the result.", "Nothing to do."),
    R.REDIS_UNAVAILABLE: Help(
        "Redis does not answer, or it is still starting. Delivery is retried until it answers.",
        "Check that Redis runs, and check redis.url.",
    ),
    R.REDIS_ACCESS_DENIED: Help(
        "Redis refused the operator's user or password. Delivery is retried.",
        "Correct the Secret and restart the operator, or correct the user's ACL. "
        "docs/operations.md lists the commands that it needs, and the rights of an IAM role.",
    ),
    R.REDIS_READ_ONLY: Help(
        "Redis is a read-only replica. Each retry of the delivery uses a new connection.",
        "Wait until the failover ends, or point redis.url at the primary.",
    ),
    R.REDIS_OUT_OF_MEMORY: Help(
        "Redis has reached maxmemory and does not evict keys. Delivery is retried.",
        "Raise maxmemory, or lower redis.resultTTLSeconds and redis.streamMaxLength.",
    ),
    R.REDIS_REFUSED: Help(
        "Redis answered with an error. Delivery is retried.", "Fix the problem in the message."
    ),
    R.REQUEST_ID_CONFLICT: Help(
        "The result of another job is stored under this requestId.",
        "Use a new requestId for each job.",
    ),
    R.WEBHOOK_PENDING: Help(
        "The webhook has not accepted the result yet. Delivery is retried for one day.",
        "Check the endpoint. The message has the last error.",
    ),
    R.WEBHOOK_ACCEPTED: Help("The webhook accepted the result.", "Nothing to do."),
    R.WEBHOOK_REFUSED: Help(
        "The webhook refused the result. There is no retry.",
        "Fix the endpoint or its URL. Read the result from the CR, S3 or Redis.",
    ),
    R.WEBHOOK_GIVEN_UP: Help(
        "The webhook did not accept the result for one day. There are no more retries.",
        "Read the result from the CR, S3 or Redis.",
    ),
}


def sentence(reason: Reason, detail: str = "", hint: str | None = None) -> str:
    """One line for a status message: meaning, detail, hint.

    Args:
        reason: gives the meaning.
        detail: what is special about this case.
        hint: default is the hint of statuses; see :mod:`nanogrid.hints` for others.
    """
    help_ = HELP[reason]
    hint = help_.hint if hint is None else hint
    detail = detail.strip().rstrip(". ")
    middle = f" {detail}." if detail else ""
    end = "" if hint in ("", "Nothing to do.", "Wait.") else f" {hint}"
    return f"{help_.meaning}{middle}{end}"


def reasons_markdown() -> str:
    """The page docs/reasons.md."""
    rows = [f"| `{r.value}` | {HELP[r].meaning} | {HELP[r].hint} |" for r in Reason]
    head = [
        "# Reasons",
        "",
        "Generated by `make manifests` from `sdk/src/nanogrid/reasons.py`; do not edit.",
        "",
        "| Reason | Meaning | Hint |",
        "|---|---|---|",
    ]
    return "\n".join(head + rows) + "\n"


def help_of(reason: str) -> Help | None:
    """Meaning and hint of a reason; None for a reason that this release does not know."""
    try:
        return HELP[Reason(reason)]
    except ValueError:
        return None
