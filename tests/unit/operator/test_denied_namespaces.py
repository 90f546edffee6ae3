"""A job in a namespace that the installation denies ends, and nothing is created for it."""

import pytest

from support.builders import some_settings
from support.operator_fakes import PODS
from support.operator_world import World

pytestmark = pytest.mark.security

OTHERS = "kube-system,kube-public"


@pytest.mark.parametrize("mode", [{}, {"mode": "Session"}], ids=["batch", "session"])
async def test_a_job_in_a_denied_namespace_is_refused_with_a_hint(mode: dict[str, str]) -> None:
    settings = some_settings(no_jobs_namespaces=f"{OTHERS}, team-a", session_key="k" * 32)
    world = World(settings, **mode)

    await world.reconcile()

    status = world.status
    assert (status["phase"], status["reason"]) == ("Failed", "InvalidSpec")
    assert "namespace team-a takes no ExecutionJobs" in status["message"]
    assert "tenancy.deniedNamespaces" in status["message"]
    assert not [write for write in world.kube.writes if write.startswith("POST")]


async def test_a_job_in_another_namespace_gets_its_pod() -> None:
    world = World(some_settings(no_jobs_namespaces=OTHERS, s3_secret=""))

    await world.reconcile()

    assert world.kube.writes == [f"POST {PODS}"]
