"""Builds what keeps pools and claims their pods."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from nanogrid_operator.kube.network_policies import NetworkPolicies
from nanogrid_operator.kube.secrets import S3SecretReplica
from nanogrid_operator.manifests.network import namespace_policies
from nanogrid_operator.model.claim import ClaimProofs
from nanogrid_operator.model.pool import Pool
from nanogrid_operator.parts.shared import Shared
from nanogrid_operator.reconcile.claim_records import ClaimRecords
from nanogrid_operator.reconcile.claims import PodClaims
from nanogrid_operator.reconcile.pool_templates import PoolTemplates
from nanogrid_operator.reconcile.pools import PoolKeeper
from nanogrid_operator.reconcile.prepare import Preparation
from nanogrid_operator.watch.agents import WaitingAgents
from nanogrid_operator.watch.pools import PoolCache
from nanogrid_operator.workqueue import WorkQueue


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What the operator has observed of pools, and the queue of pools to look at."""

    proofs: ClaimProofs
    queue: WorkQueue
    pools: PoolCache
    agents: WaitingAgents


def build_waiting(master: str, clock: Callable[[], float] = time.time) -> Waiting:
    """Build it.

    Args:
        master: The installation's secret key.
        clock: Seconds since the epoch, as for the keeper of pools.
    """
    queue = WorkQueue(paused=True)  # its keeper resumes it
    proofs = ClaimProofs(master)

    def changed(pod_uid: str) -> None:
        known = pools.waiting_pod(pod_uid)
        if known is not None:
            queue.add(known[0])

    agents = WaitingAgents(changed, clock)
    pools = PoolCache(proofs, queue.add, agents.leave)
    return Waiting(proofs=proofs, queue=queue, pools=pools, agents=agents)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolParts:
    """What acts for pools; ``policies`` and ``secrets`` are those of job's pods too."""

    keeper: PoolKeeper
    claims: PodClaims
    preparation: Preparation
    policies: NetworkPolicies
    secrets: S3SecretReplica


def build_pools(
    shared: Shared, waiting: Waiting, monotonic: Callable[[], float] = time.monotonic
) -> PoolParts:
    """Build it; ``monotonic`` has the seconds of durations."""
    settings, clients = shared.settings, shared.clients
    policies = NetworkPolicies(
        clients.kube, namespace_policies(settings) if settings.network_policies else []
    )
    secrets = S3SecretReplica(clients.kube, settings)
    templates = PoolTemplates(
        settings=settings, tenants=shared.tenants, network=shared.network, proofs=waiting.proofs
    )
    preparation = Preparation(
        settings=settings,
        tenants=shared.tenants,
        network=shared.network,
        traces=shared.traces,
        clock=clients.clock,
    )
    keeper = PoolKeeper(
        pools=waiting.pools,
        agents=waiting.agents,
        templates=templates,
        queue=waiting.queue,
        kube=clients.kube,
        policies=policies,
        secrets=secrets,
        clock=clients.clock,
        monotonic=monotonic,
    )

    def claimed(pool: Pool, seconds: float) -> None:
        keeper.claimed(pool, seconds)
        shared.metrics.pools.claimed(pool, seconds)

    claims = PodClaims(
        settings=settings,
        cache=shared.cache,
        pools=waiting.pools,
        agents=waiting.agents,
        templates=templates,
        records=ClaimRecords(kube=clients.kube, proofs=waiting.proofs, clock=clients.clock),
        kube=clients.kube,
        proofs=waiting.proofs,
        preparation=preparation,
        wanted=keeper.wanted,
        claimed=claimed,
        missed=shared.metrics.pools.missed,
        clock=clients.clock,
        monotonic=monotonic,
    )
    return PoolParts(
        keeper=keeper,
        claims=claims,
        preparation=preparation,
        policies=policies,
        secrets=secrets,
    )
