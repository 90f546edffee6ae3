"""The metrics of a process as Prometheus reads them."""

import urllib.request
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

TIMEOUT_SECONDS = 60

Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Scraped:
    """One scrape; a sample is found by its name and labels."""

    samples: dict[tuple[str, Labels], float]
    kinds: dict[str, str]

    @classmethod
    def of(cls, text: str) -> "Scraped":
        """The metrics of a text."""
        families = list(text_string_to_metric_families(text))
        samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
        }
        return cls(samples, {family.name: family.type for family in families})

    @classmethod
    def of_registry(cls, registry: CollectorRegistry) -> "Scraped":
        """The metrics of this process."""
        return cls.of(generate_latest(registry).decode())

    @classmethod
    def of_port(cls, port: int) -> "Scraped":
        """The metrics of a process on this machine."""
        url = f"http://127.0.0.1:{port}/metrics"
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer:
            return cls.of(answer.read().decode())

    def value(self, name: str, **labels: str) -> float:
        """The value of one series; 0 if there is none."""
        return self.samples.get((name, frozenset(labels.items())), 0.0)

    def total(self, name: str, **labels: str) -> float:
        """The sum of all series with these labels."""
        wanted = set(labels.items())
        return sum(v for (n, given), v in self.samples.items() if n == name and wanted <= given)

    def labels(self, name: str) -> list[dict[str, str]]:
        """The labels of all series of a name."""
        return [dict(given) for n, given in self.samples if n == name]
