"""The result of one check of ``doctor``."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from nanogrid.types import Json

if TYPE_CHECKING:
    from nanogrid.client import Cluster

INSTALL_HINT: Final = "Install the chart: helm install nanogrid helm/nanogrid-operator (README.md)."
State = Literal["ok", "warn", "fail", "skip"]


@dataclass(frozen=True)
class Finding:
    """The result of one check; ``hint`` is empty when ``state`` is ok."""

    check: str
    state: State
    detail: str
    hint: str = ""

    def to_json(self) -> Json:
        """The finding for -o json."""
        return dict(vars(self))


Check = Callable[["Cluster", str], Iterator[Finding]]  # cluster and namespace
