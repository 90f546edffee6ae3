"""The metrics of a process, read as Prometheus reads them."""

import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from nanogrid.metrics.server import PATH, PORT
from scripts.devaccess import PortForward
from support.release import RELEASE_NAMESPACE

TIMEOUT_SECONDS = 30


class Scrape:
    """The samples of one scrape."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]

    def value(self, name: str, **labels: str) -> float | None:
        """The value of the only series with exactly these labels; None if there is none."""
        found = [s.value for s in self.samples if (s.name, s.labels) == (name, labels)]
        return found[0] if found else None

    def series(self, name: str, namespace: str) -> dict[tuple[str, ...], float]:
        """The series of a namespace by the values of their other labels, in order of the names."""
        return {
            tuple(v for k, v in sorted(s.labels.items()) if k != "namespace"): s.value
            for s in self.samples
            if s.name == name and s.labels.get("namespace") == namespace
        }

    def number(self, name: str, **labels: str) -> float:
        """As :meth:`value`, but 0 if there is none: a counter that nothing has used yet."""
        return self.value(name, **labels) or 0.0

    def total(self, name: str, **labels: str) -> float:
        """The sum of all series that have these labels and perhaps more."""
        wanted = labels.items()
        return sum(s.value for s in self.samples if s.name == name and wanted <= s.labels.items())

    def labels(self, name: str) -> list[dict[str, str]]:
        """The labels of all series of a name."""
        return [s.labels for s in self.samples if s.name == name]


def scrape_registry(registry: CollectorRegistry) -> Scrape:
    """Read the metrics of this process."""
    return Scrape(generate_latest(registry).decode())


def scrape_port(port: int) -> Scrape:
    """Read the metrics of a process on this machine."""
    return scrape(f"http://127.0.0.1:{port}")


def scrape(url: str) -> Scrape:
    """Read the metrics of a process."""
    with urllib.request.urlopen(f"{url}{PATH}", timeout=TIMEOUT_SECONDS) as answer:
        return Scrape(answer.read().decode())


@contextmanager
def metrics_of(pod: str) -> Iterator[str]:
    """The URL, on this machine, of the metrics' port of a pod of the release.

    kubectl connects inside the pod, so no NetworkPolicy is in its way.
    """
    with PortForward(RELEASE_NAMESPACE, f"pod/{pod}", PORT) as forward:
        yield forward.wait_url()
