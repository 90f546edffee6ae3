"""Groups as requests of PutMetricData. Pure.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricData.html
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from nanogrid.cloudwatch.rules import (
    FUNCTION,
    MAX_REQUEST_BYTES,
    MAX_REQUEST_METRICS,
    MAX_VALUES,
    NAMESPACE,
    UNITS,
)
from nanogrid_operator.delivery.cloudwatch.groups import Group

Datum = dict[str, Any]

# Bytes in the form-encoded protocol, which is the longest one that boto3 may choose: all names have
# `MetricData.member.1000.` in front.
FIXED_BYTES: Final = 400
DIMENSION_BYTES: Final = 150
VALUE_BYTES: Final = 150  # a value and its count


def requests(groups: Iterable[Group], own: Mapping[str, str]) -> Iterator[list[Datum]]:
    """The metric data of one request after the other.

    Args:
        groups: what to send.
        own: the installation's own dimensions.
    """
    batch: list[Datum] = []
    size = 0
    for group in groups:
        for datum in _data(group, own):
            more = _bytes(datum)
            if batch and (len(batch) == MAX_REQUEST_METRICS or size + more > MAX_REQUEST_BYTES):
                yield batch
                batch, size = [], 0
            batch.append(datum)
            size += more
    if batch:
        yield batch


def _data(group: Group, own: Mapping[str, str]) -> Iterator[Datum]:
    """The data of a group. Values and counts keep percentiles, which a StatisticSet loses."""
    named = {NAMESPACE: group.namespace, FUNCTION: group.function, **own}
    dimensions = [{"Name": name, "Value": value} for name, value in named.items()]
    at = datetime.fromtimestamp(group.minute, UTC)
    for name, values in group.values().items():
        counts = sorted(Counter(values).items())
        for begin in range(0, len(counts), MAX_VALUES):
            some = counts[begin : begin + MAX_VALUES]
            yield {
                "MetricName": name,
                "Dimensions": dimensions,
                "Timestamp": at,
                "Unit": UNITS[name],
                "Values": [float(value) for value, _ in some],
                "Counts": [float(count) for _, count in some],
            }


def _bytes(datum: Datum) -> int:
    """The size of a datum in a request, at most."""
    # Percent encoding makes three bytes of one.
    dimensions = sum(
        DIMENSION_BYTES + 3 * (len(one["Name"]) + len(one["Value"])) for one in datum["Dimensions"]
    )
    return FIXED_BYTES + dimensions + VALUE_BYTES * len(datum["Values"])
