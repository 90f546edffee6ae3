"""How a job started, as its status shows it to people. Pure."""

from nanogrid.reasons import HELP, Reason
from nanogrid.types import Json


def job_start(status: Json) -> str:
    """``Warm``, or ``Cold`` and why a job with a pool started cold; empty if it is not known.

    The message of a cold start is a sentence for statuses: meaning, cause, hint. This has the
    cause only.
    """
    start = str(status.get("start") or "")
    known = HELP[Reason.STARTED_COLD]
    message = str(status.get("startMessage") or "")
    cause = message.removeprefix(known.meaning).removesuffix(known.hint).strip().rstrip(".")
    return f"{start}: {cause}" if start and cause else start
