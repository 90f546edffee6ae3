"""A target group: target states, health counts and the choice of a target. Pure: no I/O, no clock.

Modelled on the documentation of Application Load Balancers (User Guide, Elastic Load Balancing):

- Health checks, https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html:
  a new target is ``initial`` until it passes **one** check; after that, HealthyThresholdCount
  successes in a row bring an unhealthy one back and UnhealthyThresholdCount failures in a row take
  a healthy one out. When a group holds only unhealthy targets, requests go to all of them (the
  group "fails open").
- Deregistration, https://docs.aws.amazon.com/elasticloadbalancing/latest/application/edit-target-group-attributes.html:
  a deregistered target is ``draining`` until the deregistration delay is over: it gets no new
  request and completes running ones.
- Stickiness, https://docs.aws.amazon.com/elasticloadbalancing/latest/application/sticky-sessions.html:
  the cookie names the target of the first request; when that target is no longer healthy or
  registered, another target and a new cookie replace it.

The documentation leaves one case open: here a group with ``initial`` and ``unhealthy`` targets and
no healthy one fails open to the unhealthy ones only.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple


class Endpoint(NamedTuple):
    """The address of a target."""

    host: str
    port: int


class State(StrEnum):
    """As in ``describe-target-health``."""

    INITIAL = "initial"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    DRAINING = "draining"


@dataclass(slots=True)
class Target:
    """One registered endpoint; ``reason`` as in ``describe-target-health``."""

    endpoint: Endpoint
    state: State = State.INITIAL
    reason: str = "Elb.RegistrationInProgress"
    successes: int = 0
    failures: int = 0
    in_flight: int = 0
    served: int = 0

    def checked(self, failure: str, healthy_threshold: int, unhealthy_threshold: int) -> None:
        """Count one health check; ``failure`` is the reason code, empty for a success."""
        if self.state is State.DRAINING:
            return
        if failure:
            self.successes, self.failures = 0, self.failures + 1
            if self.failures >= unhealthy_threshold:
                self.state, self.reason = State.UNHEALTHY, failure
            return
        self.successes, self.failures = self.successes + 1, 0
        if self.state is State.INITIAL or self.successes >= healthy_threshold:
            self.state, self.reason = State.HEALTHY, ""

    def drain(self) -> None:
        """Mark the target as deregistered."""
        self.state, self.reason = State.DRAINING, "Target.DeregistrationInProgress"


@dataclass(slots=True)
class TargetGroup:
    """The targets by endpoint; requests go to them in turn."""

    fail_open: bool = True
    targets: dict[Endpoint, Target] = field(default_factory=dict)
    _turn: int = 0

    def register(self, endpoint: Endpoint) -> Target:
        """Add a target; a draining one is replaced by a new one."""
        known = self.targets.get(endpoint)
        if known is None or known.state is State.DRAINING:
            known = self.targets[endpoint] = Target(endpoint)
        return known

    def choose(self, sticky: Endpoint | None = None) -> Target | None:
        """The target of the next request; None if no target can take it."""
        eligible = self.eligible()
        for target in eligible:
            if target.endpoint == sticky:
                return target
        if not eligible:
            return None
        self._turn += 1
        return eligible[self._turn % len(eligible)]

    def eligible(self) -> list[Target]:
        """The targets that may get a new request."""
        healthy = [t for t in self.targets.values() if t.state is State.HEALTHY]
        if healthy or not self.fail_open:
            return healthy
        return [t for t in self.targets.values() if t.state is State.UNHEALTHY]

    def zombies(self, live: Iterable[Endpoint]) -> list[Endpoint]:
        """Registered targets without a live endpoint; draining targets do not count."""
        known = set(live)
        return sorted(
            t.endpoint
            for t in self.targets.values()
            if t.state is not State.DRAINING and t.endpoint not in known
        )
