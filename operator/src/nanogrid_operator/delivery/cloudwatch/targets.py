"""Where metrics go: lines on standard output, or requests to CloudWatch. Both block."""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from nanogrid.cloudwatch.client import CloudWatch, CloudWatchError
from nanogrid_operator.delivery.cloudwatch import emf, put
from nanogrid_operator.delivery.cloudwatch.groups import Group
from nanogrid_operator.settings import Settings

STDOUT: Final = 1
EMF, API = "emf", "api"


class Target(Protocol):
    """A place for metrics."""

    def batches(self, groups: Iterable[Group]) -> Iterator[Any]:
        """What to send, one call after the other."""

    def send(self, batch: Any) -> None:
        """Send a batch.

        Raises:
            CloudWatchError: it is not sent.
        """


@dataclass(frozen=True, slots=True)
class EmfTarget:
    """One JSON object per line on a file, which nothing else writes to: logs are on stderr."""

    namespace: str
    own: Mapping[str, str]
    descriptor: int = STDOUT

    def batches(self, groups: Iterable[Group]) -> Iterator[bytes]:
        """The lines, one by one."""
        return emf.lines(groups, self.namespace, self.own)

    def send(self, batch: bytes) -> None:
        """Write a line. A line that is not complete cannot be written again."""
        try:
            while batch:
                batch = batch[os.write(self.descriptor, batch) :]
        except OSError as e:
            raise CloudWatchError(f"standard output: {e}", refused=True) from None


class ApiTarget:
    """PutMetricData."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._own = settings.objects("cloudwatch_dimensions")
        self._client: CloudWatch | None = None

    def batches(self, groups: Iterable[Group]) -> Iterator[list[put.Datum]]:
        """The requests."""
        return put.requests(groups, self._own)

    def send(self, batch: list[put.Datum]) -> None:
        """Send a request. The first one makes the client, which takes time."""
        s = self._settings
        if self._client is None:
            self._client = CloudWatch(
                s.cloudwatch_endpoint,
                s.cloudwatch_region or s.s3_region,
                proxy=s.cloudwatch_proxy,
                ca_bundle=s.cloudwatch_ca_bundle,
            )
        self._client.put(s.cloudwatch_namespace, batch)


def target_of(settings: Settings) -> Target | None:
    """The target of the settings; None if metrics do not go to CloudWatch."""
    if settings.cloudwatch_mode == EMF:
        own = settings.objects("cloudwatch_dimensions")
        return EmfTarget(settings.cloudwatch_namespace, own)
    return ApiTarget(settings) if settings.cloudwatch_mode == API else None
