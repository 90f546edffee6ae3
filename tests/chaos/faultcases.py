"""Tables of S3 faults for jobs that run side by side: each job has keys, and so faults, of its own.

A case says what a job asks for, what befalls the S3 calls on its keys, and what its user must see.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from xml.sax.saxutils import escape

from chaos.lab.faultproxy import Answer, Call, Effect, Fault, FaultProxy
from integration.support import BUCKET
from nanogrid import names

Json = dict[str, Any]
Picks = Callable[[Call], bool]
DATE = "2024-01-01T00:00:00.000Z"


@dataclass(frozen=True)
class Trouble:
    """What befalls some S3 calls of one case; ``times`` None is for ever."""

    effect: Effect
    method: str = ""  # any
    having: tuple[str, ...] = ()  # query parameters, as in partNumber or partNumber=2
    lacking: tuple[str, ...] = ()
    times: int | None = None
    key: str = ""  # the end of the key; any

    def picks(self, key: str) -> Picks:
        """Whether a call is one on a key (or on a listing of it) that this befalls."""

        def picks(call: Call) -> bool:
            return (
                touches(call, key)
                and call.path.endswith(self.key)
                and self.method in ("", call.method)
                and all(_has(call, word) for word in self.having)
                and not any(_has(call, word) for word in self.lacking)
            )

        return picks


@dataclass(frozen=True)
class Case:
    """One job, its fault, and its end.

    Attributes:
        name: of the job; its objects are below ``in/{name}/`` and ``outputs/{name}/``.
        troubles: the first that fits a call wins.
        spec: more of the job's spec.
        reason: ``status.reason`` at the end.
        says: words of ``status.message``.
        tries: how many calls met the troubles; None when it does not matter.
        seconds: most that the phase may take, the pod's start left out.
        stored: keys, below the outputs' prefix, of the result's outputs, which must be in S3.
    """

    name: str
    troubles: Sequence[Trouble] = ()
    spec: Json = field(default_factory=dict)
    code: str = ""
    reason: str = "Completed"
    says: str = ""
    tries: int | None = None
    seconds: float = 20.0
    stored: tuple[str, ...] = ()

    @property
    def succeeds(self) -> bool:
        """Whether the job does."""
        return self.reason == "Completed"


def inject(proxy: FaultProxy, case: Case, key: str) -> list[Fault]:
    """Have a case's troubles befall the calls on its keys."""
    return [proxy.fault(t.picks(key), t.effect, t.times) for t in case.troubles]


def touches(call: Call, key: str) -> bool:
    """Whether an S3 call is about a key that begins so, or lists such keys."""
    path = call.path.removeprefix(f"/{BUCKET}").lstrip("/")
    return path.startswith(key) or call.query.get("prefix", "").startswith(key)


def _has(call: Call, word: str) -> bool:
    name, _, value = word.partition("=")
    return name in call.query and value in ("", call.query[name])


def s3_error(status: int, code: str, message: str = "") -> Answer:
    """An error in S3's own words."""
    text = f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    return Answer(status, text.encode(), {"Content-Type": "application/xml"})


def listing(*keys: str, after: str = "") -> Answer:
    """A page of a listing; ``after`` is the token of the next one."""
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


def retried(calls: Sequence[Call]) -> list[float]:
    """Seconds between one call and the next."""
    return [b.at - a.at for a, b in pairwise(calls)]


DENIED = s3_error(403, "AccessDenied", "Access Denied")
INTERNAL = s3_error(500, "InternalError", "We encountered an internal error")
SLOW_DOWN = s3_error(503, "SlowDown", "Please reduce your request rate")
EXPIRED = s3_error(400, "ExpiredToken", "The provided token has expired")


def input_key(case: str, name: str = "") -> str:
    """The key of one of a case's inputs; without a name, the prefix of all."""
    return f"in/{case}/{name}"


def one_input(case: str, **source: Any) -> Json:
    """Part of a spec: the input that a case's object ``a`` is, or another source."""
    given = source or {"key": input_key(case, "a")}
    return {"inputs": [{"name": "data", "s3": given}]}


def output_prefix(case: str) -> str:
    """Where a case's outputs go."""
    return names.outputs_prefix(case)
