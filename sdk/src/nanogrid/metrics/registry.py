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
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
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
# A value that is not used so long gives its place to another one. Many scrapes have seen its end.
IDLE_SECONDS: Final = 600.0

# Upper ends of buckets. In seconds: one request; a wait in the queue; a part of a job, which lasts
# milliseconds on a warm pool; the claim of a pool's pod; a delivery, whose objective is 1 s. In
# bytes: the memory of a run.
REQUEST_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
QUEUE_SECONDS: Final = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14400)
JOB_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, *QUEUE_SECONDS)
CLAIM_SECONDS: Final = (0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1, 5)
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
        self._growing: list[tuple[frozenset[str], Counter | Histogram]] = []  # and their labels
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        labels = ("component", "version", "python")
        build = self.gauge("nanogrid_build_info", "What runs: always 1.", labels)
        build.labels(component, running_version(), platform.python_version()).set(1)

    def counter(self, name: str, about: str, labels: Sequence[str] = ()) -> Counter:
        """A number that only grows; its name ends with ``_total``."""
        self._describe(name, "counter", labels, about)
        counter = Counter(name, about, labels, registry=self.registry)
        self._growing.append((frozenset(labels), counter))
        return counter

    def gauge(self, name: str, about: str, labels: Sequence[str] = ()) -> Gauge:
        """A number that grows and shrinks."""
        self._describe(name, "gauge", labels, about)
        return Gauge(name, about, labels, registry=self.registry)

    def histogram(
        self, name: str, about: str, buckets: Sequence[float], labels: Sequence[str] = ()
    ) -> Histogram:
        """How often a measured value was at most each of ``buckets``."""
        self._describe(name, "histogram", labels, about)
        histogram = Histogram(name, about, labels, buckets=buckets, registry=self.registry)
        self._growing.append((frozenset(labels), histogram))
        return histogram

    def forget(self, values: Mapping[str, str]) -> None:
        """Remove the series of all counters and histograms with these labels.

        A series that comes again begins at 0, which PromQL's ``rate`` takes for a restart. Gauges
        stay: a :class:`GaugeSet` knows which of its series are still true.

        Args:
            values: Label and value; the other labels of a series can have any value.
        """
        for labels, metric in self._growing:
            if values.keys() <= labels:
                metric.remove_by_labels(dict(values))

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

    Each value is a series that the process and Prometheus keep, so their number has a bound. With
    ``forget``, a further value takes the place of the one that is not used longest, if that is
    :data:`IDLE_SECONDS` or more.

    Args:
        most: Values.
        most_within: Values with the same other labels; None is no bound of its own.
        forget: Removes the series of a value; its arguments are those of :meth:`bound`. None: a
            value keeps its place until :meth:`keep` or :meth:`leave`.
        clock: Monotonic, in seconds.
    """

    def __init__(
        self,
        most: int,
        most_within: int | None = None,
        *,
        forget: Callable[..., None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most = most
        self._most_within = most if most_within is None else most_within
        self._forget = forget
        self._clock = clock
        self._used: dict[tuple[str, ...], float] = {}  # when, by value and within; the latest last

    def bound(self, value: str, *within: str) -> str:
        """The value, or :data:`OTHER`.

        Args:
            value: Of the label.
            within: Other labels that make it another series, such as the namespace of a function.
        """
        key, now = (value, *within), self._clock()
        if self._used.pop(key, None) is None and not self._has_place(within, now):
            return OTHER
        self._used[key] = now
        return value

    def _has_place(self, within: tuple[str, ...], now: float) -> bool:
        full = len(self._used) >= self._most
        oldest = next(iter(self._used), within)
        if full and (self._forget is None or now - self._used[oldest] < IDLE_SECONDS):
            return False  # all others are used later; so there is no need for a pass over them
        same = [key for key in self._used if key[1:] == within]
        if len(same) >= self._most_within:
            oldest = same[0]
        elif not full:
            return True
        if self._forget is None or now - self._used[oldest] < IDLE_SECONDS:
            return False
        del self._used[oldest]
        self._forget(*oldest)
        return True

    def keep(self, values: Iterable[str]) -> None:
        """Free the places of all other values: their series are gone."""
        kept = set(values)
        self._used = {key: at for key, at in self._used.items() if key[0] in kept}

    def leave(self, *within: str) -> None:
        """Free the places of all values within these labels: their series are gone."""
        self._used = {key: at for key, at in self._used.items() if key[1:] != within}


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
