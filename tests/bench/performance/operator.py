"""What the operator uses: CPU and memory of its process, and its requests to the API server."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from bench.performance.observer import Api
from nanogrid.types import Json
from support.kubectl import kubectl
from support.process_usage import FILES, Usage, parse_usage
from support.release import IN_RELEASE, leader_pod, lease
from support.scraping import metrics_of, scrape

IDLE_SECONDS: Final = 8.0
REQUESTS: Final = "nanogrid_kubernetes_requests_total"
FINISHED: Final = "nanogrid_jobs_finished_total"
# All clients' reviews: in a window of many jobs almost all are the operator's.
REVIEWS: Final = re.compile(
    r'^apiserver_request_total\{[^}]*resource="tokenreviews"[^}]*\} ([0-9.e+]+)$', re.M
)


@dataclass(frozen=True, slots=True)
class Counters:
    """The counters at one time."""

    at: float
    usage: Usage
    requests: dict[str, float]
    reviews: float
    finished: float


class OperatorUsage:
    """Reads the counters of the leader."""

    def __init__(self, pod: str, url: str, api: Api) -> None:
        self._pod, self._url, self._api = pod, url, api
        self.cpu_per_second = 0.0
        self.requests_per_second: dict[str, float] = {}

    def read(self) -> Counters:
        """The counters now."""
        requests: dict[str, float] = {}
        scraped = scrape(self._url)
        for sample in scraped.samples:
            if sample.name == REQUESTS:
                verb = sample.labels["verb"]
                requests[verb] = requests.get(verb, 0.0) + sample.value
        files = (f"/proc/1/{name}" for name in FILES)
        text = kubectl(*IN_RELEASE, "exec", self._pod, "--", "cat", *files)
        reviews = sum(float(value) for value in REVIEWS.findall(self._api.text("/metrics")))
        finished = scraped.total(FINISHED)
        return Counters(time.monotonic(), parse_usage(text), requests, reviews, finished)

    def be_idle(self) -> None:
        """Measure what the operator uses without jobs."""
        before = self.read()
        time.sleep(IDLE_SECONDS)
        after = self.read()
        seconds = after.at - before.at
        self.cpu_per_second = (after.usage.cpu_seconds - before.usage.cpu_seconds) / seconds
        self.requests_per_second = {
            verb: (count - before.requests.get(verb, 0.0)) / seconds
            for verb, count in after.requests.items()
        }


@contextmanager
def operator_usage(api: Api) -> Iterator[OperatorUsage]:
    """The leader's counters; its idle use is measured first."""
    pod = leader_pod(lease())
    with metrics_of(pod) as url:
        usage = OperatorUsage(pod, url, api)
        usage.be_idle()
        yield usage


@contextmanager
def window(usage: OperatorUsage, jobs: int) -> Iterator[Json]:
    """What the operator uses for jobs until the context ends; then the dict has the figures."""
    before = usage.read()
    found: Json = {"jobs": jobs}
    yield found
    after = usage.read()
    seconds = after.at - before.at
    idle = usage.requests_per_second
    cpu = after.usage.cpu_seconds - before.usage.cpu_seconds - usage.cpu_per_second * seconds
    found |= {
        "cpuMillis": round(1000 * max(0.0, cpu), 1),
        "requests": {
            verb: round(count - before.requests.get(verb, 0.0) - idle.get(verb, 0.0) * seconds, 1)
            for verb, count in after.requests.items()
        },
        "tokenReviews": after.reviews - before.reviews,
        "foreignJobs": max(0.0, after.finished - before.finished - jobs),
        "residentMebibytes": round(after.usage.resident / 2**20, 1),
        "peakMebibytes": round(after.usage.peak / 2**20, 1),
        "seconds": round(seconds, 1),
    }


def undisturbed(found: Json, document: Json) -> bool:
    """Whether the operator had no jobs of others in a window; else the document says so."""
    if found["foreignJobs"]:
        why = f"{found['foreignJobs']:.0f} jobs of others ended meanwhile"
        document["skipped"]["the operator's cost per job"] = why
    return not found["foreignJobs"]
