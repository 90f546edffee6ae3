"""Queries that several panels have in common.

Counters and histograms are summed over the pods of a component. Gauges of the operator are
aggregated with max first, because a leader and those that stand by may both have them.
"""

from collections.abc import Sequence
from typing import Final

from nanogrid.codegen.dashboards.grafana import Query, Variable

SCOPE: Final = 'installation=~"$installation"'
IN_NAMESPACE: Final = f'{SCOPE},namespace=~"$namespace"'
RATE: Final = "$__rate_interval"

INSTALLATION: Final = Variable(
    "installation", "Installation", "label_values(nanogrid_build_info, installation)"
)
NAMESPACE: Final = Variable(
    "namespace", "Namespace of jobs", f"label_values(nanogrid_jobs{{{SCOPE}}}, namespace)"
)


def rate(metric: str, by: str, where: str = SCOPE) -> Query:
    """The rate per second of a counter, by labels (comma separated); "" is the total."""
    grouped = f"sum by ({by}) " if by else "sum"
    expr = f"{grouped}(rate({metric}{{{where}}}[{RATE}]))"
    return Query(expr, _legend(by) or "total")


def gauge(metric: str, by: str, where: str = SCOPE, over: str = "") -> Query:
    """A gauge by labels, the greatest of all pods; with ``over``, the sum over these labels."""
    if not over:
        return Query(f"max by ({by}) ({metric}{{{where}}})" if by else f"max({metric}{{{where}}})",
                     _legend(by) or "now")  # fmt: skip
    kept = ", ".join(part for part in (by, over) if part)
    grouped = f"sum by ({by}) " if by else "sum"
    return Query(f"{grouped}(max by ({kept}) ({metric}{{{where}}}))", _legend(by) or "now")


def total(metric: str, by: str = "", where: str = SCOPE) -> Query:
    """A gauge that is summed over the pods of a component."""
    grouped = f"sum by ({by}) " if by else "sum"
    return Query(f"{grouped}({metric}{{{where}}})", _legend(by) or "now")


def quantiles(
    metric: str, where: str = SCOPE, shares: Sequence[float] = (0.5, 0.9, 0.99)
) -> list[Query]:
    """Quantiles of a histogram."""
    return [_quantile(share, metric, "", where, f"p{share * 100:g}") for share in shares]


def quantile(share: float, metric: str, by: str, where: str = SCOPE, legend: str = "") -> Query:
    """One quantile of a histogram, by labels."""
    return _quantile(share, metric, by, where, legend or _legend(by))


def _quantile(share: float, metric: str, by: str, where: str, legend: str) -> Query:
    kept = f"le, {by}" if by else "le"
    inner = f"sum by ({kept}) (rate({metric}_bucket{{{where}}}[{RATE}]))"
    return Query(f"histogram_quantile({share}, {inner})", legend)


def share_within(metric: str, limit: str, where: str = SCOPE, span: str = "$__range") -> Query:
    """The ratio of a histogram's values up to a bucket, such as "1.0"."""
    below = f'sum(rate({metric}_bucket{{{where},le="{limit}"}}[{span}]))'
    return Query(f"{below} / sum(rate({metric}_count{{{where}}}[{span}]))", "ratio")


def _legend(by: str) -> str:
    return " ".join(f"{{{{{label.strip()}}}}}" for label in by.split(",")) if by else ""
