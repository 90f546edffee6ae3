"""Fixtures of tests in the laboratory; conftest.py offers them to all tests of this folder."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chaos.lab.laboratory import Laboratory, bridge_address, laboratory
from chaos.ledger import Ledger
from chaos.proof import Starts
from e2e.conftest import ARTIFACTS, FAILED, RELEASE, RELEASE_NAMESPACE
from e2e.support import Namespace, kubectl, kubectl_json, redis_of
from scripts.devaccess import dev_access


@pytest.fixture(scope="module")
def lab_cluster(cluster: None) -> Iterator[None]:
    """The cluster without its own operator, which would act on the laboratory's jobs as well."""
    deployment = ("-n", RELEASE_NAMESPACE, f"deploy/{RELEASE}")
    replicas = kubectl_json(*deployment[:2], "get", deployment[2])["spec"]["replicas"]
    if replicas:
        kubectl(*deployment[:2], "scale", deployment[2], "--replicas=0")
        kubectl(
            "-n", RELEASE_NAMESPACE, "wait", "pod", "--for=delete", "--timeout=60s",
            "-l", "app.kubernetes.io/component=operator",
        )  # fmt: skip
    yield
    if replicas:
        kubectl(*deployment[:2], "scale", deployment[2], f"--replicas={replicas}")
        kubectl(*deployment[:2], "rollout", "status", deployment[2], "--timeout=60s")


@pytest.fixture
def lab(
    lab_cluster: None, namespace: Namespace, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Laboratory]:
    """A laboratory of the test's own namespace; parametrize indirectly for its options."""
    with laboratory(namespace.name, tmp_path, **getattr(request, "param", {})) as laboratory_:
        yield laboratory_
        if request.node.stash.get(FAILED, False):
            save_laboratory(laboratory_, request.node.name)


@pytest.fixture
def ledger(lab: Laboratory) -> Iterator[Ledger]:
    """The ledger of the test's namespace."""
    with Ledger(lab.namespace) as kept:
        yield kept


@pytest.fixture
def lab_starts(lab: Laboratory) -> Iterator[Starts]:
    """Counts the starts of user code."""
    with Starts(bridge_address()) as counter:
        yield counter


@contextmanager
def kept(namespace: Namespace) -> Iterator[Ledger]:
    """A ledger of jobs of the release's own operator; holds it to its promises in the end."""
    with Ledger(namespace.name) as ledger:
        yield ledger
        with dev_access(RELEASE, RELEASE_NAMESPACE) as dev:
            ledger.check(redis_of(dev), dev.s3, dev.bucket)


def proven(ledger: Ledger, lab: Laboratory, starts: Starts | None = None) -> None:
    """Hold the laboratory's operators to their promises, then look for what is left behind."""
    redis, s3 = lab.redis.client(), lab.s3_server.client
    ledger.check(redis, s3, lab.bucket, starts.pods if starts else ())
    seconds = ledger.sweep(redis, s3, lab.bucket)
    print(f"{len(ledger.jobs)} jobs kept their promises; nothing left {seconds:.1f} s after them")


def save_laboratory(lab: Laboratory, test: str) -> None:
    """Keep the operators' logs, and what the proxies saw."""
    folder = ARTIFACTS / re.sub(r"[^\w.-]", "_", test)
    folder.mkdir(parents=True, exist_ok=True)
    for operator in lab.operators:
        if operator.log.exists():
            shutil.copy(operator.log, folder)
    for name, proxy in (("api", lab.api), ("s3", lab.s3)):
        lines = [json.dumps({"at": round(c.at, 3), "call": str(c)}) for c in proxy.calls]
        (folder / f"{name}-calls.jsonl").write_text("\n".join(lines))
    print(f"saved to {folder}")
