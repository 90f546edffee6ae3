"""Two operators in one cluster: each one acts on the jobs of its own controller class only."""

import copy
import json
from dataclasses import replace
from typing import Any

import kopf
import pytest
from kopf._cogs.structs.references import Resource

from nanogrid import controller_class, names
from nanogrid.settings import SettingsError
from nanogrid.types import Json
from nanogrid_operator.kube.objects import pod_name, timestamp
from nanogrid_operator.manifests.network import namespace_policies
from nanogrid_operator.manifests.placement import place
from nanogrid_operator.manifests.report_token import owned_objects as report_objects
from nanogrid_operator.manifests.session import owned_objects as session_objects
from nanogrid_operator.model.facts import job_facts
from nanogrid_operator.settings import Settings
from nanogrid_operator.watch.handlers import LISTED, configure
from nanogrid_operator.watch.selection import Selection
from nanogrid_operator.watch.transform import transform_job
from support.builders import CREATED, REQUIRED_ENVIRONMENT, a_job_body, a_pod_body, some_settings
from support.operator_fakes import JOBS, PODS
from support.operator_world import World

pytestmark = pytest.mark.security

BETA = "beta"
ENDED: Json = {
    "phase": "Succeeded",
    "completionTime": timestamp(CREATED),
    "delivery": {"state": "Delivered"},
}


def job_of(own: str, name: str, **spec: Any) -> Json:
    named: dict[str, Any] = {"controllerClass": own} if own else {}
    return a_job_body(name=name, uid=f"uid-{name}", **named, **spec)


def pod_of(own: str, job: str) -> Json:
    uid = f"uid-{job}"
    pod = a_pod_body(job_uid=uid, uid=f"pod-{job}")
    pod["metadata"]["name"] = pod_name(job, uid, 0)
    pod["metadata"]["ownerReferences"] = [{"kind": names.KIND, "name": job, "uid": uid}]
    pod["metadata"]["labels"] |= {
        "app.kubernetes.io/managed-by": names.MANAGED_BY,
        names.LABEL_JOB: job,
        **controller_class.labels(own),
    }
    return pod


class TwoOperators:
    """One API server with a job of each class, and an operator for each."""

    def __init__(self) -> None:
        settings = some_settings(watch_namespaces="team-a", s3_secret="")
        self.plain = World(settings, job_of("", "plain"))
        self.beta = World(replace(settings, controller_class=BETA), job_of(BETA, "beta"))
        self.kube = self.beta.kube = self.plain.kube
        self.kube.put(JOBS, job_of(BETA, "beta"))
        self.plain.start()
        self.beta.start()

    @property
    def operators(self) -> dict[str, World]:
        return {"": self.plain, BETA: self.beta}

    async def run(self, world: World) -> None:
        await world.parts.resync.first()
        world.queue.add("uid-plain")
        world.queue.add("uid-beta")
        await world.work(10)

    def pods(self) -> list[str]:
        return sorted(
            body["metadata"]["labels"][names.LABEL_JOB]
            for path, body in self.kube.objects.items()
            if path.startswith(PODS)
        )


@pytest.mark.parametrize(("own", "job"), [("", "plain"), (BETA, "beta")])
async def test_an_operator_starts_the_jobs_of_its_class_only(own: str, job: str) -> None:
    two = TwoOperators()

    await two.run(two.operators[own])
    two.operators[own].now += 5
    await two.run(two.operators[own])

    assert two.pods() == [job]
    statuses = {
        name: two.kube.objects[f"{JOBS}/{name}"].get("status") for name in ("plain", "beta")
    }
    assert [name for name, status in statuses.items() if status] == [job]
    (pod,) = (b for path, b in two.kube.objects.items() if path.startswith(PODS))
    assert pod["metadata"]["labels"].get(names.LABEL_CONTROLLER_CLASS, "") == own


async def test_both_together_start_each_job_once() -> None:
    two = TwoOperators()

    for world in (two.plain, two.beta, two.plain, two.beta):
        await two.run(world)

    assert two.pods() == ["beta", "plain"]
    created = [write for write in two.kube.writes if write == f"POST {PODS}"]
    assert len(created) == 2


@pytest.mark.parametrize("own", ["", BETA])
async def test_the_sweep_leaves_the_pods_of_the_other_installation(own: str) -> None:
    """Its own orphan goes; the other one's pods stay, whether their jobs exist or not."""
    two = TwoOperators()
    for each in ("", BETA):
        two.kube.put(PODS, pod_of(each, each or "plain"))
        lost = pod_of(each, f"lost-{each or 'plain'}")
        lost["metadata"]["ownerReferences"] = []
        two.kube.put(PODS, lost)
    world = two.operators[own]
    world.now += 700

    await world.resync()

    assert two.pods() == sorted(
        {"plain", "beta", "lost-plain", "lost-beta"} - {f"lost-{own or 'plain'}"}
    )
    assert world.parts.resync.orphans_deleted == 1


async def test_the_sweep_asks_for_the_job_of_a_pod_with_another_class_in_its_label() -> None:
    """Whoever changes the label of a pod does not make the other operator delete it."""
    two = TwoOperators()
    relabelled = pod_of("", "beta")
    two.kube.put(PODS, relabelled)
    two.plain.now += 700

    await two.plain.resync()
    stays = two.pods()
    del two.kube.objects[f"{JOBS}/beta"]
    await two.plain.resync()

    assert (stays, two.pods()) == (["beta"], [])


async def test_a_sweep_that_cannot_ask_deletes_nothing() -> None:
    two = TwoOperators()
    lost = pod_of("", "lost")
    two.kube.put(PODS, lost)
    two.plain.now += 700
    two.kube.refuse("GET", 503)

    await two.plain.resync()

    assert two.pods() == ["lost"]


@pytest.mark.parametrize("own", ["", BETA])
async def test_an_api_server_that_cannot_select_jobs_by_class(own: str) -> None:
    """Kubernetes before 1.31 answers 400 to the selector; the operator selects by itself."""
    two = TwoOperators()
    world = two.operators[own]
    two.kube.refuse("SELECT", 400, "BadRequest", "field label not supported: spec.controllerClass")

    await two.run(world)

    assert world.cache.uids() == [f"uid-{own or 'plain'}"]
    assert world.parts.selection.job_fields == ""
    assert two.pods() == [own or "plain"]


@pytest.mark.parametrize("kind", ["ADDED", "MODIFIED", LISTED])
async def test_events_of_the_other_installation_are_not_taken_in(kind: str | None) -> None:
    two = TwoOperators()
    for world in two.operators.values():
        for body in (job_of("", "plain"), job_of(BETA, "beta")):
            world.parts.handlers.on_job(kind, body)

    assert two.plain.cache.uids() == ["uid-plain"]
    assert two.beta.cache.uids() == ["uid-beta"]


@pytest.mark.parametrize("selects", [True, False])
async def test_a_function_counts_each_run_once(selects: bool) -> None:
    """Each operator offers the runs of its class, also if the API server sends it all jobs."""
    two = TwoOperators()
    offered: dict[str, list[str]] = {}
    for own, world in two.operators.items():
        seen: list[Json] = []
        world.parts.resync.on_job = seen.append
        if not selects:
            two.kube.refuse("SELECT", 400)
        await world.resync()
        offered[own] = [body["metadata"]["name"] for body in seen]

    assert offered == {"": ["plain"], BETA: ["beta"]}


async def test_an_expired_job_of_the_other_installation_stays() -> None:
    two = TwoOperators()
    for own, name in (("", "plain"), (BETA, "beta")):
        two.kube.put(JOBS, job_of(own, name, status=ENDED, ttlSecondsAfterFinished=0))

    await two.run(two.beta)

    left = [path.rpartition("/")[2] for path in two.kube.objects if path.startswith(JOBS)]
    assert left == ["plain"]


def test_a_settled_job_keeps_its_class_in_the_cache() -> None:
    body = transform_job(job_of(BETA, "beta", status=ENDED))

    assert controller_class.class_of(body) == BETA
    assert controller_class.class_of(transform_job(job_of("", "plain", status=ENDED))) == ""


@pytest.mark.parametrize("own", ["", BETA])
def test_kopf_watches_the_same_selection(own: str) -> None:
    settings, selection = kopf.OperatorSettings(), Selection(own)
    configure(settings, selection)
    jobs = Resource(names.GROUP, names.VERSION, names.PLURAL)

    assert set(settings.watching.field_selectors.collect(jobs)) == {f"spec.controllerClass={own}"}
    assert set(settings.watching.label_selectors.collect(jobs)) == set()

    selection.without_fields()
    everything = kopf.OperatorSettings()
    configure(everything, selection)
    assert set(everything.watching.field_selectors.collect(jobs)) == set()


def _selects(policy: Json, pod: Json) -> bool:
    labels, selector = pod["metadata"]["labels"], policy["spec"]["podSelector"]
    terms = [
        {
            "Exists": term["key"] in labels,
            "DoesNotExist": term["key"] not in labels,
            "In": labels.get(term["key"]) in term.get("values", ()),
        }[term["operator"]]
        for term in selector["matchExpressions"]
    ]
    return all(terms) and labels.items() >= selector.get("matchLabels", {}).items()


def test_policies_of_two_installations_in_one_namespace_select_their_own_pods() -> None:
    plain, beta = (
        {p["metadata"]["name"]: p for p in namespace_policies(some_settings(controller_class=own))}
        for own in ("", BETA)
    )

    assert not set(plain) & set(beta)
    assert {f"{name}.{BETA}" for name in plain} == set(beta)
    for direction in ("ingress", "egress"):
        name = f"nanogrid-sandbox-{direction}"
        assert _selects(plain[name], pod_of("", "a"))
        assert not _selects(plain[name], pod_of(BETA, "b"))
        assert _selects(beta[f"{name}.{BETA}"], pod_of(BETA, "b"))
        assert not _selects(beta[f"{name}.{BETA}"], pod_of("", "a"))


def test_objects_of_a_job_have_its_class_as_label() -> None:
    settings = some_settings(report_key="k" * 16, session_key="k" * 16)
    for own in ("", BETA):
        job = job_facts(copy.deepcopy(job_of(own, "s", mode="Session")))
        made = report_objects(job, settings) + session_objects(job, settings)
        classes = {
            body["metadata"]["labels"].get(names.LABEL_CONTROLLER_CLASS, "") for *_, body in made
        }
        assert (len(made) >= 2, classes) == (True, {own})


@pytest.mark.parametrize("own", ["", BETA])
def test_labels_of_the_installation_do_not_change_the_class_of_a_pod(own: str) -> None:
    given = {names.LABEL_CONTROLLER_CLASS: "other", "team": "a"}
    settings = some_settings(pod_labels=json.dumps(given))
    pod = pod_of(own, "a")
    pod["metadata"]["annotations"] = {}
    place(pod, settings)

    assert pod["metadata"]["labels"].get(names.LABEL_CONTROLLER_CLASS, "") == own
    assert pod["metadata"]["labels"]["team"] == "a"


@pytest.mark.parametrize("value", ["Beta", "a.b", "-a", "a-", "a" * 64, "a=b", "a,b"])
def test_a_class_that_no_job_can_have_is_refused_at_the_start(value: str) -> None:
    with pytest.raises(SettingsError, match=controller_class.ENV):
        Settings.from_env(REQUIRED_ENVIRONMENT | {controller_class.ENV: value})


@pytest.mark.parametrize("value", ["", "beta", "a", "team-1", "a" * 63])
def test_a_valid_class_is_accepted(value: str) -> None:
    assert (
        Settings.from_env(REQUIRED_ENVIRONMENT | {controller_class.ENV: value}).controller_class
        == value
    )
