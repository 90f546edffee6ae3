"""Whether a pod that a ResourceQuota refuses fits when other pods have ended. Pure."""

import re

from nanogrid.quantity import quantity

FIRST_PAUSE_SECONDS = 2.0  # after a refusal; a pod that ends is tried at once
LONGEST_PAUSE_SECONDS = 60.0
# The text of the API server's quota plugin:
# https://github.com/kubernetes/apiserver/blob/master/pkg/admission/plugin/resourcequota/controller.go
_EXCEEDED = re.compile(
    r"exceeded quota: [^,]+(, requested: (?P<requested>\S+), used: \S+, limited: (?P<limited>\S+))?"
)


def exceeded_for_now(message: str) -> bool:
    """Whether the API server refused a pod whose quota is used up, but large enough for it."""
    found = _EXCEEDED.search(message)
    if found is None:
        return False
    limited = _amounts(found["limited"])
    return all(
        _fits(amount, limited.get(name)) for name, amount in _amounts(found["requested"]).items()
    )


def _amounts(text: str | None) -> dict[str, str]:
    pairs = (pair.partition("=") for pair in (text or "").split(","))
    return {name: amount for name, _, amount in pairs}


def _fits(amount: str, limit: str | None) -> bool:
    try:
        return limit is None or quantity(amount) <= quantity(limit)
    except ValueError:
        return True  # unreadable: to wait is safer than to fail
