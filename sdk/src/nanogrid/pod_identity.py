"""Of which job and attempt a sandbox pod says that it is. Pure.

A pod that the operator creates for a job has labels. A pod of a pool keeps the labels that it waits
with, and the claim of a batch job adds annotations of the same names: when a label changes, a
network plugin computes the rules of every node again (decision 032). A session's pod gets labels
with the claim, because Services select it.

Anybody who may change a pod can write both, so they are hints.
"""

from typing import Final

from nanogrid import names
from nanogrid.types import Json

# A claim sets them; a pod that waits lacks them, or has an empty one.
OF_JOB: Final = (names.LABEL_JOB, names.LABEL_JOB_UID, names.LABEL_ATTEMPT)
ATTEMPT_DIGITS: Final = 3


def job_uid(pod: Json) -> str:
    """The uid of the pod's job; empty: it waits in a pool, or is no sandbox pod."""
    return _text(pod, names.LABEL_JOB_UID)


def job_name(pod: Json) -> str:
    """The name of the pod's job; empty if it names none."""
    return _text(pod, names.LABEL_JOB)


def attempt(pod: Json) -> int:
    """The number of the pod's attempt. Text that is no number counts as the first attempt."""
    return small_number(_text(pod, names.LABEL_ATTEMPT), ATTEMPT_DIGITS)


def selector(uid: str) -> str:
    """The label selector of a job's pods. It also selects pods of pools: see :func:`job_uid`."""
    return f"{names.LABEL_JOB_UID} in ({uid},)"


def small_number(text: str, digits: int) -> int:
    """The number in a text that users can change; 0 if there is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= digits else 0


def _text(pod: Json, key: str) -> str:
    metadata = pod["metadata"]
    found = (metadata.get("labels") or {}).get(key)
    return str(found or (metadata.get("annotations") or {}).get(key) or "")
