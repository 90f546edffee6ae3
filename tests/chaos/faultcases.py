"""Tables of S3 faults for jobs that run in parallel: each job has its own keys, and so its faults.

A case has a job's spec, the faults of S3 calls on its keys, and the expected status.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from xml.sax.saxutils import escape

from chaos.lab.faultproxy import FaultProxy
from chaos.lab.faults import Answer, Call, Effect, Fault
from nanogrid import names
from nanogrid.types import Json
from support.s3_server import BUCKET

Picks = Callable[[Call], bool]
DATE = "2024-01-01T00:00:00.000Z"


@dataclass(frozen=True)
class S3Fault:
    """A fault of some S3 calls of one case; with ``times`` None it does not end."""

    effect: Effect
    method: str = ""  # empty: any
    query: tuple[str, ...] = ()  # required query parameters, as in partNumber or partNumber=2
    no_query: tuple[str, ...] = ()  # query parameters that must be absent
    times: int | None = None
    key: str = ""  # the end of the key; empty: any

    def picks(self, key: str) -> Picks:
        """A predicate: calls on a key (or on a listing of it) that this fault applies to."""

        def picks(call: Call) -> bool:
            return (
                touches(call, key)
                and call.path.endswith(self.key)
                and self.method in ("", call.method)
                and all(_has(call, parameter) for parameter in self.query)
                and not any(_has(call, parameter) for parameter in self.no_query)
            )

        return picks


@dataclass(frozen=True)
class Case:
    """One job, its faults, and its expected end.

    Attributes:
        name: the job's name; its objects are below ``in/{name}/`` and ``outputs/{name}/``.
        faults: the first that matches a call wins.
        spec: more fields of the job's spec.
        reason: ``status.reason`` at the end.
        message: a part of ``status.message``.
        tries: the number of calls with a fault; None if it is not checked.
        seconds: most that the phase may take; the defaults of the timeouts are longer.
        stored: keys, below the outputs' prefix, of the result's outputs; they must be in S3.
    """

    name: str
    faults: Sequence[S3Fault] = ()
    spec: Json = field(default_factory=dict)
    code: str = ""
    reason: str = "Completed"
    message: str = ""
    tries: int | None = None
    seconds: float = 120.0
    stored: tuple[str, ...] = ()

    @property
    def succeeds(self) -> bool:
        """Whether the job succeeds."""
        return self.reason == "Completed"


def inject(proxy: FaultProxy, case: Case, key: str) -> list[Fault]:
    """Apply a case's faults to the calls on its keys."""
    return [proxy.fault(f.picks(key), f.effect, f.times) for f in case.faults]


def touches(call: Call, key: str) -> bool:
    """Whether an S3 call uses a key with this prefix, or lists such keys."""
    path = call.path.removeprefix(f"/{BUCKET}").lstrip("/")
    return path.startswith(key) or call.query.get("prefix", "").startswith(key)


def _has(call: Call, parameter: str) -> bool:
    name, _, value = parameter.partition("=")
    return name in call.query and value in ("", call.query[name])


def s3_error(status: int, code: str, message: str = "") -> Answer:
    """An error in the format of S3."""
    text = f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    return Answer(status, text.encode(), {"Content-Type": "application/xml"})


def listing(*keys: str, after: str = "") -> Answer:
    """A page of a listing; ``after`` is the token of the next page."""
    entries = "".join(
        f"<Contents><Key>{escape(key)}</Key><Size>7</Size><ETag>&quot;e&quot;</ETag>"
        f"<LastModified>{DATE}</LastModified></Contents>"
        for key in keys
    )
    more = f"<NextContinuationToken>{after}</NextContinuationToken>" if after else ""
    truncated = "true" if after else "false"
    text = f"<ListBucketResult><IsTruncated>{truncated}</IsTruncated>{more}{entries}"
    text += "</ListBucketResult>"
    return Answer(200, text.encode(), {"Content-Type": "application/xml"})


def intervals(calls: Sequence[Call]) -> list[float]:
    """The seconds between each call and the next."""
    return [b.at - a.at for a, b in pairwise(calls)]


DENIED = s3_error(403, "AccessDenied", "Access Denied")
INTERNAL = s3_error(500, "InternalError", "We encountered an internal error")
SLOW_DOWN = s3_error(503, "SlowDown", "Please reduce your request rate")
EXPIRED = s3_error(400, "ExpiredToken", "The provided token has expired")


def input_key(case: str, name: str = "") -> str:
    """The key of one of a case's inputs; without a name, the prefix of all inputs."""
    return f"in/{case}/{name}"


def one_input(case: str, **source: Any) -> Json:
    """Part of a spec with one input: the case's object ``a``, or another source."""
    given = source or {"key": input_key(case, "a")}
    return {"inputs": [{"name": "data", "s3": given}]}


def output_prefix(case: str) -> str:
    """The prefix of a case's outputs."""
    return names.outputs_prefix(case)
