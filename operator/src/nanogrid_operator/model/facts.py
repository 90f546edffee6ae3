"""From an ExecutionJob's JSON to the few facts that decisions need. Pure."""

from dataclasses import dataclass, field

from pydantic import ValidationError

from nanogrid.api.faults import faults
from nanogrid.api.fields import STARTED
from nanogrid.api.function_spec import FunctionRef
from nanogrid.api.job import ExecutionJob, Spec
from nanogrid.api.pinned_function import PinnedFunction
from nanogrid.controller_class import NO_CLASS
from nanogrid.lifecycle import TERMINAL_PHASES, Phase, finished
from nanogrid.types import Json
from nanogrid_operator.kube.objects import seconds
from nanogrid_operator.model.function_ref import effective
from nanogrid_operator.model.lifecycle import kept, named_ttl, settled, unstored
from nanogrid_operator.model.remembered import remembered
from nanogrid_operator.model.restored import restored


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt that has ended, as status.attempts keeps it. Times in seconds since the epoch."""

    number: int
    reason: str
    exit_code: int | None
    counted: bool
    started: float | None
    ended: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The facts of an ExecutionJob.

    ``model`` has the spec in force, with what is pinned of a function; None if it is invalid.
    ``restored`` says why it must not start by itself; see :mod:`.restored`.
    """

    uid: str
    namespace: str
    name: str
    generation: int
    resource_version: str
    deleting: bool
    created: float
    model: ExecutionJob | None
    error: str = ""
    ttl_seconds: int | None = None  # that the spec names
    kept: bool = False  # the default time to live does not hold
    restored: str = ""
    start_message: str = ""  # why the current attempt starts cold, of a job with a pool
    status: Json = field(default_factory=dict)
    attempts: tuple[Attempt, ...] = ()

    @property
    def spec(self) -> Spec | None:
        """The spec in force; None if it is invalid."""
        return self.model.spec if self.model else None

    @property
    def controller_class(self) -> str:
        """The class of the installation that runs it; empty: none."""
        return (self.spec and self.spec.controller_class) or NO_CLASS

    @property
    def finished(self) -> bool:
        """Whether the terminal status is written; it never changes again."""
        return self.status.get("phase") in TERMINAL_PHASES

    @property
    def attempt(self) -> int:
        """The number of the current attempt: all attempts before it have ended."""
        return self.attempts[-1].number + 1 if self.attempts else 0

    @property
    def completed(self) -> float | None:
        """When the job ended, in seconds since the epoch."""
        return seconds(self.status.get("completionTime"))

    @property
    def unpinned_function(self) -> FunctionRef | None:
        """The function that is not read yet, so that the code is unknown; None otherwise."""
        spec = self.spec
        return spec.function_ref if spec is not None and spec.code is None else None

    @property
    def undelivered(self) -> bool:
        """Whether Redis does not have the result yet."""
        return self.finished and (self.status.get("delivery") or {}).get("state") == "Pending"

    @property
    def unstored(self) -> bool:
        """Whether S3 does not have the result yet."""
        return self.finished and unstored(self.status)

    @property
    def webhook_pending(self) -> bool:
        """Whether the webhook does not have the result yet."""
        webhook = (self.status.get("delivery") or {}).get("webhook") or {}
        return self.finished and webhook.get("state") == "Pending"

    @property
    def request_id(self) -> str:
        """The requestId in force."""
        return (self.spec.request_id if self.spec else None) or self.uid


_WITH_POD = frozenset({Phase.SYNCING.value, Phase.RUNNING.value})


@remembered(most=512)
def job_facts(body: Json) -> Job:
    """Read an ExecutionJob, which must not change afterwards.

    An invalid spec is a fact too, not an error.
    """
    meta = body["metadata"]
    model: ExecutionJob | None = None
    error = ""
    try:
        # The cache keeps no spec of a settled job, and no decision needs it.
        model = None if settled(body) else _model(body)
    except ValidationError as e:
        error = faults(e, ExecutionJob)
    return Job(
        uid=meta["uid"],
        namespace=meta["namespace"],
        name=meta["name"],
        generation=meta.get("generation", 0),
        resource_version=meta["resourceVersion"],
        deleting=bool(meta.get("deletionTimestamp")),
        created=seconds(meta.get("creationTimestamp")) or 0.0,
        model=model,
        error=error,
        ttl_seconds=named_ttl(body),
        kept=kept(body),
        restored="" if finished(body) else restored(body),
        status=body.get("status") or {},
        attempts=tuple(_attempt(a) for a in (body.get("status") or {}).get("attempts") or []),
    )


def _model(body: Json) -> ExecutionJob:
    """The job. An upgrade that raises the least amounts does not end what already has its pod."""
    status = body.get("status") or {}
    context = STARTED if status.get("phase") in _WITH_POD else None
    kept = {k: v for k, v in body.items() if k in ("apiVersion", "kind", "metadata", "spec")}
    model = ExecutionJob.model_validate(kept, context=context)
    if model.spec.function_ref is None:
        return model
    kept_pin = status.get("function")
    pinned = None if kept_pin is None else PinnedFunction.model_validate(kept_pin, context=context)
    return model.model_copy(update={"spec": effective(model.spec, pinned)})


def _attempt(data: Json) -> Attempt:
    return Attempt(
        number=data["number"],
        reason=data["reason"],
        exit_code=data.get("exitCode"),
        counted=data.get("counted", False),
        started=seconds(data.get("startTime")),
        ended=seconds(data.get("completionTime")),
    )
