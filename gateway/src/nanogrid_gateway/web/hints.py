"""What to do about an error, for a reader of the web page: the API's hints name HTTP requests."""

from typing import Final

from nanogrid.reasons import Reason
from nanogrid_gateway.api.errors import ApiError

_WAIT: Final = "Wait a few seconds, then reload the page."
HINTS: Final[dict[Reason, str]] = {
    Reason.BAD_REQUEST: "Go back, and correct the input.",
    Reason.UNAUTHORIZED: "Copy the token again, or create a new one.",
    Reason.FORBIDDEN: "Ask an administrator of the namespace for a role with this permission, for "
    "example view or edit. Or sign in with another token.",
    Reason.RUN_NOT_FOUND: "The page Runs lists all runs.",
    Reason.RUN_ENDED: "The page of the run shows its result.",
    Reason.FUNCTION_NOT_FOUND: "The page Functions lists all functions.",
    Reason.VERSION_NOT_FOUND: "The page of the function lists its versions.",
    Reason.OUTPUT_NOT_FOUND: "The page of the run lists its files. An unfinished run has none.",
    Reason.FILE_NOT_FOUND: "Reload the page.",
    Reason.REQUEST_TOO_LARGE: "Send less.",
    Reason.RATE_LIMITED: _WAIT,
    Reason.CLUSTER_UNAVAILABLE: _WAIT,
    Reason.STORAGE_UNAVAILABLE: _WAIT,
    Reason.INTERNAL_ERROR: _WAIT,
}


def hint_of(error: ApiError) -> str:
    """The hint for a reader; empty if the error's text says what to do."""
    return HINTS.get(error.reason, error.hint) if error.hint else ""
