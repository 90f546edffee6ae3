"""Groups as lines of the Embedded Metric Format. Pure.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

import json
from collections.abc import Iterable, Iterator, Mapping

from nanogrid.cloudwatch.rules import FUNCTION, MAX_EMF_VALUES, NAMESPACE, UNITS
from nanogrid_operator.delivery.cloudwatch.groups import Group


def lines(groups: Iterable[Group], namespace: str, own: Mapping[str, str]) -> Iterator[bytes]:
    """One line for each group, or for each hundred of its samples, with its line end.

    Args:
        groups: what to write.
        namespace: of the metrics.
        own: the installation's own dimensions.
    """
    for group in groups:
        for begin in range(0, len(group.samples), MAX_EMF_VALUES):
            some = group.samples[begin : begin + MAX_EMF_VALUES]
            part = Group(group.minute, group.namespace, group.function, some)
            document = _document(part, namespace, own)
            yield json.dumps(document, separators=(",", ":")).encode() + b"\n"


def _document(group: Group, namespace: str, own: Mapping[str, str]) -> dict[str, object]:
    values = group.values()
    dimensions = {NAMESPACE: group.namespace, FUNCTION: group.function, **own}
    directive = {
        "Namespace": namespace,
        "Dimensions": [list(dimensions)],
        "Metrics": [{"Name": name, "Unit": UNITS[name]} for name in values],
    }
    metadata = {"Timestamp": group.minute * 1000, "CloudWatchMetrics": [directive]}
    return {"_aws": metadata, **dimensions, **values}
