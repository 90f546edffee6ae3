"""What the router counts: patterns of paths, and waits for sessions that start."""

import re
from typing import cast
from unittest.mock import MagicMock

import pytest

from nanogrid.metrics.registry import OTHER, Metrics
from nanogrid_executor.session.api import app as agent
from nanogrid_executor.session.session import Session
from nanogrid_gateway.metrics import CODES, RouterMetrics
from nanogrid_gateway.router import start_waits
from nanogrid_gateway.router.patterns import AGENT, SESSION, session_pattern
from nanogrid_gateway.router.start_waits import StartWaits
from support.scraping import scrape_registry

COUNT = "nanogrid_router_request_seconds_count"


def example(pattern: str) -> str:
    """A path of a pattern."""
    return pattern.replace("{path}", "a/b c.txt").replace("{number}", "7").replace("{name}", "n")


def test_every_route_of_the_agent_has_a_pattern() -> None:
    routes = agent._routes(cast(Session, MagicMock()))
    theirs = {(method, re.sub(r"<(?:path:)?(\w+)>", r"{\1}", path)) for method, path, _ in routes}

    assert set(AGENT) == theirs


@pytest.mark.parametrize(("method", "pattern"), AGENT)
@pytest.mark.parametrize("end", ["", "/"])
def test_a_path_has_the_pattern_of_its_route(method: str, pattern: str, end: str) -> None:
    assert session_pattern(method, example(pattern) + end) == SESSION + pattern


def test_head_is_a_get() -> None:
    assert session_pattern("HEAD", "/files/a") == f"{SESSION}/files/{{path}}"
    assert session_pattern("HEAD", "/execute") == OTHER


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", ""),
        ("GET", "/execute"),
        ("BREW", "/health"),
        ("get", "/health"),
        ("GET", "/executions/7/8"),
        ("GET", "/executions/7/stream/8"),
        ("GET", "/healthx"),
        ("GET", "//health"),
        ("PUT", "/files/"),
        ("POST", "/execute\n"),
        ("GET", "/files%2Fa"),
    ],
)
def test_other_paths_share_a_pattern(method: str, path: str) -> None:
    assert session_pattern(method, path) == OTHER


def test_ten_thousand_paths_share_the_patterns() -> None:
    paths = [f"{'/files' * (n % 2)}/{n}" for n in range(10_000)]

    found = {session_pattern("GET", path) for path in paths}
    assert found == {OTHER, f"{SESSION}/files/{{path}}"}


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def seen() -> list[float]:
    return []


@pytest.fixture
def waits(clock: Clock, seen: list[float]) -> StartWaits:
    return StartWaits(seen.append, clock)


def test_a_wait_is_from_the_first_refused_request_to_the_first_accepted_one(
    waits: StartWaits, clock: Clock, seen: list[float]
) -> None:
    for _ in range(3):
        waits.refused("a")
        clock.now += 2
    waits.accepted("a")
    waits.accepted("a")
    waits.accepted("never refused")

    assert seen == [6.0]


def test_a_session_that_ends_while_it_starts_has_no_wait(
    waits: StartWaits, clock: Clock, seen: list[float]
) -> None:
    waits.refused("a")
    waits.ended("a")
    waits.ended("b")
    clock.now += 1
    waits.accepted("a")

    assert seen == []


def test_sessions_that_never_start_take_a_bounded_memory(
    waits: StartWaits, clock: Clock, seen: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start_waits, "REMEMBERED", 3)
    for uid in "abcd":
        waits.refused(uid)
    clock.now += 5
    for uid in "abcd":
        waits.accepted(uid)

    assert seen == [5.0, 5.0, 5.0]


def test_a_hostile_session_has_a_bounded_number_of_series() -> None:
    """It answers with every number, to clients that send every method to every path."""
    metrics = Metrics("router")
    answers = RouterMetrics(metrics).answers
    paths = [example(pattern) for _, pattern in AGENT] + [f"/{n}" for n in range(20)]
    methods = ("GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "BREW", "TRACE")
    for method in methods:
        for path in paths:
            for code in range(100, 1000, 3):
                answers.answered(session_pattern(method, path), method, code, 0.1)

    series = scrape_registry(metrics.registry).labels(COUNT)
    heads = sum(method == "GET" for method, _ in AGENT)
    pairs = len(AGENT) + heads + 8  # the last are the methods of other paths
    assert len(series) <= pairs * (len(CODES) + 1) < 1300
    assert any(each["code"] == OTHER for each in series)
