"""What most parts of the operator need."""

from dataclasses import dataclass

from nanogrid_operator.decision.admission import AdmissionQueue
from nanogrid_operator.metrics import OperatorMetrics
from nanogrid_operator.model.result_keys import ResultKeys
from nanogrid_operator.model.tenant import Tenants
from nanogrid_operator.parts.clients import Clients
from nanogrid_operator.reconcile.network_probe import NetworkProbe
from nanogrid_operator.settings import Settings
from nanogrid_operator.status.live_memory import LiveMemory
from nanogrid_operator.status.traces import JobTraces
from nanogrid_operator.status.writer import Writer
from nanogrid_operator.watch.cache import JobCache
from nanogrid_operator.workqueue import WorkQueue


@dataclass(frozen=True, slots=True)
class Shared:
    """The same object of each for all parts."""

    settings: Settings
    tenants: Tenants
    keys: ResultKeys
    clients: Clients
    queue: WorkQueue
    admission: AdmissionQueue
    network: NetworkProbe
    cache: JobCache
    writer: Writer
    memory: LiveMemory
    metrics: OperatorMetrics
    traces: JobTraces
