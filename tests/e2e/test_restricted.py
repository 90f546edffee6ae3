"""200 random valid jobs: the API server accepts them, and a restricted namespace admits their pods.

Everything is a dry run on the API server: defaulting, validation and admission happen, no pod runs.
"""

import copy
import json
import uuid
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from nanogrid import names
from nanogrid.api.job import ExecutionJob
from nanogrid.types import Json
from nanogrid_operator.manifests.pod import build_pod
from support import strategies
from support.builders import some_settings, tenant_of
from support.kubectl import KubectlError, Namespace, job, kubectl
from support.pod_manifests import OTHER_BUCKETS

pytestmark = pytest.mark.security

COUNT = 200
ACCOUNT = "reports"  # of the random specs
BATCH_ONLY = ("command", "args", "stdin")


def sessions_of(spec: Json) -> Json:
    """The same spec as a session."""
    return {k: v for k, v in spec.items() if k not in BATCH_ONLY} | {"mode": "Session"}


specs = strategies.specs | strategies.specs.map(sessions_of)
variants = st.fixed_dictionaries(
    {
        "s3_secret": st.sampled_from(["", "nanogrid-s3"]),
        "guaranteed": st.booleans(),
        "host_users": st.booleans(),
        "storage_medium": st.sampled_from(["", "Memory"]),
    }
)


def samples(count: int) -> list[tuple[Json, Json]]:
    """Different specs, each with settings of an installation; the same ones in every run."""
    found: dict[str, tuple[Json, Json]] = {}

    @settings(
        max_examples=3 * count, derandomize=True, database=None, deadline=None,
        phases=[Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(specs, variants)
    def collect(spec: Json, changes: Json) -> None:
        found[json.dumps(spec, sort_keys=True)] = copy.deepcopy(spec), changes

    collect()
    return list(found.values())[-count:]  # the first ones are the simplest


@pytest.fixture
def priority(cluster: None) -> Iterator[str]:
    """A priority class; the admission of pods looks it up."""
    name = f"e2e-{uuid.uuid4().hex[:8]}"
    kubectl("create", "priorityclass", name, "--value=-1")
    yield name
    kubectl("delete", "priorityclass", name)


def jobs_in(namespace: Namespace, priority: str) -> Iterator[tuple[Json, Json]]:
    """Each job with the pod that an operator makes for it."""
    for number, (spec, changes) in enumerate(samples(COUNT)):
        if "priorityClassName" in spec:
            spec["priorityClassName"] = priority
        body = job(f"random-{number}", **spec)
        body["metadata"]["namespace"] = namespace.name
        uid = str(uuid.uuid5(uuid.NAMESPACE_DNS, str(number)))
        known = {**body, "metadata": {**body["metadata"], "uid": uid}}
        chosen = some_settings(
            compatibility_namespace=namespace.name, network_policies=True, **changes
        )
        tenant = tenant_of(chosen, namespace.name, allow={"buckets": OTHER_BUCKETS})
        yield body, build_pod(ExecutionJob.model_validate(known), 0, chosen, tenant)


def dry_run(namespace: Namespace, objects: list[Json]) -> list[str]:
    """Create the objects in a dry run of the API server; returns what it would have created."""
    everything = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    return namespace.kubectl(
        "create", "--dry-run=server", "-o", "name", "-f", "-", stdin=everything
    ).splitlines()


def spoiled(pod: Json) -> Iterator[Json]:
    """The pod, each time with one right that a sandbox must not have."""
    for change in RIGHTS:
        bad = copy.deepcopy(pod)
        change(bad["spec"])
        yield bad


RIGHTS: tuple[Callable[[Json], None], ...] = (
    lambda spec: spec["volumes"].append({"name": "host", "hostPath": {"path": "/"}}),
    lambda spec: spec.update(hostNetwork=True),
    lambda spec: sandbox(spec).update(allowPrivilegeEscalation=True),
    lambda spec: sandbox(spec)["capabilities"].update(add=["NET_RAW"]),
    lambda spec: sandbox(spec).update(runAsNonRoot=False, runAsUser=0),
)


def sandbox(spec: Json) -> Json:
    """The security context of the container with user code."""
    found: Json = spec["containers"][1]["securityContext"]
    return found


def test_a_restricted_namespace_admits_the_pods_of_random_jobs(
    namespace: Namespace, priority: str
) -> None:
    namespace.kubectl("create", "serviceaccount", ACCOUNT)
    namespace.wait_for_account()
    jobs, pods = zip(*jobs_in(namespace, priority), strict=True)

    assert {body["spec"].get("mode", "Batch") for body in jobs} == {"Batch", names.MODE_SESSION}
    assert len(dry_run(namespace, list(jobs))) == COUNT
    assert len(dry_run(namespace, list(pods))) == COUNT
    # The positive control: this namespace refuses what is not restricted, and only that.
    ordinary = next(pod for pod in pods if pod["spec"].get("hostUsers", True))
    for bad in spoiled(ordinary):
        with pytest.raises(KubectlError, match='violates PodSecurity "restricted'):
            dry_run(namespace, [bad])
    with pytest.raises(KubectlError, match=r"spec\.backoffLimit"):
        dry_run(namespace, [job("bad", code={"inline": "1"}, backoffLimit=99)])
