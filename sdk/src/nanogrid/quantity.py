"""Kubernetes quantities as numbers. Pure.

The grammar is that of resource.Quantity. The API server may answer in its canonical form, so all
suffixes are accepted, also those that the CRD does not allow
(https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/).
"""

import re
from decimal import Decimal
from functools import lru_cache

_SUFFIXES = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_GRAMMAR = re.compile(
    r"(?P<number>[0-9]+(\.[0-9]*)?|\.[0-9]+)"
    r"((?P<suffix>[numkMGTPE]|[KMGTPE]i)|[eE](?P<exponent>[+-]?[0-9]{1,2}))?",
    re.ASCII,
)


def quantity(text: str | int) -> Decimal:
    """The value of a quantity: bytes for memory, cores for cpu.

    Raises:
        ValueError: the text is not a quantity.
    """
    return _value(str(text))


@lru_cache(maxsize=512)  # the same few amounts come with each version of each pod
def _value(text: str) -> Decimal:
    match = _GRAMMAR.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a quantity such as 256Mi or 500m")
    number = Decimal(match["number"])
    suffix = match["suffix"] or ""
    if suffix in _BINARY:
        return number * (1 << _BINARY[suffix])
    power = int(match["exponent"]) if match["exponent"] else _SUFFIXES[suffix]
    return number.scaleb(power)
