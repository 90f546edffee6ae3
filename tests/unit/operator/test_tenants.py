"""NanoGridTenants: read before any worker starts, then kept current; invalid ones allow nothing."""

import asyncio
import json
from typing import Any

import pytest

from nanogrid.types import Json
from nanogrid_operator.model.errors import InvalidSpecError
from nanogrid_operator.model.tenant import Tenants
from nanogrid_operator.watch.tenants import POLL_SECONDS
from support.builders import a_job_body, an_object, some_settings
from support.operator_fakes import JOBS
from support.operator_world import World, run_for

pytestmark = pytest.mark.security

TENANTS = "/apis/nanogrid.io/v1alpha1/namespaces/platform/nanogridtenants"


def a_tenant(name: str = "team-a", version: int = 5, **spec: Any) -> Json:
    """A NanoGridTenant in the release's namespace."""
    metadata = {"name": name, "uid": f"uid-{name}", "resourceVersion": str(version)}
    return an_object("NanoGridTenant", metadata, spec, namespace="platform")


def a_world(**changes: Any) -> World:
    given: Json = {"watch_namespaces": "team-a", "s3_secret": "", "namespace": "platform"}
    return World(some_settings(**(given | changes)))


def account_of(world: World, namespace: str = "team-a") -> list[str]:
    """The service accounts that a namespace may use."""
    return world.parts.tenants.of(namespace).allow.service_accounts


ALLOW = {"allow": {"serviceAccounts": ["reports"]}}


async def test_tenants_are_read_before_the_first_job() -> None:
    world = a_world()
    world.kube.put(TENANTS, a_tenant(**ALLOW))

    await world.parts.tenant_poll.first()

    assert (account_of(world), account_of(world, "team-b")) == (["reports"], [])


async def test_without_an_answer_the_operator_waits() -> None:
    world = a_world()
    world.kube.put(TENANTS, a_tenant(**ALLOW))
    world.kube.refuse("LIST", 403)
    world.kube.refuse("LIST", 0)
    first = asyncio.create_task(world.parts.tenant_poll.first())
    await asyncio.sleep(1)
    waits = first.done()
    await first

    assert not waits
    assert account_of(world) == ["reports"]


async def test_without_the_crd_the_defaults_apply(caplog: pytest.LogCaptureFixture) -> None:
    world = a_world(tenant_defaults=json.dumps(ALLOW))
    poll = world.parts.tenant_poll
    with caplog.at_level("INFO", logger="nanogrid.tenants"):
        for call in (poll.first, poll.poll, poll.poll):
            world.kube.refuse("LIST", 404)
            await call()

    assert account_of(world) == ["reports"]
    assert [r.message for r in caplog.records].count(
        "the CRD of NanoGridTenant is not installed: the defaults apply"
    ) == 1


async def test_without_its_namespace_the_operator_reads_no_tenant_at_all() -> None:
    """A LIST of all namespaces would take the word of every tenant about itself."""
    world = a_world(namespace="")
    world.kube.put("/apis/nanogrid.io/v1alpha1/nanogridtenants", a_tenant(**ALLOW))

    await world.parts.tenant_poll.first()
    await run_for(1, world.parts.tenant_poll.run())

    assert account_of(world) == []


async def test_a_change_has_its_effect_within_15_seconds_and_wakes_queued_jobs() -> None:
    world = a_world(max_pods=1)
    await world.parts.tenant_poll.first()
    other = a_job_body(name="waits", uid="uid-waits")
    world.kube.put(JOBS, other)
    world.cache.put_job(other)
    world.see_pod()
    await world.parts.reconciler.reconcile("uid-waits")
    assert world.parts.admission.queued("team-a") == ["uid-waits"]
    before = len(world.queue)

    world.kube.put(TENANTS, a_tenant(**ALLOW))
    await run_for(15, world.parts.tenant_poll.run())

    assert account_of(world) == ["reports"]
    assert len(world.queue) == before + 1
    assert POLL_SECONDS < 15


async def test_a_tenant_that_is_deleted_has_the_defaults_again() -> None:
    world = a_world()
    world.kube.put(TENANTS, a_tenant(**ALLOW))
    await world.parts.tenant_poll.first()

    del world.kube.objects[f"{TENANTS}/team-a"]
    await world.parts.tenant_poll.poll()

    assert account_of(world) == []


async def test_an_api_server_that_fails_later_changes_nothing() -> None:
    world = a_world()
    world.kube.put(TENANTS, a_tenant(**ALLOW))
    await world.parts.tenant_poll.first()

    for code in (500, 403, 404):  # also 404: an API server that starts does not know its CRDs yet
        world.kube.refuse("LIST", code)
    await run_for(35, world.parts.tenant_poll.run())

    assert not world.kube.refusals["LIST"]
    assert account_of(world) == ["reports"]


async def test_an_invalid_tenant_gets_one_event_and_its_jobs_are_refused() -> None:
    world = a_world()
    world.kube.put(TENANTS, a_tenant(weight="much"))
    world.kube.put(TENANTS, a_tenant("team-b", **ALLOW))

    await world.parts.tenant_poll.first()
    await world.parts.tenant_poll.poll()
    await world.reconcile()

    events = [e for e in world.kube.events if e["involvedObject"]["kind"] == "NanoGridTenant"]
    assert len(events) == 1
    assert events[0]["involvedObject"]["name"] == "team-a"
    assert (events[0]["metadata"]["namespace"], events[0]["type"]) == ("platform", "Warning")
    assert events[0]["message"].startswith("spec.weight: ")
    assert world.end[:2] == ("Failed", "InvalidSpec")
    assert "the NanoGridTenant team-a is not valid" in world.status["message"]
    assert account_of(world, "team-b") == ["reports"]


async def test_a_job_that_runs_is_not_touched_by_a_change() -> None:
    world = a_world()
    await world.parts.tenant_poll.first()
    await world.reconcile()
    writes = list(world.kube.writes)

    world.kube.put(TENANTS, a_tenant(weight="much"))
    await world.parts.tenant_poll.poll()
    await world.reconcile()

    assert world.kube.writes == writes


def test_a_block_of_a_tenant_replaces_the_default_block() -> None:
    defaults = {"allow": {"secrets": ["a"]}, "limits": {"jobs": 3}, "weight": 2}
    tenants = Tenants(some_settings(tenant_defaults=json.dumps(defaults)))
    tenants.replace([a_tenant("team-b", allow={"images": ["x"]}, bucket="other")])

    own, default = tenants.of("team-b"), tenants.of("team-c")

    assert (own.allow.secrets, own.allow.images, own.limits.jobs, own.weight) == ([], ["x"], 3, 2)
    assert (default.allow.secrets, default.allow.images) == (["a"], [])
    assert (own.area.bucket, own.area.root, default.area.root) == ("other", "team-b/", "team-c/")


def test_an_invalid_tenant_allows_nothing_until_it_is_corrected() -> None:
    tenants = Tenants(some_settings())
    tenants.replace([a_tenant(colour="red")])
    with pytest.raises(InvalidSpecError, match="colour"):
        tenants.of("team-a")

    tenants.replace([a_tenant()])

    assert tenants.of("team-a").weight == 1
