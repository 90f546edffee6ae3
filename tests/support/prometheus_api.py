"""The HTTP API of a Prometheus."""

import json
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any, Final

from nanogrid.types import Json

REQUEST_SECONDS: Final = 60
DIRECT: Final = urllib.request.ProxyHandler({})  # a proxy cannot reach local ports


class PrometheusError(Exception):
    """Prometheus refuses a request, or does not answer; the message is its own."""


@dataclass(frozen=True)
class Span:
    """Start and end in seconds since the epoch, and the seconds between two points."""

    start: float
    end: float
    step: float


@dataclass(frozen=True)
class Prometheus:
    """The API of a Prometheus that runs."""

    url: str

    def get(self, path: str, **parameters: str) -> Any:
        """The data of an answer.

        Raises:
            PrometheusError: it refuses the request, or does not answer.
        """
        query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
        try:
            with urllib.request.build_opener(DIRECT).open(
                f"{self.url}/api/v1/{path}{query}", timeout=REQUEST_SECONDS
            ) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            message = error.read().decode(errors="replace")
            raise PrometheusError(f"{path} {parameters}: {message}") from error
        except (OSError, ValueError) as error:
            raise PrometheusError(f"no answer from {self.url}: {error}") from error

    def query(self, expr: str, at: float | None = None) -> list[Json]:
        """The series of an instant query, now or at a time."""
        when = {} if at is None else {"time": f"{at:.3f}"}
        found: list[Json] = self.get("query", query=expr, **when)["result"]
        return found

    def query_range(self, expr: str, span: Span) -> list[Json]:
        """The series of a query over time."""
        times = {"start": f"{span.start:.3f}", "end": f"{span.end:.3f}", "step": f"{span.step:g}"}
        found: list[Json] = self.get("query_range", query=expr, **times)["result"]
        return found

    def label_values(self, series: str, label: str, span: Span | None = None) -> list[str]:
        """The values of a label in the series that a selector matches, sorted."""
        times = {} if span is None else {"start": f"{span.start:.3f}", "end": f"{span.end:.3f}"}
        found: list[str] = self.get(f"label/{label}/values", **{"match[]": series}, **times)
        return sorted(found)

    def targets(self) -> list[Json]:
        """The targets that it scrapes."""
        found: list[Json] = self.get("targets", state="active")["activeTargets"]
        return found

    def rules(self) -> list[Json]:
        """All rules, with their health."""
        return [rule for group in self.get("rules")["groups"] for rule in group["rules"]]
