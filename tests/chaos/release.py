"""Faults of the release's own parts: Redis stopped, S3 frozen, no operator."""

from collections.abc import Iterator
from contextlib import contextmanager

from support.kubectl import kubectl, kubectl_json
from support.nodes import signal_container
from support.release import IN_RELEASE, RELEASE, start_operator, stop_operator


class RedisSwitch:
    """Stops and starts the release's Redis."""

    name = f"deploy/{RELEASE}-dev-redis"

    def stop(self) -> None:
        """Scale Redis to zero; returns when its pod is gone."""
        kubectl(*IN_RELEASE, "scale", self.name, "--replicas=0")
        kubectl(
            *IN_RELEASE, "wait", "pod", "--for=delete", "--timeout=180s",
            "-l", "app.kubernetes.io/component=dev-redis",
        )  # fmt: skip

    def start(self) -> None:
        """Start a new, empty Redis; returns when it answers."""
        kubectl(*IN_RELEASE, "scale", self.name, "--replicas=1")
        kubectl(*IN_RELEASE, "rollout", "status", self.name, "--timeout=180s")


@contextmanager
def frozen_s3() -> Iterator[None]:
    """S3 accepts connections and does not answer, as long as the context lasts."""
    selector = "app.kubernetes.io/component=dev-s3"
    (pod,) = kubectl_json(*IN_RELEASE, "get", "pods", "-l", selector)["items"]
    signal_container(pod, "s3", "STOP")
    try:
        yield
    finally:
        signal_container(pod, "s3", "CONT")
        kubectl(*IN_RELEASE, "wait", "pod", "-l", selector, "--for=condition=Ready",
                "--timeout=180s")  # fmt: skip


@contextmanager
def no_operator() -> Iterator[None]:
    """No operator runs, as long as the context lasts."""
    try:
        stop_operator()
        yield
    finally:
        start_operator()
