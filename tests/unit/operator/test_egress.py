"""What a job with network.hosts gets: credentials of the egress proxy, and a way to it."""

import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from nanogrid import names
from nanogrid.egress_grant import Grant, verified
from nanogrid.settings import SettingsError
from nanogrid.types import Json
from nanogrid_executor.agent.egress_proxy import egress_proxy_of
from nanogrid_operator.manifests.network import namespace_policies
from nanogrid_operator.manifests.pod import build_pod
from nanogrid_operator.manifests.task import task_for
from nanogrid_operator.settings import Settings
from support.builders import INLINE, JOB_UID, REQUIRED_ENVIRONMENT, some_settings, tenant_of
from support.pod_manifests import model

KEY = "a key of sixteen characters"
PROXY = "http://nanogrid-egress.platform.svc:3128"
NOW = 1_760_000_000.5
SETTINGS = some_settings(egress_proxy_url=PROXY, egress_key=KEY, session_key="s" * 16)
HOSTS: Json = {"egress": "Allowlist", "hosts": ["api.example.com", "*.example.org"]}


def env_of(settings: Settings = SETTINGS, **spec: Any) -> dict[str, str]:
    return task_for(model(**spec), 0, settings, tenant_of(settings), now=NOW).env


def grant_of(url: str, now: float = NOW) -> Grant:
    parts = urlsplit(url)
    assert (parts.hostname, parts.port) == ("nanogrid-egress.platform.svc", 3128)
    return verified(KEY, parts.username or "", parts.password or "", now)


def test_the_code_gets_the_url_with_its_own_allow_list() -> None:
    env = env_of(network=HOSTS)
    assert set(env) == {"HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"}
    assert env["HTTPS_PROXY"] == env["https_proxy"]
    grant = grant_of(env["HTTPS_PROXY"])
    assert (grant.namespace, grant.job, grant.uid) == ("team-a", "sales", JOB_UID)
    assert grant.hosts == ("api.example.com", "*.example.org")


def test_the_agent_knows_the_proxy_of_the_code() -> None:
    """It waits for it before the code has a network."""
    task = task_for(model(network=HOSTS), 0, SETTINGS, tenant_of(SETTINGS), now=NOW)
    found = egress_proxy_of(task)
    assert found is not None
    assert found.address == ("nanogrid-egress.platform.svc", 3128)


def test_networks_of_the_allow_list_are_reached_directly() -> None:
    env = env_of(network={**HOSTS, "cidrs": ["203.0.113.0/24"]})
    assert env["NO_PROXY"] == env["no_proxy"] == "localhost,127.0.0.1,::1,203.0.113.0/24"


@pytest.mark.parametrize(
    "network",
    [
        None,
        {"egress": "Deny"},
        {"egress": "Internet"},
        {"egress": "Allowlist", "cidrs": ["203.0.113.0/24"]},
    ],
)
def test_other_jobs_get_no_credentials(network: Json | None) -> None:
    assert env_of(**({"network": network} if network else {})) == {}


def test_values_of_the_job_win_in_both_spellings() -> None:
    own = [{"name": "https_proxy", "value": "http://mine:1"}, {"name": "NO_PROXY", "value": "*"}]
    assert env_of(network=HOSTS, env=own) == {"https_proxy": "http://mine:1", "NO_PROXY": "*"}
    secret = {"secretKeyRef": {"name": "proxy", "key": "url"}}
    from_secret = env_of(network=HOSTS, env=[{"name": "HTTPS_PROXY", "valueFrom": secret}])
    assert set(from_secret) == {"NO_PROXY", "no_proxy"}


def test_values_of_the_installation_do_not() -> None:
    given = json.dumps({"HTTPS_PROXY": "http://company:1", "OTHER": "x"})
    settings = some_settings(egress_proxy_url=PROXY, egress_key=KEY, sandbox_env=given)
    env = env_of(settings, network=HOSTS)
    assert env["OTHER"] == "x"
    assert grant_of(env["HTTPS_PROXY"]).uid == JOB_UID


TIMES = {"startupSeconds": 900, "executionSeconds": 7, "uploadSeconds": 11, "inputSyncSeconds": 5}


@pytest.mark.parametrize(
    "spec",
    [
        {"code": INLINE},
        {"code": INLINE, "timeouts": TIMES, "terminationGracePeriodSeconds": 3600},
        {"mode": "Session", "code": None, "session": {"maxLifetimeSeconds": 86400}},
        {"mode": "Session", "code": None, "session": {"executionTimeoutSeconds": 3600}},
    ],
)
def test_the_credentials_expire_after_the_pod(spec: Json) -> None:
    job = model(network=HOSTS, **spec)
    pod = build_pod(job, 0, SETTINGS, tenant_of(SETTINGS), now=NOW)
    url = task_for(job, 0, SETTINGS, tenant_of(SETTINGS), now=NOW).env["HTTPS_PROXY"]
    assert json.dumps(url)[1:-1] in json.dumps(pod)
    start = job.spec.timeouts.startup_seconds if job.spec.timeouts else 300
    longest = start + pod["spec"]["activeDeadlineSeconds"]
    life = grant_of(url).expires - NOW
    assert longest < life <= longest + 3 * 3600


def test_only_the_trusted_containers_have_the_credentials_before_the_code() -> None:
    pod = build_pod(model(network=HOSTS), 0, SETTINGS, tenant_of(SETTINGS), now=NOW)
    having = [c["name"] for c in pod["spec"]["containers"] if "HTTPS_PROXY" in json.dumps(c)]
    assert having == [names.CONTAINER_AGENT]


PEER = {"podSelector": {"matchLabels": {"app.kubernetes.io/component": "egress"}}}


def test_pods_with_an_allow_list_reach_the_proxy() -> None:
    settings = some_settings(egress_proxy_peers=json.dumps([PEER]))
    found = {p["metadata"]["name"]: p["spec"] for p in namespace_policies(settings)}
    assert found["nanogrid-sandbox-proxy"] == {
        "podSelector": {
            "matchLabels": {names.LABEL_EGRESS: "Allowlist"},
            "matchExpressions": [
                {"key": names.LABEL_JOB_UID, "operator": "Exists"},
                {"key": names.LABEL_CONTROLLER_CLASS, "operator": "DoesNotExist"},
            ],
        },
        "policyTypes": ["Egress"],
        "egress": [{"to": [PEER], "ports": [{"protocol": "TCP", "port": 3128}]}],
    }
    without = [p["metadata"]["name"] for p in namespace_policies(some_settings())]
    assert "nanogrid-sandbox-proxy" not in without


@pytest.mark.parametrize(
    ("environ", "text"),
    [
        ({"NANOGRID_EGRESS_PROXY_URL": PROXY}, "also needs NANOGRID_EGRESS_KEY"),
        ({"NANOGRID_EGRESS_KEY": "short"}, "NANOGRID_EGRESS_KEY has 5 characters"),
        ({"NANOGRID_EGRESS_PROXY_URL": "https://proxy:3128"}, "expected http://HOST:PORT"),
        ({"NANOGRID_EGRESS_PROXY_URL": "http://a:b@proxy:3128"}, "expected http://HOST:PORT"),
        ({"NANOGRID_EGRESS_PROXY_PEERS": "{}"}, "expected a list of objects"),
    ],
)
def test_wrong_settings_are_refused(environ: dict[str, str], text: str) -> None:
    for url in (PROXY, "http://[fd00::1]:3128"):
        given = {"NANOGRID_EGRESS_PROXY_URL": url, "NANOGRID_EGRESS_KEY": KEY}
        assert Settings.from_env({**REQUIRED_ENVIRONMENT, **given}).egress_proxy_url == url
    good = {"NANOGRID_EGRESS_PROXY_URL": PROXY, "NANOGRID_EGRESS_KEY": KEY}
    assert Settings.from_env(REQUIRED_ENVIRONMENT | good).egress_key == KEY
    with pytest.raises(SettingsError, match=text):
        Settings.from_env(REQUIRED_ENVIRONMENT | environ)
