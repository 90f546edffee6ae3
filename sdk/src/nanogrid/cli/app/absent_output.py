"""Why a job has no output: it has not started, or it ended before its code ran. Pure."""

from nanogrid.cli.app.errors import CliError
from nanogrid.hints import Surface, hint_for, without_hint
from nanogrid.lifecycle import Phase, finished, phase_of
from nanogrid.reasons import Reason, help_of
from nanogrid.types import Json

_STARTED = (Phase.RUNNING.value, Phase.SUCCEEDED.value)


def why_absent(job: Json, flags: str = "") -> CliError | None:
    """The error for a job without output; None if its code runs or has run.

    Args:
        job: the ExecutionJob.
        flags: the cluster options to repeat in a hint.
    """
    status, name = job.get("status") or {}, job["metadata"]["name"]
    result, phase = status.get("result") or {}, phase_of(job)
    reason = str(status.get("reason") or "")
    ran = result.get("exitCode") is not None
    if phase in _STARTED or ran or any(result.get(key) for key in ("stdout", "stderr", "outputs")):
        return None
    known, hint = help_of(reason), hint_for(reason, Surface.CLI, name)
    meaning = known.meaning if known else "The operator has not processed the job yet."
    if not finished(job):
        state = f"{phase}, {reason}" if reason else phase
        hint = f"Follow it: nanogrid logs -f {name}{flags}"
        return CliError(f"{name} has not started ({state}). {meaning}", hint)
    message = without_hint(reason, str(status.get("message") or "").strip()) or meaning
    if reason == Reason.CANCELLED:
        message = "It was stopped before its code printed anything."
    hint = hint or f"nanogrid why {name}{flags}"
    return CliError(f"{name} has no output: {reason}. {message}", hint)
