"""What a user can do about a reason, in the terms of the tool that the user holds. Pure.

:data:`nanogrid.reasons.HELP` has the hints of statuses, which kubectl shows: they name fields of
the spec. Here are those that other tools need in other words. A hint that no table changes fits
all.
"""

from enum import StrEnum
from typing import Final

from nanogrid.reasons import HELP, Reason, sentence


class Surface(StrEnum):
    """Where a user meets a reason."""

    KUBECTL = "kubectl"
    CLI = "cli"
    CLIENT = "client"
    HTTP = "http"
    WEB = "web"


R = Reason
# Only the HTTP APIs of gateway and sessions answer with these reasons; a status never has them.
HTTP_ONLY: Final = frozenset({
    R.INITIALIZING, R.EXECUTION_RUNNING, R.EXECUTION_INTERRUPTED, R.EXECUTION_NOT_FOUND,
    R.EXECUTION_ENDED, R.CONTEXT_LIMIT, R.CONTEXT_LOST, R.CONTEXT_NOT_FOUND, R.FILE_NOT_FOUND,
    R.FILE_TOO_LARGE,
    R.QUEUE_FULL, R.BAD_REQUEST, R.IDEMPOTENCY_CONFLICT, R.INTERNAL_ERROR, R.UNAUTHORIZED,
    R.WRONG_SESSION, R.PREFIX_NOT_ALLOWED, R.SESSION_NOT_FOUND, R.SESSION_UNREACHABLE,
    R.FUNCTION_IN_USE, R.VERSION_LIMIT, R.RUN_NOT_FOUND, R.RUN_ENDED, R.OUTPUT_NOT_FOUND,
    R.REQUEST_TOO_LARGE, R.RATE_LIMITED, R.FORBIDDEN, R.CLUSTER_UNAVAILABLE,
})  # fmt: skip
_SOON: Final = "Try again in a few seconds."
_RETRY_AFTER: Final = "Try again after the seconds in retry_after of the error."

CLI: Final[dict[Reason, str]] = {
    R.NON_ZERO_EXIT: "Read its stderr with `nanogrid logs JOB`.",
    R.SIGNALED: "SIGSEGV and SIGABRT come from native libraries. `nanogrid get JOB` names the "
    "signal.",
    R.OOM_KILLED: "Raise --memory, or read the input in chunks.",
    R.EXECUTION_TIMEOUT: "Raise --timeout, or use the partial stdout to find where the code hangs.",
    R.ENTRYPOINT_NOT_FOUND: "Put main.py at the top level of the folder or ZIP, or in its only "
    "folder.",
    R.INPUT_TOO_LARGE: "Use a narrower prefix, or raise maxBytes in a manifest.",
    R.PATH_CONFLICT: "Give them different directories: --input SOURCE:/app/DIR.",
    R.INPUT_SYNC_TIMEOUT: "Copy less data, or raise inputSyncSeconds in a manifest.",
    R.CANCELLED: "`nanogrid retry JOB` runs it again.",
    R.SUSPENDED: "Set the field suspend of the job to false to continue.",
    R.RESTORED: "Look for its result in S3. To run it, set its annotation "
    "nanogrid.io/start-restored to its uid. `nanogrid delete JOB` deletes it.",
    R.INITIALIZING: _SOON,
    R.EXECUTION_RUNNING: "Wait for its end, or use the policy Serial for the session.",
    R.EXECUTION_NOT_FOUND: "Check the number of the execution.",
    R.EXECUTION_ENDED: "Nothing to do.",
    R.CONTEXT_NOT_FOUND: "Check the name of the context.",
    R.FILE_NOT_FOUND: "Check the path. Paths begin at /app.",
    R.FILE_TOO_LARGE: "Store it in S3 with `nanogrid upload`.",
    R.QUEUE_FULL: _SOON,
    R.BAD_REQUEST: "Correct the option or argument that the message names.",
    R.IDEMPOTENCY_CONFLICT: "Run the command again.",
    R.INTERNAL_ERROR: "Try again. The traceback is in the log of the server's pod.",
    R.UNAUTHORIZED: "Check the token in NANOGRID_TOKEN, or log in to the cluster again.",
    R.WRONG_SESSION: "Check the name of the session with `nanogrid session ls`.",
    R.PREFIX_NOT_ALLOWED: "Use the prefix of the session, or name the source as an input of it.",
    R.SESSION_NOT_FOUND: "List the sessions with `nanogrid session ls`.",
    R.SESSION_UNREACHABLE: _SOON,
    R.FUNCTION_NOT_FOUND: "List the functions with `nanogrid function list`.",
    R.VERSION_NOT_FOUND: "List the versions with `nanogrid function versions FUNCTION`.",
    R.RUN_NOT_FOUND: "Check the request id.",
    R.RUN_ENDED: "Run the function again with another --request-id.",
    R.OUTPUT_NOT_FOUND: "List the files with `nanogrid outputs ls JOB`.",
    R.RATE_LIMITED: _SOON,
    R.FORBIDDEN: "Ask for the permission that the message names.",
    R.CLUSTER_UNAVAILABLE: "Try again. With --request-id a repeated call finds the same run.",
    R.UNSCHEDULABLE: "Lower --memory and --cpu, or add nodes. The message has the details.",
    R.IMAGE_PULL_FAILED: "Check --image and the image pull secrets.",
    R.STARTUP_TIMEOUT: "`nanogrid why JOB` shows what the pod waited for.",
    R.DEADLINE_EXCEEDED: "Read the events with `nanogrid why JOB`. The agent may have lacked CPU "
    "or memory.",
    R.RESULT_UNREADABLE: "Fix S3 and look for the result there, or run the job again.",
    R.POD_REJECTED: "The message is from the API server. Change the quota, the policy or the job.",
    R.START_FAILED: "The message has the words of the node. Raise --memory if they "
    "are about memory. Otherwise check --image, or the node.",
    R.CONTEXT_LIMIT: "Use a context that exists, or none with --process.",
    R.ENTRYPOINT_NOT_EXECUTABLE: "Set the execute permission with `chmod +x` before you pack it.",
    R.PROCESS_REFUSED: "Run it again with `nanogrid retry JOB`. If it happens "
    "again, raise --memory.",
}

CLIENT: Final[dict[Reason, str]] = {
    R.NON_ZERO_EXIT: "Read stderr of the result.",
    R.SIGNALED: "See raw['signal'] of the result. SIGSEGV and SIGABRT come from native libraries.",
    R.OOM_KILLED: "Raise memory=, or read the input in chunks.",
    R.EXECUTION_TIMEOUT: "Raise timeout=, or use the partial stdout to find where the code hangs.",
    R.ENTRYPOINT_NOT_FOUND: "Put main.py at the top level of the archive or in its only folder, or "
    "give command=.",
    R.INPUT_SYNC_TIMEOUT: "Copy less data, or raise inputSyncSeconds with spec=.",
    R.CANCELLED: "Run.retry() runs it again.",
    R.SUSPENDED: "Set the field suspend of the job to false to continue.",
    R.RESTORED: "Look for its result in S3. To run it, set its annotation "
    "nanogrid.io/start-restored to its uid. Or delete it with Run.delete().",
    R.INITIALIZING: _RETRY_AFTER,
    R.EXECUTION_RUNNING: "Wait for its end, interrupt it with Session.interrupt(), or use the "
    "policy Serial.",
    R.EXECUTION_NOT_FOUND: "Check the number of the execution.",
    R.EXECUTION_ENDED: "Nothing to do.",
    R.CONTEXT_NOT_FOUND: "List them with Session.contexts().",
    R.FILE_NOT_FOUND: "List the files with Session.files.list(). Paths begin at /app.",
    R.FILE_TOO_LARGE: "Store it in S3 and use Session.sync().",
    R.QUEUE_FULL: _RETRY_AFTER,
    R.BAD_REQUEST: "Correct the argument that the message names.",
    R.IDEMPOTENCY_CONFLICT: "Call it again.",
    R.UNAUTHORIZED: "Check the token, and the credentials of the kubeconfig.",
    R.WRONG_SESSION: "Check the name of the session.",
    R.PREFIX_NOT_ALLOWED: "Use the prefix of the session, or name the source in inputs=.",
    R.SESSION_NOT_FOUND: "Check the namespace and the name.",
    R.SESSION_UNREACHABLE: _RETRY_AFTER,
    R.FUNCTION_NOT_FOUND: "List the functions with client.functions.list().",
    R.VERSION_NOT_FOUND: "Read the versions with client.functions.get().",
    R.RUN_NOT_FOUND: "Check the request_id.",
    R.RUN_ENDED: "Read its result.",
    R.OUTPUT_NOT_FOUND: "Result.outputs has all files. An unfinished run has none.",
    R.RATE_LIMITED: _RETRY_AFTER,
    R.FORBIDDEN: "Ask for the permission that the message names.",
    R.CLUSTER_UNAVAILABLE: "Try again. It is safe to repeat a call with the same request_id.",
    R.UNSCHEDULABLE: "Lower memory= and cpu=, or add nodes. The message has the details.",
    R.IMAGE_PULL_FAILED: "Check image= and the image pull secrets.",
    R.POD_REJECTED: "The message is from the API server. Change the quota, the policy or the job.",
    R.START_FAILED: "The message has the words of the node. Raise memory= if they "
    "are about memory. Otherwise check image=, or the node.",
    R.CONTEXT_LIMIT: "Delete a context with Session.drop_context(), or use one that exists.",
    R.ENTRYPOINT_NOT_EXECUTABLE: "Set the execute permission with `chmod +x` before you pack "
    "it, or begin command= with the interpreter.",
    R.PROCESS_REFUSED: "Run it again, or allow retries=. If it happens again, raise memory=.",
}

_ADMINISTRATOR: Final = "Ask an administrator for the log of the pod."
HTTP: Final[dict[Reason, str]] = {
    R.POOL_NOT_READY: "Ask an administrator. The message names the cause.",
    R.POOL_INVALID: "Ask an administrator. The message names the cause.",
    R.NON_ZERO_EXIT: "Read stderr of the result.",
    R.SIGNALED: "See signal in the result. SIGSEGV and SIGABRT come from native libraries.",
    R.OOM_KILLED: "Give the code more memory, or read the input in chunks.",
    R.ENTRYPOINT_NOT_FOUND: "Put main.py at the top level of the archive or in its only folder, or "
    "give entryPoint.",
    R.EXECUTION_TIMEOUT: "Raise the timeout, or use the partial stdout to find where the code "
    "hangs.",
    R.INPUT_NOT_FOUND: "Compare bucket, key and prefix in the message with S3. Upload the missing "
    "files.",
    R.SYNC_FAILED: _ADMINISTRATOR,
    R.INPUT_SYNC_TIMEOUT: "Copy less data.",
    R.CANCELLED: "Start a new run.",
    R.SUSPENDED: "Ask an administrator to resume the job.",
    R.RESTORED: "Start a new run, or ask an administrator to start this one.",
    R.INTERNAL_ERROR: f"Try again. {_ADMINISTRATOR}",
    R.UNAUTHORIZED: "Send a valid token as Authorization: Bearer.",
    R.SESSION_NOT_FOUND: "Check the namespace and the name in the path.",
    R.SESSION_UNREACHABLE: "Try again after the number of seconds in Retry-After.",
    R.PREFIX_NOT_ALLOWED: "Use the session's prefix, or name the source as an input of the "
    "session.",
    R.FUNCTION_NOT_FOUND: "List the functions with GET /functions.",
    R.VERSION_NOT_FOUND: "List the versions with GET /functions/ID/versions.",
    R.FORBIDDEN: "Ask for the permission that the message names, in the gateway's namespace.",
    R.NETWORK_NOT_ENFORCED: "Ask an administrator for a network plugin that enforces "
    "NetworkPolicies.",
    R.POD_REJECTED: "Ask an administrator. The message is from the API server.",
    R.UNSCHEDULABLE: "Give the code less memory, or ask an administrator for nodes.",
    R.IMAGE_PULL_FAILED: "Ask an administrator. The message names the image.",
    R.AGENT_FAILED: _ADMINISTRATOR,
    R.REDIS_UNAVAILABLE: "Ask an administrator to check Redis.",
    R.REDIS_ACCESS_DENIED: "Ask an administrator to check Redis.",
    R.REDIS_READ_ONLY: "Ask an administrator to check Redis.",
    R.REDIS_OUT_OF_MEMORY: "Ask an administrator to check Redis.",
    R.START_FAILED: "The message has the words of the node. Give the code more memory if they "
    "are about memory. Otherwise ask an administrator.",
    R.ENTRYPOINT_NOT_EXECUTABLE: "Set the execute permission with `chmod +x` before you pack it.",
    R.PROCESS_REFUSED: "Run it again. If it happens again, give the code more memory.",
}

_RELOAD: Final = "Wait a few seconds, then reload the page."
_NAME: Final = "Check the name."
# A reader of the page holds no tool: what the page has no button for is said without its name.
WEB: Final[dict[Reason, str]] = HTTP | {
    R.NON_ZERO_EXIT: "Read stderr on this page.",
    R.SIGNALED: "SIGSEGV and SIGABRT come from native libraries.",
    R.ENTRYPOINT_NOT_FOUND: "Put main.py at the top level of the archive or in its only folder, or "
    "name the file to start.",
    R.INPUT_TOO_LARGE: "Use fewer or smaller inputs, or allow more bytes for this input.",
    R.PATH_CONFLICT: "Give them different folders.",
    R.TERMINATED: "Ask an administrator who deleted or drained the pod. Run the job again.",
    R.INITIALIZING: _RELOAD,
    R.EXECUTION_RUNNING: "Wait for its end.",
    R.EXECUTION_NOT_FOUND: "Check the number of the execution.",
    R.EXECUTION_ENDED: "Nothing to do.",
    R.CONTEXT_NOT_FOUND: _NAME,
    R.CONTEXT_LIMIT: "Use a context that exists.",
    R.FILE_NOT_FOUND: "Reload the page.",
    R.FILE_TOO_LARGE: "Store it in S3.",
    R.QUEUE_FULL: _RELOAD,
    R.BAD_REQUEST: "Go back, and correct the input.",
    R.INTERNAL_ERROR: _RELOAD,
    R.UNAUTHORIZED: "Copy the token again, or create a new one.",
    R.SESSION_NOT_FOUND: _NAME,
    R.SESSION_UNREACHABLE: _RELOAD,
    R.FUNCTION_NOT_FOUND: "The page Functions lists all functions.",
    R.VERSION_NOT_FOUND: "The page of the function lists its versions.",
    R.RUN_NOT_FOUND: "The page Runs lists all runs.",
    R.RUN_ENDED: "The page of the run shows its result.",
    R.OUTPUT_NOT_FOUND: "The page of the run lists its files. An unfinished run has none.",
    R.REQUEST_TOO_LARGE: "Send less.",
    R.RATE_LIMITED: _RELOAD,
    R.FORBIDDEN: "Ask an administrator of the namespace for a role with this permission, for "
    "example view or edit. Or sign in with another token.",
    R.CLUSTER_UNAVAILABLE: _RELOAD,
    R.DEADLINE_EXCEEDED: "Ask an administrator for the events of the pod. The agent may have "
    "lacked CPU or memory.",
    R.OUTPUTS_NOT_MATCHED: "Correct the pattern. It is relative to the output folder, and its case "
    "matters.",
    R.NO_SUBSCRIBER: "Nothing to do. The result is on this page.",
    R.WEBHOOK_REFUSED: "Fix the endpoint or its URL. The result is on this page.",
    R.WEBHOOK_GIVEN_UP: "The result is on this page.",
}

_TABLES: Final = {Surface.CLI: CLI, Surface.CLIENT: CLIENT, Surface.HTTP: HTTP, Surface.WEB: WEB}


def hint_for(reason: str, surface: Surface, job: str = "JOB") -> str:
    """The hint of a reason for users of ``surface``; "" for a reason of a newer release.

    Args:
        reason: of a status or an error.
        surface: where the user reads it.
        job: name of the job in the commands of the hint.
    """
    try:
        known = Reason(reason)
    except ValueError:
        return ""
    return _TABLES.get(surface, {}).get(known, HELP[known].hint).replace("JOB", job)


def sentence_for(reason: Reason, detail: str, surface: Surface) -> str:
    """Meaning, detail and hint for users of ``surface``, in one line."""
    return sentence(reason, detail, hint_for(reason, surface))


def without_hint(reason: str, message: str) -> str:
    """A status message without the hint of its reason, for tools that show their own hint."""
    for surface in _WRITERS:
        message = _replaced(message, hint_for(reason, surface), "")
    return message


def reworded(message: str, surface: Surface, job: str = "JOB") -> str:
    """A status message with each of its hints in the words of ``surface``.

    A message can have hints of several reasons, for example of what stopped a job and of the
    result before that. Text may follow a hint. A hint of several reasons stays if ``surface`` has
    different words for them: the message does not say which it is.
    """
    for hint, reasons in _WRITTEN:
        if hint not in message:  # of about 200: a list of thousands of jobs asks for each of them
            continue
        words = {hint_for(reason, surface, job) for reason in reasons}
        if len(words) == 1:
            message = _replaced(message, hint, words.pop())
    return message


# Who writes messages: operator and agent for statuses, sessions and router for HTTP.
_WRITERS: Final = (Surface.KUBECTL, Surface.HTTP)


def _reasons_of_hints() -> dict[str, list[Reason]]:
    found: dict[str, list[Reason]] = {}
    for writer in _WRITERS:
        for reason in Reason:
            found.setdefault(hint_for(reason, writer), []).append(reason)
    return found


# The longest first: a short hint may be a part of a longer one.
_WRITTEN: Final = sorted(_reasons_of_hints().items(), key=lambda item: -len(item[0]))


def _replaced(message: str, hint: str, by: str) -> str:
    """The message with another text in place of a hint that is whole sentences of it."""
    begin, found, rest = message.partition(hint) if hint else (message, "", "")
    if not found or (begin and not begin.endswith(" ")) or (rest and not rest.startswith(" ")):
        return message
    return " ".join(part for part in (begin.strip(), by, rest.strip()) if part)
