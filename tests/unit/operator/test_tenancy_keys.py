"""The S3 keys and buckets that a job names: only those of its own namespace, in any spelling."""

from typing import Any

import pytest

from nanogrid import wire
from nanogrid.api.job import ExecutionJob
from nanogrid.reasons import Reason
from nanogrid.types import Json
from nanogrid_operator.manifests.task import task_for
from nanogrid_operator.model.errors import InvalidSpecError
from nanogrid_operator.model.function_ref import FunctionRefused
from nanogrid_operator.model.tenant import Tenant, Tenants
from support.builders import JOB_UID, a_job_body, a_result, some_settings, tenant_of
from support.function_builders import a_pinned_function, a_version
from support.operator_world import World

pytestmark = pytest.mark.security

SETTINGS = some_settings()  # team-a has no root
TEAM_B = tenant_of(namespace="team-b")  # root team-b/
DOT, SLASH = "\uff0e", "\uff0f"  # of full width

HOSTILE = [
    # Other places of the bucket: the compatibility namespace's, and those of another namespace.
    *("results/", "outputs/", "sessions/r/", "code/x", "layers/", "uploads/", "data"),
    *("team-a/", "team-a/results/", "team-a/outputs/r/", "team-a", "team-bb/", "team-b.x/y"),
    *("Team-B/data/", "TEAM-B/x", "tea", "t", "team-*/x", "team-b?/../x", "team-b-x/y"),
    "t\u0435am-b/data/",  # a Cyrillic letter
    "team\u00ad-b/data/",
    # Reserved folders, and the root that contains them.
    *("team-b", "team-b/", "team-b/results/", "team-b/results", "team-b/sessions/r/"),
    *("team-b/layers/x", "team-b/Results/x", "team-b/RESULTS", "team-b/results./x"),
    *("team-b/\uff52esults/x", "team-b/ results/x", "team-b/results /x"),
    # Parents, empty and dot parts.
    *("team-b/../team-a/x", "team-b/..", "../team-a/x", "team-b/x/../../results/", "team-b/./x"),
    *("./team-b/data/", "/team-a/x", "/team-b/data/", "//team-b/x", "team-b//results/"),
    *("team-b/data//x", "team-b/x/..", "team-b/.", "team-b/.../x", "team-b/.. /x", "team-b/. ./x"),
    # Encoded, once or twice, and overlong.
    *("team-b/%2e%2e/team-a/x", "team-b/%2E%2E%2Fteam-a", "team-b%2f..%2fteam-a", "%2e%2e/team-a"),
    *("team-b/..%2fteam-a", "team-b/%252e%252e/x", "team-b/%5c..%5cx", "team-b/%00", "team-b/%0a"),
    *("team-b/%c0%ae%c0%ae/x", "team-b/%e0%80%af/x", "team-b/%u002e%u002e/x", "team-b/%u2215x"),
    # Characters that become dots, slashes or percent signs.
    *("team-b\\..\\team-a", "team-b/..\\team-a", f"team-b/{DOT}{DOT}/x", f"team-b{SLASH}x"),
    *(f"team-b/{DOT}./x", "team-b/\u2024\u2024/x", "team-b/\u2025/x", "team-b/\ufe52\ufe52/x"),
    *("team-b/x\u2044..\u2044y", "team-b/x\u2215y", "team-b/\uff052e", "team-b/\uff3cx"),
    # Characters that are not seen, or end a name.
    *("team-b/\x00", "team-b/x\x00/../y", "team-b\n/x", "team-b/x\r\ny", "team-b/\x85x"),
    *("team-b/\u200b../x", "team-b/.\u00ad./x", "team-b/\ufeff/x", "team-b/\u2028/x"),
    *("team-b/\u00a0/x", "team-b/re\u00adsults/x", "team-b/results\u200b/"),
    "team-b/outputs\u2009/x",
    *(" team-b/data/", "team-b /x", "team-b/ x", "team-b/x ", "team-b/" + "값" * 340),
]  # fmt: skip
ORDINARY = [
    *(
        "team-b/data/sales",
        "team-b/resultset/x",
        "team-b/my/results/x",
        "team-b/판매/9월 보고서.csv",
    ),
    *("team-b/a\u202eb", "team-b/\ufeffx", "team-b/a\u2028b", "team-b/1\u00a0000.csv"),
    *("team-b/uploads/x", "team-b/a+b=c&d?e#f", "team-b/..x/y..", "team-b/100%", "team-b/team-a/x"),
]


def with_field(field: str, name: str, **s3: Any) -> Json:
    """A spec that names a key or prefix in one field."""
    where = {"prefix" if field.endswith("prefix") else "key": name, **s3}
    if field == "code.s3.key":
        return {"code": {"s3": where}}
    if field == "outputs.s3.prefix":
        return {"outputs": {"s3": where}}
    return {"inputs": [{"name": "a", "s3": where}]}


FIELDS = ["code.s3.key", "inputs[0].s3.key", "inputs[0].s3.prefix", "outputs.s3.prefix"]


def task(tenant: Tenant = TEAM_B, **spec: Any) -> wire.PodTask:
    body = a_job_body(namespace=tenant.namespace, requestId="r-1", **spec)
    return task_for(ExecutionJob.model_validate(body), 0, SETTINGS, tenant)


def refusal(tenant: Tenant = TEAM_B, **spec: Any) -> str:
    """Why a job is refused; empty if it is not."""
    try:
        task(tenant, **spec)
    except InvalidSpecError as error:
        return str(error)
    return ""


def test_there_are_enough_spellings() -> None:
    assert len(set(HOSTILE)) == len(HOSTILE) >= 60


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_spelling_is_refused_in_every_field(field: str, name: str) -> None:
    message = refusal(**with_field(field, name))

    assert message.startswith(f"{field}: ")
    assert message.isprintable()


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("name", ORDINARY)
def test_an_ordinary_key_is_accepted_in_every_field(field: str, name: str) -> None:
    assert refusal(**with_field(field, name)) == ""


def test_the_message_names_the_root_and_the_fix() -> None:
    assert refusal(**with_field("inputs[0].s3.prefix", "results/")) == (
        "inputs[0].s3.prefix: 'results/' is outside team-b/, the root of namespace team-b: use a "
        "key that begins with team-b/, or let the platform team add the bucket with access Read to "
        "allow.buckets of NanoGridTenant team-b"
    )
    assert refusal(**with_field("outputs.s3.prefix", "team-b/results/")) == (
        "outputs.s3.prefix: 'team-b/results/' is in the reserved folder results/, which only "
        "NanoGrid writes to: use another folder, or outputs/r-1/"
    )


# The attacks of the audit: namespace team-b against team-a.


@pytest.mark.parametrize("name", ["results/", "outputs/", "team-a/results/", "team-a/outputs/"])
def test_another_namespaces_results_and_outputs_cannot_be_read(name: str) -> None:
    assert "outside team-b/" in refusal(**with_field("inputs[0].s3.prefix", name))
    own = with_field("inputs[0].s3.prefix", "team-b/outputs/")
    assert refusal(**own) == "", "outputs of other jobs of the namespace are inputs"


@pytest.mark.parametrize("field", FIELDS)
def test_another_bucket_needs_the_tenants_permission(field: str) -> None:
    spec = with_field(field, "team-b/x", bucket="theirs")
    write = field.startswith("outputs")
    access = "ReadWrite" if write else "Read"

    def allowed(name: str, prefix: str, access: str) -> Tenant:
        rule = {"name": name, "prefix": prefix, "access": access}
        return tenant_of(namespace="team-b", allow={"buckets": [rule]})

    assert "is in bucket theirs" in refusal(**spec)
    assert f"with access {access}" in refusal(**spec)
    assert refusal(allowed("other", "", "ReadWrite"), **spec)
    assert refusal(allowed("theirs", "team-bb/", "ReadWrite"), **spec)
    assert refusal(allowed("theirs", "", access), **spec) == ""
    assert refusal(allowed("theirs", "team-b/", access), **spec) == ""
    assert bool(refusal(allowed("theirs", "", "Read"), **spec)) is write


def test_an_allowed_folder_of_the_own_bucket_is_for_reading_only() -> None:
    rule = {"name": SETTINGS.s3_bucket, "prefix": "shared/"}
    tenant = tenant_of(namespace="team-b", allow={"buckets": [rule]})

    assert refusal(tenant, **with_field("inputs[0].s3.prefix", "shared/prices/")) == ""
    assert refusal(tenant, **with_field("inputs[0].s3.prefix", "shared2/"))
    assert refusal(tenant, **with_field("outputs.s3.prefix", "shared/"))
    reserved = with_field("inputs[0].s3.prefix", "team-b/results/")
    assert "reserved" in refusal(tenant, **reserved), "a rule opens no reserved folder"


@pytest.mark.parametrize("tenant", [TEAM_B, tenant_of()], ids=["root", "no root"])
@pytest.mark.parametrize(
    "folder", ["results/r-2/", "code/", "functions/f/", "outputs/r-2/", "sessions/r-1/artifacts/"]
)
def test_outputs_replace_no_result_no_code_and_no_outputs_of_another_job(
    tenant: Tenant, folder: str
) -> None:
    root = tenant.area.root
    assert "reserved" in refusal(tenant, **with_field("outputs.s3.prefix", root + folder))
    assert refusal(tenant, **with_field("outputs.s3.prefix", f"{root}outputs/r-1/a/")) == ""


def test_a_functions_code_is_a_key_of_its_namespace() -> None:
    theirs = [a_version(1, s3={"key": "functions/f/v1.zip", "sha256": "1" * 64})]
    own = [a_version(1, s3={"key": "team-b/functions/f/v1.zip", "sha256": "1" * 64})]

    with pytest.raises(FunctionRefused, match=r"version 1: s3\.key: .*outside team-b/") as refused:
        a_pinned_function(tenant=TEAM_B, versions=theirs)
    assert refused.value.reason is Reason.INVALID_SPEC
    assert a_pinned_function(tenant=TEAM_B, versions=own).s3.bucket == SETTINGS.s3_bucket


async def test_a_result_of_another_namespace_is_not_taken_for_the_jobs_own() -> None:
    world = World(some_settings(watch_namespaces="team-a", s3_secret=""))
    job = wire.JobRef(namespace="team-a", name="sales", uid=JOB_UID)
    forged, own = a_result(job=job, stdout="forged"), a_result(job=job, stdout="own")
    other = world.parts.tenants.area("team-b")
    await world.s3.save(other, forged)

    area = world.parts.tenants.area("team-a")
    assert await world.s3.load(area, JOB_UID) is None
    await world.s3.save(area, own)
    assert await world.s3.load(area, JOB_UID) == own


# The namespace without a root.


def test_keys_of_the_older_systems_are_accepted_without_a_root() -> None:
    tenant = tenant_of()
    made = task(
        tenant,
        code={"s3": {"key": "functions/f1/v1.zip"}},
        inputs=[{"name": "a", "s3": {"prefix": "demo/sales/"}}],
    )

    assert (made.root, made.outputs.prefix) == ("", "outputs/r-1/")


def test_without_a_root_the_roots_of_known_namespaces_are_out_of_reach() -> None:
    tenants = Tenants(some_settings(watch_namespaces="team-d"), {"team-a", "team-b"})
    tenants.replace([{"metadata": {"name": "team-c"}, "spec": {"root": "tenants/c/"}}])
    tenant = tenants.of("team-a")

    for root in ("team-b/", "team-b/data/", "tenants/c/", "tenants/", "team-d/x/"):
        found = refusal(tenant, **with_field("inputs[0].s3.prefix", root))
        assert "root of another namespace" in found, root
    for name in ("team-a/x/", "team-e/", "tenants2/", "demo/"):
        assert refusal(tenant, **with_field("inputs[0].s3.prefix", name)) == "", name


@pytest.mark.parametrize(
    "namespace", ["results", "outputs", "sessions", "code", "layers", "functions", "uploads"]
)
def test_a_namespace_cannot_own_a_folder_of_one_without_a_root_by_its_name(namespace: str) -> None:
    tenants = Tenants(SETTINGS, {namespace})

    with pytest.raises(InvalidSpecError, match=f"is in {namespace}/, where the files of namespace"):
        tenants.of(namespace)
    own = with_field("inputs[0].s3.prefix", "outputs/r-2/")
    assert refusal(tenants.of("team-a"), **own) == "", "it is not in the way either"
    moved = {"metadata": {"name": namespace}, "spec": {"root": f"tenants/{namespace}/"}}
    tenants.replace([moved])
    assert tenants.of(namespace).area.root == f"tenants/{namespace}/"
    assert tenant_of(some_settings(compatibility_namespace=""), namespace).area.root


@pytest.mark.parametrize("root", ["team-b/results/", "team-b/Outputs/r-1/", "team-b/uploads/x/"])
def test_a_root_in_a_folder_of_another_namespace_is_refused(root: str) -> None:
    tenants = Tenants(SETTINGS, {"team-b"})
    tenants.replace([{"metadata": {"name": "team-c"}, "spec": {"root": root}}])

    with pytest.raises(InvalidSpecError, match="another root or bucket"):
        tenants.of("team-c")
    assert tenants.of("team-b").area.root == "team-b/"


def test_a_namespace_in_another_bucket_is_not_in_the_way() -> None:
    tenants = Tenants(SETTINGS, {"team-b"})
    tenants.replace([{"metadata": {"name": "team-b"}, "spec": {"bucket": "team-b-data"}}])

    assert refusal(tenants.of("team-a"), **with_field("inputs[0].s3.prefix", "team-b/")) == ""


def test_namespaces_become_known_with_their_jobs() -> None:
    world = World(some_settings(watch_namespaces="", s3_secret=""))
    spec = with_field("inputs[0].s3.prefix", "team-z/")
    before = refusal(world.parts.tenants.of("team-a"), **spec)

    world.cache.put_job(a_job_body(namespace="team-z", uid="uid-z"))

    assert before == ""
    assert "another namespace" in refusal(world.parts.tenants.of("team-a"), **spec)


# Defaults.


@pytest.mark.parametrize(
    ("spec", "prefix"),
    [
        ({}, "team-b/outputs/r-1/"),
        ({"mode": "Session"}, "team-b/sessions/r-1/artifacts/"),
        ({"outputs": {"s3": {"bucket": "user-data"}}}, "team-b/outputs/r-1/"),
        ({"outputs": {"s3": {"prefix": "team-b/mine"}}}, "team-b/mine/"),
    ],
)
def test_default_prefixes_are_below_the_root(spec: Json, prefix: str) -> None:
    made = task(**spec)

    assert (made.bucket, made.root) == ("user-data", "team-b/")
    assert (made.outputs.bucket, made.outputs.prefix) == ("user-data", prefix)


def test_a_session_reads_the_files_of_its_own_id() -> None:
    own = with_field("inputs[0].s3.prefix", "team-b/sessions/r-1/input/")
    other = with_field("inputs[0].s3.prefix", "team-b/sessions/r-2/input/")

    assert refusal(mode="Session", **own) == ""
    assert "reserved" in refusal(mode="Session", **other)
    assert "reserved" in refusal(**own)


def test_the_installations_prefix_is_in_front_of_default_roots_only() -> None:
    settings = some_settings(s3_prefix="prod/", compatibility_namespace="older")
    tenants = Tenants(settings, set())
    tenants.replace([{"metadata": {"name": "own"}, "spec": {"root": "data/own/"}}])

    roots = {name: tenants.area(name).root for name in ("team-a", "older", "own")}
    assert roots == {"team-a": "prod/team-a/", "older": "prod/", "own": "data/own/"}
