"""Samples by minute, namespace and function, and the metrics of such a group. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from nanogrid_operator.delivery.cloudwatch.samples import Sample
from nanogrid_operator.delivery.cloudwatch.series import SeriesLimit

MINUTE: Final = 60  # seconds; CloudWatch keeps values by the minute


@dataclass(frozen=True, slots=True)
class Group:
    """The samples of one function in one minute; ``minute`` is its begin in epoch seconds."""

    minute: int
    namespace: str
    function: str
    samples: tuple[Sample, ...]

    def values(self) -> dict[str, list[int]]:
        """The values by metric. A metric without values is left out.

        Succeeded and Failed have a 0 or 1 for each job: the average of Failed is the error ratio.
        """
        found: dict[str, list[int | None]] = {
            "Duration": [s.duration_millis for s in self.samples],
            "PeakMemory": [s.peak_memory_bytes for s in self.samples],
            "Succeeded": [int(s.succeeded) for s in self.samples],
            "Failed": [int(not s.succeeded) for s in self.samples],
        }
        known = {name: [v for v in some if v is not None] for name, some in found.items()}
        return {name: some for name, some in known.items() if some}


def grouped(samples: Iterable[Sample], limit: SeriesLimit) -> list[Group]:
    """The groups of these samples, oldest first."""
    found: dict[tuple[int, str, str], list[Sample]] = {}
    for sample in samples:
        minute = int(sample.at // MINUTE) * MINUTE
        pair = limit.pair(sample.namespace, sample.function, sample.at)
        found.setdefault((minute, *pair), []).append(sample)
    return [Group(*key, tuple(some)) for key, some in sorted(found.items())]
