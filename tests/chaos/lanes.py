"""Lanes: several operators in parallel, each with a namespace, proxies and a ledger.

They share one laboratory's Redis and S3 server, so that each costs about one second. A lane runs
one case after the other; :func:`spread` gives a free lane the next case.
"""

import queue
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TypeVar

from chaos.lab.apiserver import api_server
from chaos.lab.faultproxy import FaultProxy
from chaos.lab.laboratory import Laboratory
from chaos.ledger import Ledger
from chaos.pools import HandOvers
from support.kubectl import Namespace, kubectl
from support.operator_process import OperatorProcess
from support.s3_server import free_port

C = TypeVar("C")
R = TypeVar("R")


@dataclass(frozen=True)
class Lane:
    """One operator with its own namespace, proxy and ledger."""

    namespace: Namespace
    api: FaultProxy
    results: FaultProxy  # in front of the operator, for its pods
    operator: OperatorProcess
    ledger: Ledger
    hand_overs: HandOvers


@contextmanager
def fresh_namespace() -> Iterator[Namespace]:
    """A namespace that admits only pods of the restricted standard."""
    namespace = Namespace(f"lane-{uuid.uuid4().hex[:8]}")
    kubectl("create", "namespace", namespace.name)
    kubectl("label", "namespace", namespace.name, "pod-security.kubernetes.io/enforce=restricted")
    try:
        yield namespace
    finally:
        kubectl("delete", "namespace", namespace.name, "--wait=false")


@contextmanager
def lanes(lab: Laboratory, count: int, **settings: str) -> Iterator[list[Lane]]:
    """``count`` lanes, with their operators started and ready."""
    with ExitStack() as stack:
        created = []
        for _ in range(count):
            namespace = stack.enter_context(fresh_namespace())
            api = stack.enter_context(api_server())
            port = free_port()
            results = FaultProxy(f"http://127.0.0.1:{port}", host=lab.address)
            stack.enter_context(results)
            own = {
                "NANOGRID_WATCH_NAMESPACES": namespace.name,
                "NANOGRID_PORT": str(port),
                "NANOGRID_RESULTS_URL": f"{results.url}/v1/results",
                **settings,
            }
            operator = lab.operator(api, **own)
            stack.callback(operator.kill)
            ledger = stack.enter_context(Ledger(namespace.name))
            created.append(
                Lane(namespace, api, results, operator.start(), ledger, HandOvers(results))
            )
        for lane in created:
            lane.operator.wait_ready()
        yield created


def spread(lanes: Sequence[Lane], cases: Sequence[C], run: Callable[[Lane, C], R]) -> list[R]:
    """Run each case in a free lane; returns the results in the order of the cases.

    Raises:
        BaseExceptionGroup: the errors of the cases, after all cases have run.
    """
    free: queue.SimpleQueue[Lane] = queue.SimpleQueue()
    for lane in lanes:
        free.put(lane)

    def next_free(case: C) -> R:
        lane = free.get()
        try:
            return run(lane, case)
        except Exception as error:
            error.add_note(f"case: {case}")
            raise
        finally:
            free.put(lane)

    with ThreadPoolExecutor(len(lanes)) as pool:
        futures = [pool.submit(next_free, case) for case in cases]
    errors = [e for f in futures if (e := f.exception()) is not None]
    if errors:
        raise BaseExceptionGroup(f"{len(errors)} of {len(cases)} cases failed", errors)
    return [f.result() for f in futures]
