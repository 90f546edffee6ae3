"""Fixtures of tests in the laboratory; conftest.py offers them to all tests in this folder."""

import json
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chaos.lab.laboratory import Laboratory, bridge_address, laboratory
from chaos.ledger import Ledger
from chaos.rig import Rig
from chaos.starts import Starts
from scripts.devaccess import dev_access
from support.cluster_fixtures import ARTIFACTS, FAILED
from support.kubectl import Namespace, kubectl, kubectl_json, redis_of
from support.release import (
    IN_RELEASE,
    OPERATOR,
    RELEASE,
    RELEASE_NAMESPACE,
    start_operator,
    stop_operator,
)


@pytest.fixture(scope="module")
def lab_cluster(cluster: None) -> Iterator[None]:
    """The cluster without its own operator, which would also act on the laboratory's jobs."""
    replicas = kubectl_json(*IN_RELEASE, "get", OPERATOR)["spec"]["replicas"]
    if replicas:
        stop_operator()
    yield
    if replicas:
        start_operator(replicas)


@pytest.fixture
def lab(
    lab_cluster: None, namespace: Namespace, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Laboratory]:
    """A laboratory in the test's own namespace; its options come from an indirect parameter."""
    with laboratory(namespace.name, tmp_path, **getattr(request, "param", {})) as laboratory_:
        yield laboratory_
        if request.node.stash.get(FAILED, False):
            save_laboratory(laboratory_, request.node.name)


@pytest.fixture
def ledger(lab: Laboratory) -> Iterator[Ledger]:
    """The ledger of the test's namespace."""
    with Ledger(lab.namespace) as watching:
        yield watching


@pytest.fixture
def lab_starts(lab: Laboratory) -> Iterator[Starts]:
    """Counts the starts of user code."""
    with Starts(bridge_address()) as counter:
        yield counter


@pytest.fixture
def rig(lab: Laboratory, ledger: Ledger, lab_starts: Starts, namespace: Namespace) -> Rig:
    """The laboratory with the test's namespace, ledger and counter of starts."""
    return Rig(lab, ledger, lab_starts, namespace)


@contextmanager
def lab_in_namespace(prefix: str, directory: Path) -> Iterator[Laboratory]:
    """A laboratory in a new namespace, for all tests of a module."""
    name = f"{prefix}-{uuid.uuid4().hex[:6]}"
    kubectl("create", "namespace", name)
    try:
        with laboratory(name, directory) as laboratory_:
            yield laboratory_
    finally:
        kubectl("delete", "namespace", name, "--wait=false")


@contextmanager
def checked_ledger(namespace: Namespace) -> Iterator[Ledger]:
    """A ledger for jobs of the release's own operator; checks its guarantees at the end."""
    with Ledger(namespace.name) as ledger:
        yield ledger
        with dev_access(RELEASE, RELEASE_NAMESPACE) as dev:
            ledger.check(redis_of(dev), dev.s3, dev.area(namespace.name))


def save_laboratory(lab: Laboratory, test: str) -> None:
    """Save the operators' logs and the calls that the proxies recorded."""
    folder = ARTIFACTS / re.sub(r"[^\w.-]", "_", test)
    folder.mkdir(parents=True, exist_ok=True)
    for operator in lab.operators:
        if operator.log.exists():
            shutil.copy(operator.log, folder)
    for name, proxy in (("api", lab.api), ("s3", lab.s3)):
        lines = [json.dumps({"at": round(c.at, 3), "call": str(c)}) for c in proxy.calls]
        (folder / f"{name}-calls.jsonl").write_text("\n".join(lines))
    print(f"saved to {folder}")
