"""Errors of the client: each has a ``message`` (what happened) and a ``hint`` (how to fix it).

An :class:`ApiError` is the refusal of an HTTP API (Kubernetes, gateway, session). The errors of
failed jobs are in :mod:`nanogrid.client.jobs.result`.
"""

from typing import Final

from nanogrid.hints import Surface, hint_for
from nanogrid.kube.conventions import KubeError


class NanoGridError(Exception):
    """The base class of all errors of this package."""

    default_hint = ""

    def __init__(self, message: str, hint: str = "", command_hint: str = "") -> None:
        """Make the error.

        Args:
            message: what happened.
            hint: how to fix it in Python.
            command_hint: how to fix it on the command line, if that differs.
        """
        self.message = message
        self.hint = hint or self.default_hint
        self.command_hint = command_hint
        super().__init__(f"{message} {self.hint}".strip())


class NotConfigured(NanoGridError):
    """Credentials or an address are missing."""

    default_hint = "Set KUBECONFIG, or give context= or kubeconfig=."


class InvalidRequest(NanoGridError, ValueError):
    """Arguments contradict each other or do not match the schema; nothing was sent."""


class WaitTimeout(NanoGridError, TimeoutError):
    """The wait is over and the job still runs."""

    default_hint = "Wait again with Run.wait(), or stop the job with Run.cancel()."


class JobDeleted(NanoGridError):
    """The job was deleted during the wait."""

    default_hint = (
        "Its result, if it had one, is in S3: results/{requestId}/result.json below the root of "
        "the namespace."
    )


class ApiError(NanoGridError):
    """An HTTP API did not answer with success.

    Attributes:
        status: HTTP status; 0 when there was no answer.
        reason: reason that the server gives, for example NotFound.
        retry_after: seconds to wait before a retry, from the server; 0 when it gives none.
    """

    default_hint = "Try again. If the error stays, see the server's log."

    def __init__(
        self, status: int, reason: str, message: str, hint: str = "", retry_after: float = 0.0
    ) -> None:
        super().__init__(message, hint)
        self.status = status
        self.reason = reason
        self.retry_after = retry_after

    @property
    def transient(self) -> bool:
        """Whether a retry may succeed: no answer, 429, or an error of the server (5xx)."""
        return self.status in (0, 429) or self.status >= 500


class Unreachable(ApiError):
    """There is no readable answer; a write may have happened."""

    default_hint = "Check that the server runs and that its address is reachable from here."


class Unauthorized(ApiError):
    """The credentials are missing, wrong or expired."""

    default_hint = "Log in again, or check the user in the kubeconfig, or the token."


class Forbidden(ApiError):
    """The credentials are valid but do not allow the request."""

    default_hint = "Ask for a role with the verb and resource that the message names."


class NotFound(ApiError):
    """The object or the API does not exist."""

    default_hint = "Check name and namespace. client.list(all_namespaces=True) gives all jobs."


class Conflict(ApiError):
    """An object with this name exists, or another client changed the object."""

    default_hint = "Use another name, or read the object again."


class Invalid(ApiError):
    """The server rejects the object as invalid; the message names the field."""

    default_hint = "Fix the field. docs/executionjob.md describes all fields."


class Expired(ApiError):
    """A resourceVersion is too old, or a session has ended (410)."""


_BY_STATUS: Final[dict[int, type[ApiError]]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Expired,
    422: Invalid,
}


def api_error(
    status: int, reason: str, message: str, hint: str = "", retry_after: float = 0.0
) -> ApiError:
    """The error for an HTTP status; without ``hint`` it has the hint of its NanoGrid reason."""
    kind = _BY_STATUS.get(status, ApiError)
    text = message or f"HTTP {status} {reason}"
    return kind(status, reason, text, hint or hint_of(reason), retry_after)


def of_kube(error: KubeError) -> ApiError:
    """The client's error for an error of the API server.

    Its reasons are those of Kubernetes. Some have the name of a reason of NanoGrid and another
    meaning, so the hint is that of the error class.
    """
    kind = _BY_STATUS.get(error.code, ApiError)
    text = error.message or f"HTTP {error.code} {error.reason}"
    return kind(error.code, error.reason, text, retry_after=error.retry_after)


def hint_of(reason: str) -> str:
    """The hint of a reason for users of this client; "" for a reason of a newer release."""
    return hint_for(reason, Surface.CLIENT)


def refused_for(reason: str, message: str) -> InvalidRequest:
    """The error for files or fields that a job would refuse with this reason."""
    return InvalidRequest(message, hint_of(reason), hint_for(reason, Surface.CLI))
