"""The metrics of one process: each is declared once, with what it means.

A process has one class that declares its metrics as attributes::

    class RouterMetrics:
        def __init__(self, metrics: Metrics) -> None:
            self.streams = metrics.gauge("nanogrid_router_streams", "Streams that are open.")

    router = RouterMetrics(Metrics("router"))

Its package names the class in the group :data:`GROUP` of its entry points, with the component as
the name. The page docs/metrics.md is generated from these declarations.
"""

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, entry_points, version
from typing import Final, NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

GROUP: Final = "nanogrid.metrics"  # of entry points
ENV_VERSION: Final = "NANOGRID_VERSION"  # of the release; the chart sets it
OTHER: Final = "_other"  # no name in Kubernetes begins so

# Upper ends of buckets. In seconds: one request; a part of a job; a delivery, whose objective is
# 1 s. In bytes: the memory of a run.
REQUEST_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
JOB_SECONDS: Final = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14400)
DELIVERY_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300)
RUN_SECONDS: Final = (0.1, 0.5, 1, 5, 30, 60, 300, 3600)
RUN_BYTES: Final = tuple(mebibytes << 20 for mebibytes in (32, 64, 128, 256, 512, 1024, 4096))


def running_version(environ: Mapping[str, str] = os.environ) -> str:
    """The version of NanoGrid: what the chart says, else that of the installed package.

    The images have no metadata of packages.
    """
    if given := environ.get(ENV_VERSION):
        return given
    try:
        return version("nanogrid")
    except PackageNotFoundError:
        return "unknown"


class Description(NamedTuple):
    """One declared metric; ``unit`` is seconds, bytes or nothing."""

    name: str
    type: str
    labels: tuple[str, ...]
    unit: str
    help: str


class Metrics:
    """The metrics of one process; those of the process itself, such as its memory, are included.

    Attributes:
        component: As in the label ``app.kubernetes.io/component``.
        registry: What the server of ``/metrics`` renders.
        described: All metrics that are declared here, in their order.
    """

    def __init__(self, component: str) -> None:
        disable_created_metrics()  # they double the series; `process_start_time_seconds` says it
        self.component = component
        self.registry = CollectorRegistry()
        self.described: list[Description] = []
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        labels = ("component", "version", "python")
        build = self.gauge("nanogrid_build_info", "What runs: always 1.", labels)
        build.labels(component, running_version(), platform.python_version()).set(1)

    def counter(self, name: str, about: str, labels: Sequence[str] = ()) -> Counter:
        """A number that only grows; its name ends with ``_total``."""
        self._describe(name, "counter", labels, about)
        return Counter(name, about, labels, registry=self.registry)

    def gauge(self, name: str, about: str, labels: Sequence[str] = ()) -> Gauge:
        """A number that grows and shrinks."""
        self._describe(name, "gauge", labels, about)
        return Gauge(name, about, labels, registry=self.registry)

    def histogram(
        self, name: str, about: str, buckets: Sequence[float], labels: Sequence[str] = ()
    ) -> Histogram:
        """How often a measured value was at most each of ``buckets``."""
        self._describe(name, "histogram", labels, about)
        return Histogram(name, about, labels, buckets=buckets, registry=self.registry)

    def _describe(self, name: str, kind: str, labels: Sequence[str], about: str) -> None:
        if kind == "counter" and not name.endswith("_total"):
            raise ValueError(f"{name}: the name of a counter ends with _total")
        unit = next((u for u in ("seconds", "bytes") if u in name.split("_")), "")
        self.described.append(Description(name, kind, tuple(labels), unit, about))


LabelValues = tuple[str, ...]


class GaugeSet:
    """A gauge whose series are replaced together; series that are not in the next set disappear."""

    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge
        self._known: set[LabelValues] = set()

    def replace(self, values: Mapping[LabelValues, float]) -> None:
        """Set these series, by the values of their labels, and remove all others."""
        for labels, value in values.items():
            self._gauge.labels(*labels).set(value)
        for labels in self._known - values.keys():
            self._gauge.remove(*labels)
        self._known = set(values)


class BoundedLabels:
    """The first ``most`` values of a label; each further value becomes :data:`OTHER`.

    Each value is a series that the process and Prometheus keep, so their number has a bound.

    Args:
        most: Values.
        most_within: Values with the same other labels; None is no bound of its own.
    """

    def __init__(self, most: int, most_within: int | None = None) -> None:
        self._most = most
        self._most_within = most if most_within is None else most_within
        self._known: dict[tuple[str, ...], set[str]] = {}
        self._size = 0

    def bound(self, value: str, *within: str) -> str:
        """The value, or :data:`OTHER`.

        Args:
            value: Of the label.
            within: Other labels that make it another series, such as the namespace of a function.
        """
        known = self._known.get(within, set())
        if value in known:
            return value
        if self._size >= self._most or len(known) >= self._most_within:
            return OTHER
        self._known.setdefault(within, known).add(value)
        self._size += 1
        return value

    def keep(self, values: Iterable[str]) -> None:
        """Forget all other values: their series are gone."""
        kept = set(values)
        for within in list(self._known):
            self._known[within] &= kept
            if not self._known[within]:
                del self._known[within]
        self._size = sum(map(len, self._known.values()))


class KubernetesRequests:
    """Requests to the API server; :meth:`answered` is for :meth:`KubeApi.connect`."""

    def __init__(self, metrics: Metrics) -> None:
        self._total = metrics.counter(
            "nanogrid_kubernetes_requests_total",
            "Requests to the API server, each try. `verb`: the method, or STREAM for a watch or a "
            "log. `code`: of the answer, or `error` if there was none.",
            ("verb", "code"),
        )
        self._seconds = metrics.histogram(
            "nanogrid_kubernetes_request_seconds",
            "Time of a request to the API server; of a STREAM, until its answer begins.",
            REQUEST_SECONDS,
            ("verb",),
        )

    def answered(self, verb: str, code: int, seconds: float) -> None:
        """Count one request; ``code`` is 0 without an answer."""
        self._total.labels(verb, str(code) if code else "error").inc()
        self._seconds.labels(verb).observe(seconds)


def all_declared() -> list[Metrics]:
    """The metrics of all components of the installed packages, sorted by component.

    They are declared only: nothing is measured.
    """
    found = []
    for declared in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        metrics = Metrics(declared.name)
        declared.load()(metrics)
        found.append(metrics)
    return found
