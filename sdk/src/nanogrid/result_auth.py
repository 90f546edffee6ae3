"""Authentication codes of results. Standard library only.

The operator derives a key for each job from its master key. Only the agent of the job's pod gets
it. Agent and operator add a code to each result that they make, so the operator can find out
whether a result that it reads from S3, Redis or a termination message is genuine.

The code covers the JSON of the result without the field ``authentication``: keys sorted, no white
space, and all characters that are not ASCII as escapes. It does not depend on the fields that this
version knows, so results of an agent of another version stay valid.
"""

import hashlib
import hmac
import json
from typing import Final

from nanogrid import wire
from nanogrid.record import replace
from nanogrid.types import Json

FIELD: Final = "authentication"
ALGORITHM: Final = "hmac-sha256"
_LABEL: Final = b"nanogrid-result-key:"
_POOL_LABEL: Final = b"nanogrid-pool:"
_CLAIM_LABEL: Final = b"nanogrid-claim:"


class NotAuthenticError(ValueError):
    """The code of a result is wrong."""


def derive_key(master: str, uid: str) -> str:
    """The key of a job, as 64 hex digits.

    Args:
        master: the installation's secret key.
        uid: the job's uid.
    """
    return hmac.new(master.encode(), _LABEL + uid.encode(), hashlib.sha256).hexdigest()


def claim_proof(
    master: str, job_uid: str, attempt: int, pod_uid: str, claimed_at_millis: int
) -> str:
    """What shows that the operator has claimed a pool's pod for a job's attempt: 64 hex digits.

    Args:
        master: the installation's secret key.
        job_uid: the job's uid.
        attempt: the number of the attempt.
        pod_uid: the pod's uid.
        claimed_at_millis: when, in milliseconds since the epoch.
    """
    text = f"{job_uid}/{attempt}/{pod_uid}/{claimed_at_millis}".encode()
    return hmac.new(master.encode(), _CLAIM_LABEL + text, hashlib.sha256).hexdigest()


def pool_proof(master: str, pool_uid: str, pod_name: str) -> str:
    """What shows that the operator has created a pool's pod: 64 hex digits.

    Args:
        master: the installation's secret key.
        pool_uid: the pool's uid.
        pod_name: the pod's name, which is random.
    """
    text = f"{pool_uid}/{pod_name}".encode()
    return hmac.new(master.encode(), _POOL_LABEL + text, hashlib.sha256).hexdigest()


def code(result: Json, key: str) -> str:
    """The authentication code of a result's JSON.

    Raises:
        ValueError: the JSON is nested too deeply.
    """
    covered = {name: value for name, value in result.items() if name != FIELD}
    try:
        text = json.dumps(covered, sort_keys=True, separators=(",", ":"))
    except RecursionError:
        raise ValueError("the result is nested too deeply") from None
    return f"{ALGORITHM}:{hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()}"


def sign(result: wire.Result, key: str) -> wire.Result:
    """The result with its code; without a key, the result unchanged."""
    if not key:
        return result
    return replace(result, authentication=code(wire.to_dict(result), key))


def sign_report(report: wire.Report, key: str) -> wire.Report:
    """The report with a signed result; without a key, the report unchanged."""
    return replace(report, result=sign(report.result, key)) if key else report


def verify(result: Json, key: str) -> bool:
    """Whether the JSON of a result has a code, and the code is right."""
    given = result.get(FIELD)
    if not isinstance(given, str):
        return False
    expected = code(result, key)
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())
