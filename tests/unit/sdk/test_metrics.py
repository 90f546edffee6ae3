"""The metrics of a process: declarations, bounded labels, and the server of /metrics."""

import asyncio
import gzip
import http.client
import platform
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import Metric
from prometheus_client.exposition import choose_encoder, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from nanogrid.metrics import registry, server
from nanogrid.metrics.registry import (
    ENV_VERSION,
    OTHER,
    BoundedLabels,
    KubernetesRequests,
    Metrics,
    running_version,
)
from nanogrid.metrics.server import serving_metrics
from nanogrid.settings import SettingsError
from support.s3_server import free_port


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("test")


@pytest.fixture
def port(metrics: Metrics) -> Iterator[int]:
    port = free_port()
    with serving_metrics(metrics.registry, port):
        yield port


def scrape(port: int, path: str = "/metrics", **headers: str) -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read(), dict(answer.headers)
    finally:
        connection.close()


def exposed(body: bytes, name: str) -> dict[tuple[str, ...], float]:
    """The values of a sample by the values of its labels."""
    return {
        tuple(sample.labels.values()): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
        if sample.name == name
    }


def test_a_scrape_has_the_declared_metrics_and_those_of_the_process(
    metrics: Metrics, port: int
) -> None:
    metrics.counter("nanogrid_things_total", "Things.", ["kind"]).labels("a").inc(3)

    status, body, headers = scrape(port)

    assert status == 200
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert exposed(body, "nanogrid_things_total") == {("a",): 3.0}
    assert exposed(body, "nanogrid_build_info") == {
        ("test", platform.python_version(), version("nanogrid")): 1.0
    }
    assert exposed(body, "process_resident_memory_bytes")[()] > 0
    assert b"python_gc_collections_total" in body
    assert b"_created" not in body


@pytest.mark.parametrize("value", ['a"b', "a\\b", "a\nb", "판매 ✓", "{}=,", ""], ids=repr)
def test_a_label_value_with_odd_characters_is_exposed_as_it_is(
    metrics: Metrics, port: int, value: str
) -> None:
    metrics.gauge("nanogrid_odd", "Odd.", ["value"]).labels(value).set(1)

    assert exposed(scrape(port)[1], "nanogrid_odd") == {(value,): 1.0}


def test_a_client_may_ask_for_gzip_and_for_openmetrics(port: int) -> None:
    packed = scrape(port, **{"Accept-Encoding": "gzip"})
    new = scrape(port, Accept="application/openmetrics-text; version=1.0.0")

    assert packed[2]["Content-Encoding"] == "gzip"
    assert b"nanogrid_build_info" in gzip.decompress(packed[1])
    assert new[2]["Content-Type"].startswith("application/openmetrics-text")
    assert new[1].endswith(b"# EOF\n")


@pytest.mark.parametrize(
    ("path", "status"), [("/metrics", 200), ("/metrics?name=x", 200), ("/", 404), ("/metric", 404)]
)
def test_only_one_path_is_served(port: int, path: str, status: int) -> None:
    assert scrape(port, path)[0] == status


def test_it_listens_on_ipv6_as_well(port: int) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    with urllib.request.urlopen(f"http://[::1]:{port}/metrics") as answer:
        assert answer.status == 200


async def test_it_answers_while_the_event_loop_is_blocked(port: int) -> None:
    turns = 0

    def turn() -> None:
        nonlocal turns
        turns += 1
        asyncio.get_running_loop().call_soon(turn)

    turn()
    await asyncio.sleep(0)
    before = turns
    status, body, _ = scrape(port)  # blocks the loop, which cannot help to answer

    assert turns == before
    assert status == 200
    assert b"nanogrid_build_info" in body


def test_a_port_in_use_is_a_clear_error(metrics: Metrics, port: int) -> None:
    with (
        pytest.raises(SettingsError, match=rf"NANOGRID_METRICS_PORT is {port}: .*in use.*or 0"),
        serving_metrics(Metrics("other").registry, port),
    ):
        pass


def test_port_0_serves_nothing(metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "listen_on_all", None)

    with serving_metrics(metrics.registry, 0):
        pass


def test_the_port_is_free_afterwards(metrics: Metrics) -> None:
    port = free_port()
    for _ in range(2):
        with serving_metrics(metrics.registry, port):
            assert scrape(port)[0] == 200
    with pytest.raises(ConnectionRefusedError):
        scrape(port)


def test_silent_clients_neither_take_all_places_nor_stay(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(server.CONNECTIONS)]
    with pytest.raises((http.client.HTTPException, OSError)):
        scrape(port)  # no place
    for client in silent:
        client.close()
    deadline = time.monotonic() + 30
    while True:  # their places are free when their threads have ended
        try:
            assert scrape(port)[0] == 200
            break
        except (http.client.HTTPException, OSError):
            assert time.monotonic() < deadline


def test_a_slow_client_is_cut_off(metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "CONNECTION_SECONDS", 0.1)
    port = free_port()
    with (
        serving_metrics(metrics.registry, port),
        socket.create_connection(("127.0.0.1", port), timeout=30) as slow,
    ):
        slow.sendall(b"GET /metrics HTTP/1.1\r\n")

        assert slow.recv(1) == b""


class Counted(Collector):
    """Counts renderings; the first one waits for ``begin``."""

    def __init__(self) -> None:
        self.times = 0
        self.begin = threading.Event()

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> list[Metric]:
        self.times += 1
        assert self.begin.wait(30)
        return []


def test_clients_that_come_together_share_a_rendering(
    metrics: Metrics, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted, arrived = Counted(), threading.Semaphore(0)
    metrics.registry.register(counted)

    def choose(accept: str) -> Any:
        arrived.release()
        return choose_encoder(accept)

    monkeypatch.setattr(server, "choose_encoder", choose)
    with ThreadPoolExecutor(10) as pool:
        answers = [pool.submit(scrape, port) for _ in range(10)]
        for _ in range(10):
            assert arrived.acquire(timeout=30)
        counted.begin.set()
        statuses = [answer.result()[0] for answer in answers]

    assert statuses == [200] * 10
    assert counted.times <= 2, "one for the first client, and one for those that came during it"


def test_renderings_take_a_small_part_of_the_time(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock on which a rendering takes a second."""
    now, pauses = 0.0, []

    def monotonic() -> float:
        nonlocal now
        now += 1
        return now

    fake = SimpleNamespace(monotonic=monotonic, sleep=pauses.append)
    monkeypatch.setattr(server, "time", fake)
    monkeypatch.setattr(server, "CONNECTION_SECONDS", 1e6)
    for _ in range(3):
        assert scrape(port)[0] == 200

    first, *others = pauses
    assert first == 0
    assert len(others) == 2
    assert all(pause > 0 for pause in others)


@pytest.mark.parametrize(
    ("environment", "installed", "shown"),
    [
        ({ENV_VERSION: "1.2.3"}, True, "1.2.3"),
        ({}, True, version("nanogrid")),
        ({}, False, "unknown"),
    ],
    ids=["chart", "package", "image without a chart"],
)
def test_the_version_that_runs(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], installed: bool, shown: str
) -> None:
    if not installed:
        monkeypatch.setattr(registry, "version", absent)

    assert running_version(environment) == shown


def absent(name: str) -> str:
    raise PackageNotFoundError(name)


def test_the_number_of_values_of_a_label_has_a_bound() -> None:
    labels = BoundedLabels(2)

    assert [labels.bound(value) for value in ("a", "b", "c", "a", "d", "b")] == [
        *("a", "b", OTHER, "a", OTHER, "b")
    ]


def test_a_value_within_another_label_is_another_series() -> None:
    labels = BoundedLabels(2)

    found = [labels.bound("f", "ns-1"), labels.bound("f", "ns-2"), labels.bound("f", "ns-3")]

    assert found == ["f", "f", OTHER]


def test_a_further_value_takes_the_place_of_the_one_that_is_not_used_longest() -> None:
    clock, forgotten = SimpleNamespace(now=0.0), list[tuple[str, ...]]()
    labels = BoundedLabels(2, forget=lambda *key: forgotten.append(key), clock=lambda: clock.now)
    for clock.now, value in ((0, "a"), (1, "b"), (2, "a")):  # `a` is the first, but used again
        labels.bound(value)

    clock.now = 1 + registry.IDLE_SECONDS - 0.1
    assert (labels.bound("c"), forgotten) == (OTHER, [])
    clock.now = 1 + registry.IDLE_SECONDS
    assert (labels.bound("c"), forgotten) == ("c", [("b",)])
    assert (labels.bound("b"), labels.bound("a")) == (OTHER, "a")


def test_values_keep_their_places_for_ever_if_their_series_cannot_be_removed() -> None:
    clock = SimpleNamespace(now=0.0)
    labels = BoundedLabels(1, clock=lambda: clock.now)
    labels.bound("a")
    clock.now = 10 * registry.IDLE_SECONDS

    assert labels.bound("b") == OTHER


def test_the_place_that_is_taken_is_within_the_labels_whose_places_are_all_taken() -> None:
    clock, forgotten = SimpleNamespace(now=0.0), list[tuple[str, ...]]()
    labels = BoundedLabels(3, 2, forget=lambda *key: forgotten.append(key), clock=lambda: clock.now)
    for value, within in (("f", "ns-1"), ("f", "ns-2"), ("g", "ns-2")):
        labels.bound(value, within)
    clock.now = registry.IDLE_SECONDS

    assert labels.bound("h", "ns-2") == "h"
    assert labels.bound("f", "ns-3") == "f"
    assert forgotten == [("f", "ns-2"), ("f", "ns-1")]


def test_values_within_a_label_leave_together() -> None:
    labels = BoundedLabels(3)
    for value, within in (("f", "ns-1"), ("g", "ns-1"), ("f", "ns-2")):
        labels.bound(value, within)

    labels.leave("ns-1")

    found = [labels.bound(value, "ns-3") for value in ("f", "g", "h")]
    assert found == ["f", "g", OTHER]


def series(metrics: Metrics, label: str) -> set[tuple[str, str]]:
    """The samples with a label: their names and its values."""
    samples = (s for family in metrics.registry.collect() for s in family.samples)
    return {(s.name, s.labels[label]) for s in samples if label in s.labels}


def test_all_series_with_a_label_go_and_the_others_stay(metrics: Metrics) -> None:
    many = metrics.counter("nanogrid_things_total", "Things.", ("namespace", "phase"))
    waits = metrics.histogram("nanogrid_wait_seconds", "Wait.", (1,), ("namespace",))
    now = metrics.gauge("nanogrid_now", "Now.", ("namespace",))
    plain = metrics.counter("nanogrid_plain_total", "Plain.")
    plain.inc()
    for namespace in ("a", "b"):
        for phase in ("Failed", "Succeeded"):
            many.labels(namespace, phase).inc()
        waits.labels(namespace).observe(0.5)
        now.labels(namespace).set(1)
    before = series(metrics, "namespace")

    metrics.forget({"namespace": "a"})

    gone = before - series(metrics, "namespace")
    assert gone == {
        (f"nanogrid_{name}", "a")
        for name in (
            "things_total",
            "wait_seconds_bucket",
            "wait_seconds_count",
            "wait_seconds_sum",
        )
    }
    assert metrics.registry.get_sample_value("nanogrid_plain_total") == 1
    many.labels("a", "Failed").inc()
    found = metrics.registry.get_sample_value(
        "nanogrid_things_total", {"namespace": "a", "phase": "Failed"}
    )
    assert found == 1


def test_series_go_while_another_thread_renders(metrics: Metrics) -> None:
    waits = metrics.histogram("nanogrid_wait_seconds", "Wait.", (1,), ("namespace",))
    ended = threading.Event()

    def change() -> None:
        try:
            for number in range(500):
                waits.labels(str(number)).observe(1)
                metrics.forget({"namespace": str(number - 3)})
        finally:
            ended.set()

    changes = threading.Thread(target=change)
    changes.start()
    try:
        while not ended.is_set():
            generate_latest(metrics.registry)
    finally:
        changes.join()
    assert {value for _, value in series(metrics, "namespace")} == {"497", "498", "499"}


def test_a_counter_that_does_not_end_with_total_is_refused(metrics: Metrics) -> None:
    with pytest.raises(ValueError, match="nanogrid_things: the name of a counter ends with _total"):
        metrics.counter("nanogrid_things", "Things.")


def test_a_description_has_the_unit_of_the_name(metrics: Metrics) -> None:
    metrics.histogram("nanogrid_wait_seconds", "Wait.", (1, 2), ["namespace"])
    metrics.gauge("nanogrid_things", "Things.")

    assert metrics.described[-2:] == [
        ("nanogrid_wait_seconds", "histogram", ("namespace",), "seconds", "Wait."),
        ("nanogrid_things", "gauge", (), "", "Things."),
    ]


def test_requests_to_the_api_server_count_by_verb_and_code(metrics: Metrics) -> None:
    requests = KubernetesRequests(metrics)
    for verb, code in (("GET", 200), ("GET", 200), ("PATCH", 409), ("GET", 0)):
        requests.answered(verb, code, 0.02)

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(f"nanogrid_kubernetes_{name}", labels)

    assert value("requests_total", verb="GET", code="200") == 2
    assert value("requests_total", verb="PATCH", code="409") == 1
    assert value("requests_total", verb="GET", code="error") == 1
    assert value("request_seconds_bucket", verb="GET", le="0.025") == 3
    assert value("request_seconds_bucket", verb="GET", le="0.01") == 0
