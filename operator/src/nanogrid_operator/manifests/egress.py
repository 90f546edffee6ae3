"""The variables that lead the HTTPS clients of a job's code to the egress proxy. Pure."""

from typing import Final

from nanogrid import names
from nanogrid.api.job import ExecutionJob, Spec
from nanogrid.api.runtime import Timeouts
from nanogrid.egress_grant import Grant, proxy_url
from nanogrid_operator.settings import Settings

# For grace periods, and for clocks of the proxy's and the operator's node that differ.
MARGIN_SECONDS: Final = 2 * 3600
LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


def proxy_env(job: ExecutionJob, attempt: int, settings: Settings, now: float) -> dict[str, str]:
    """The variables of a job with ``network.hosts``; none for other jobs.

    A variable that the job sets itself, in upper or lower case, is left out in both cases: some
    programs prefer one, some the other.

    Args:
        job: the job.
        attempt: number of the attempt.
        settings: the operator's settings.
        now: seconds since the epoch.
    """
    network = job.spec.network
    if network is None or not network.hosts or not settings.egress_proxy_url:
        return {}
    grant = Grant(
        namespace=job.metadata["namespace"],
        job=job.metadata["name"],
        uid=job.metadata["uid"],
        hosts=tuple(network.hosts),
        expires=int(now) + _longest(job.spec),
        request_id=job.spec.request_id or job.metadata["uid"],
        attempt=attempt,
    )
    url = proxy_url(settings.egress_proxy_url, settings.egress_key, grant)
    direct = ",".join([*LOOPBACK, *network.cidrs])
    own = {variable.name.lower() for variable in job.spec.env}
    pairs = ((names.ENV_HTTPS_PROXY, url), ("no_proxy", direct))
    found = {name: value for name, value in pairs if name not in own}
    return found | {name.upper(): value for name, value in found.items()}


def _longest(spec: Spec) -> int:
    """Seconds after which no pod that is created now still runs.

    The kubelet counts a pod's deadline from the pod's start, which ``startupSeconds`` limit.
    """
    timeouts = spec.timeouts or Timeouts()
    running = spec.execution_seconds
    if spec.is_session:
        rules = spec.session_rules
        running = rules.lifetime_seconds + rules.execution_seconds
    waiting = 2 * timeouts.startup_seconds + timeouts.input_sync_seconds + timeouts.upload_seconds
    return waiting + running + MARGIN_SECONDS
