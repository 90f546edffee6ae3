"""The series of a panel: its queries, asked of Prometheus as Grafana asks them."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from nanogrid.types import Json
from support.dashboards import filled_in
from support.prometheus_api import Prometheus, PrometheusError, Span

SCRAPE_SECONDS: Final = 15  # what Grafana assumes
POINTS: Final = 400  # of one series at most: the pixels of a panel
_LABEL: Final = re.compile(r"{{\s*(\w+)\s*}}")


class PanelError(Exception):
    """A panel cannot be drawn; the message names it, with its query."""


@dataclass(frozen=True)
class Series:
    """A line of a panel: its name, and values by time; NaN is no value."""

    legend: str
    points: list[tuple[float, float]]

    @property
    def numbers(self) -> list[float]:
        """The values that are numbers."""
        return [value for _, value in self.points if math.isfinite(value)]

    @property
    def last(self) -> float:
        """The last number; NaN if there is none."""
        return self.numbers[-1] if self.numbers else math.nan

    @property
    def highest(self) -> float:
        """The greatest number; NaN if there is none."""
        return max(self.numbers, default=math.nan)


def span_of(end: float, minutes: float) -> Span:
    """The last minutes, with the distance of points that Grafana takes."""
    step = max(SCRAPE_SECONDS, math.ceil(minutes * 60 / POINTS))
    # Times are multiples of the step, so that a picture does not depend on the second.
    end = end // step * step
    return Span(end - minutes * 60 // step * step, end, step)


def times_of(span: Span) -> dict[str, str]:
    """The variables of a query that Grafana makes of the time."""
    rate = max(span.step + SCRAPE_SECONDS, 4 * SCRAPE_SECONDS)
    return {"__range": f"{span.end - span.start:.0f}s", "__rate_interval": f"{rate:.0f}s"}


def legend_of(template: str, labels: Mapping[str, str]) -> str:
    """The name of a series: the values of labels in its legendFormat; all labels without one."""
    if not template:
        return ", ".join(f"{name}={value}" for name, value in sorted(labels.items()))
    # Prometheus has no label with an empty value.
    return " ".join(_LABEL.sub(lambda match: labels.get(match[1], ""), template).split())


def series_of(
    prometheus: Prometheus, panel: Json, values: Mapping[str, str], span: Span
) -> list[Series]:
    """The series of all queries of a panel.

    Raises:
        PanelError: Prometheus refuses a query, or does not answer.
    """
    found = []
    for target in panel["targets"]:
        expr = filled_in(target["expr"], {**values, **times_of(span)})
        try:
            if target["instant"]:
                answers = prometheus.query(expr, span.end)
            else:
                answers = prometheus.query_range(expr, span)
        except PrometheusError as error:
            raise PanelError(f"panel {panel['title']!r}: {error}\nquery: {expr}") from error
        for answer in answers:
            points = answer["values"] if "values" in answer else [answer["value"]]
            numbers = [(float(at), float(value)) for at, value in points]
            found.append(Series(legend_of(target["legendFormat"], answer["metric"]), numbers))
    return found
