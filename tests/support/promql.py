"""What a query of Prometheus refers to: its metrics, and the labels of each. No full parser.

It reads the queries of the chart: a metric has its matchers in braces behind it, and labels are
also in `by (…)`, `on (…)` and `group_left (…)`.
"""

import re
from typing import Final, NamedTuple

_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_SELECTOR: Final = re.compile(r"\b([a-zA-Z_:][a-zA-Z0-9_:]*)\s*\{([^}]*)\}")
_MATCHER: Final = re.compile(r'([a-zA-Z_]\w*)\s*(?:=~|!~|!=|=)\s*""')
_GROUPING: Final = re.compile(r"\b(?:by|on|group_left|group_right|without|ignoring)\s*\(([^)]*)\)")
_SUFFIX: Final = re.compile(r"_(?:bucket|count|sum)$")


class Used(NamedTuple):
    """What a query uses.

    Attributes:
        metrics: Each metric with the labels of its matchers.
        groupings: Labels of `by`, `on` and the like.
    """

    metrics: dict[str, set[str]]
    groupings: set[str]


def used(query: str) -> Used:
    """The metrics and labels of a query."""
    text = _STRING.sub('""', query)
    metrics: dict[str, set[str]] = {}
    for name, matchers in _SELECTOR.findall(text):
        metrics.setdefault(name, set()).update(_MATCHER.findall(matchers))
    groupings = {
        label.strip() for found in _GROUPING.findall(text) for label in found.split(",")
    } - {""}
    return Used(metrics, groupings)


def base_name(metric: str, histograms: set[str]) -> str:
    """The declared name of a series: a histogram has series with suffixes."""
    name = _SUFFIX.sub("", metric)
    return name if name in histograms else metric
