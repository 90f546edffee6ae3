"""An operator without the right to review tokens authenticates reports with its own key."""

import base64

import pytest

from nanogrid import names
from nanogrid.settings import SettingsError
from nanogrid.types import Json
from nanogrid_operator.manifests.pod import build_pod
from nanogrid_operator.manifests.report_token import owned_objects
from nanogrid_operator.model.facts import job_facts
from nanogrid_operator.server.authentication import ReportTokens, Sender
from nanogrid_operator.settings import Settings
from support.builders import (
    JOB_UID,
    POD_UID,
    REQUIRED_ENVIRONMENT,
    a_job_body,
    some_settings,
    tenant_of,
)
from support.operator_fakes import PODS
from support.operator_world import World
from support.pod_security import violations

pytestmark = pytest.mark.security

KEY = "0123456789abcdef0123456789abcdef"
SECRETS = "/api/v1/namespaces/team-a/secrets"
TOKEN = names.report_token(KEY.encode(), JOB_UID)


def settings_of(key: str) -> Settings:
    return some_settings(report_key=key, s3_secret="")


def token_volume(key: str) -> Json:
    job = job_facts(a_job_body()).model
    assert job is not None
    pod = build_pod(job, 0, settings_of(key), tenant_of())
    assert violations(pod) == []
    (volume,) = [v for v in pod["spec"]["volumes"] if v["name"] == "token"]
    (reader,) = [
        c["name"]
        for c in pod["spec"]["containers"]
        if "token" in [m["name"] for m in c["volumeMounts"]]
    ]
    assert reader == "agent"
    return {k: v for k, v in volume.items() if k != "name"}


async def test_the_token_proves_its_job_and_no_other() -> None:
    sender = await ReportTokens(KEY.encode()).sender(TOKEN)

    assert sender == Sender(job_uid=JOB_UID)
    assert sender.may_report(JOB_UID, POD_UID)
    assert not sender.may_report("another-job", POD_UID)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "the-token",
        "ngr_",
        "ngr_.",
        f"ngr_{JOB_UID}",
        f"ngr_{JOB_UID}.",
        TOKEN[:-1],
        TOKEN + "A",
        TOKEN.removeprefix("ngr_"),
        TOKEN.replace(JOB_UID, "another-job"),
        TOKEN.replace(JOB_UID, f"{JOB_UID}."),
        f"ngr_{JOB_UID}.합계",
        f"ngr_{JOB_UID}.\udc80",
        names.report_token(b"another key of 32 bytes in total", JOB_UID),
        names.session_token(KEY.encode(), JOB_UID),
    ],
)
async def test_a_token_that_the_key_does_not_give_proves_nothing(token: str) -> None:
    assert await ReportTokens(KEY.encode()).sender(token) is None


def test_a_sender_that_proves_nothing_may_report_nothing() -> None:
    assert not Sender().may_report("", "")
    assert not Sender(pod_uid="another-pod", job_uid=JOB_UID).may_report(JOB_UID, POD_UID)
    assert Sender(pod_uid=POD_UID).may_report(JOB_UID, POD_UID)


def test_only_the_agent_mounts_the_token() -> None:
    with_key = token_volume(KEY)
    reviewed = token_volume("")

    assert with_key == {"secret": {"secretName": names.report_secret("sales", JOB_UID)}}
    (source,) = reviewed["projected"]["sources"]
    assert source["serviceAccountToken"]["audience"] == names.RESULTS_AUDIENCE


async def test_the_secret_of_the_job_exists_before_its_pod() -> None:
    world = World(settings_of(KEY))

    await world.reconcile()

    assert world.kube.writes == [f"POST {SECRETS}", f"POST {PODS}"]
    secret = world.kube.objects[f"{SECRETS}/{names.report_secret('sales', JOB_UID)}"]
    assert base64.b64decode(secret["data"]["token"]).decode() == TOKEN
    assert secret["metadata"]["ownerReferences"][0]["uid"] == JOB_UID


def test_without_a_key_a_job_has_no_secret() -> None:
    assert owned_objects(job_facts(a_job_body()), settings_of("")) == []
    assert len(owned_objects(job_facts(a_job_body()), settings_of(KEY))) == 1


def test_a_short_key_is_refused() -> None:
    with pytest.raises(SettingsError, match="NANOGRID_REPORT_KEY has 5 characters"):
        Settings.from_env(REQUIRED_ENVIRONMENT | {"NANOGRID_REPORT_KEY": "short"})
    assert Settings.from_env(REQUIRED_ENVIRONMENT | {"NANOGRID_REPORT_KEY": KEY}).report_key == KEY
