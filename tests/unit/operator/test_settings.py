"""Settings come from the environment. Each error names its variable."""

from dataclasses import fields
from typing import Any

import pytest

from nanogrid.api.job import MAX_TTL_SECONDS
from nanogrid.settings import SettingsError
from nanogrid_operator.settings import Settings

REQUIRED = {
    "NANOGRID_EXECUTOR_IMAGE": "nanogrid-executor:1.0",
    "NANOGRID_RESULTS_URL": "http://operator:8080/v1/results",
    "NANOGRID_RESULT_KEY_MASTER": "sixteen-characters-or-more",
}


def test_three_variables_are_required() -> None:
    settings = Settings.from_env(REQUIRED)

    assert settings == Settings(
        executor_image="nanogrid-executor:1.0",
        results_url="http://operator:8080/v1/results",
        result_key_master="sixteen-characters-or-more",
    )
    assert "sixteen" not in repr(settings)


def test_a_short_result_key_is_refused() -> None:
    short = {**REQUIRED, "NANOGRID_RESULT_KEY_MASTER": "fifteen-letters"}

    with pytest.raises(SettingsError, match="NANOGRID_RESULT_KEY_MASTER has 15 characters"):
        Settings.from_env(short)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("AFFINITY", "[]", "expected an object"),
        ("AFFINITY", "{", "not valid JSON"),
        ("TOPOLOGY_SPREAD", "{}", "expected a list of objects"),
        ("POD_LABELS", '{"a": {}}', "expected an object of strings"),
    ],
)
def test_json_of_another_form_is_refused(name: str, text: str, message: str) -> None:
    Settings.from_env({**REQUIRED, "NANOGRID_AFFINITY": '{"nodeAffinity": {"a": []}}'})

    with pytest.raises(SettingsError, match=f"NANOGRID_{name}: {message}"):
        Settings.from_env({**REQUIRED, f"NANOGRID_{name}": text})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "JSON"),
        ('{"alow": {}}', "alow"),
        ('{"allow": {"images": "x"}}', "allow.images"),
        ('{"root": "shared/"}', "root: all namespaces would share one root"),
    ],
)
def test_defaults_of_tenants_that_are_wrong_stop_the_operator(text: str, message: str) -> None:
    Settings.from_env({**REQUIRED, "NANOGRID_TENANT_DEFAULTS": '{"allow": {"images": ["x"]}}'})

    with pytest.raises(SettingsError, match=f"NANOGRID_TENANT_DEFAULTS: .*{message}"):
        Settings.from_env({**REQUIRED, "NANOGRID_TENANT_DEFAULTS": text})


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_variable_is_named(name: str) -> None:
    environ = {k: v for k, v in REQUIRED.items() if k != name}

    with pytest.raises(SettingsError, match=f"^{name} is not set"):
        Settings.from_env(environ)


def test_an_empty_variable_counts_as_unset() -> None:
    settings = Settings.from_env({**REQUIRED, "NANOGRID_PORT": "", "NANOGRID_S3_BUCKET": ""})

    assert (settings.port, settings.s3_bucket) == (8080, "")


@pytest.mark.parametrize(
    ("name", "text", "field", "want"),
    [
        ("NANOGRID_PORT", "9000", "port", 9000),
        ("NANOGRID_S3_SECRET_REPLICATE", "true", "s3_secret_replicate", True),
        ("NANOGRID_S3_SECRET_REPLICATE", "False", "s3_secret_replicate", False),
        ("NANOGRID_REDIS_TIMEOUT_SECONDS", "0.5", "redis_timeout_seconds", 0.5),
        ("NANOGRID_RESYNC_SECONDS", "60", "resync_seconds", 60.0),
        ("AWS_REGION", "ap-northeast-2", "s3_region", "ap-northeast-2"),
        (
            "NANOGRID_S3_SANDBOX_ROLE_ARN",
            "arn:aws:iam::222222222222:role/a/nanogrid-{namespace}",
            "s3_sandbox_role_arn",
            "arn:aws:iam::222222222222:role/a/nanogrid-{namespace}",
        ),
        (
            "AWS_ENDPOINT_URL_STS",
            "http://[fd00::1]:9000/",
            "sts_endpoint",
            "http://[fd00::1]:9000/",
        ),
        ("NANOGRID_REDIS_PASSWORD", "p@ss/word", "redis_password", "p@ss/word"),
    ],
)
def test_a_variable_sets_its_field(name: str, text: str, field: str, want: Any) -> None:
    settings = Settings.from_env({**REQUIRED, name: text})

    assert getattr(settings, field) == want


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("NANOGRID_PORT", "http", "NANOGRID_PORT='http': expected int"),
        ("NANOGRID_WORKERS", "1.5", "NANOGRID_WORKERS='1.5': expected int"),
        ("NANOGRID_RESYNC_SECONDS", "5m", "NANOGRID_RESYNC_SECONDS='5m': expected float"),
        (
            "NANOGRID_S3_PROXY",
            "http://user:secret@proxy:3128",
            "NANOGRID_S3_PROXY: expected http://HOST:PORT, without user and password",
        ),
        (
            "NANOGRID_S3_ROLE_ARN",
            "arn:aws:iam::222222222222:role/{namespace}",
            "NANOGRID_S3_ROLE_ARN: expected the ARN of a role, without {placeholders}",
        ),
        (
            "NANOGRID_S3_SANDBOX_ROLE_ARN",
            "arn:aws:iam::222222222222:role/{job}",
            "NANOGRID_S3_SANDBOX_ROLE_ARN: expected the ARN of a role, in which {namespace} may "
            "stand for the namespace of the job",
        ),
        (
            "NANOGRID_S3_ROLE_EXTERNAL_ID",
            "two words",
            "NANOGRID_S3_ROLE_EXTERNAL_ID: expected 2 to 1000 letters, digits and characters of "
            "_+=,.@:/-",
        ),
        (
            "AWS_ENDPOINT_URL_STS",
            "https://sts.example/path",
            "AWS_ENDPOINT_URL_STS: expected https://HOST[:PORT], without a path",
        ),
        (
            "NANOGRID_S3_CA_BUNDLE",
            "/etc/ca.pem",
            "NANOGRID_S3_CA_BUNDLE: it has no certificate: expected PEM text, "
            "-----BEGIN CERTIFICATE-----",
        ),
        (
            "NANOGRID_CLUSTER_CIDRS",
            "10.0.0.0/8, fd00::1/64",
            "NANOGRID_CLUSTER_CIDRS: fd00::1/64 has host bits set; expected CIDRs such as "
            "10.0.0.0/16",
        ),
        (
            "NANOGRID_S3_SECRET_REPLICATE",
            "yes",
            "NANOGRID_S3_SECRET_REPLICATE='yes': expected true or false",
        ),
    ],
)
def test_a_malformed_variable_is_named_with_its_value(name: str, text: str, complaint: str) -> None:
    with pytest.raises(SettingsError) as error:
        Settings.from_env({**REQUIRED, name: text})

    assert str(error.value) == complaint


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("NANOGRID_DEFAULT_MEMORY", "lots"),
        ("NANOGRID_DEFAULT_MEMORY", "0"),
        ("NANOGRID_DEFAULT_MEMORY", "512m"),
        ("NANOGRID_DEFAULT_MEMORY", "2Mi"),
        ("NANOGRID_DEFAULT_CPU", "1m"),
        ("NANOGRID_DEFAULT_CPU_REQUEST", "0"),
        ("NANOGRID_TMP_SIZE", "0"),
        ("NANOGRID_WORKSPACE_SIZE", "2000m"),
        ("NANOGRID_TENANT_DEFAULTS", '{"limits": {"memory": "8Mi"}}'),
        ("NANOGRID_DEFAULT_CPU_REQUEST", "1 core"),
        ("NANOGRID_AGENT_MEMORY", "32Mi"),
        ("NANOGRID_AGENT_CPU", "10m"),
        ("NANOGRID_LOG_LEVEL", "CHATTY"),
        ("NANOGRID_WORKERS", "0"),
        ("NANOGRID_REDIS_TIMEOUT_SECONDS", "nan"),
        ("NANOGRID_REDIS_MODE", "Ring"),
        ("NANOGRID_REDIS_MODE", "Sentinel"),
        ("NANOGRID_REDIS_URL", "redis://a,b"),
        ("NANOGRID_RESULT_TTL_SECONDS", "-1"),
        ("NANOGRID_TTL_SECONDS_AFTER_FINISHED", "-1"),
        ("NANOGRID_TTL_SECONDS_AFTER_FINISHED", "1.5"),
        ("NANOGRID_TTL_SECONDS_AFTER_FINISHED", "1h"),
        ("NANOGRID_TTL_SECONDS_AFTER_FINISHED", str(MAX_TTL_SECONDS + 1)),
    ],
)
def test_a_value_that_can_never_work_is_refused_at_start(name: str, text: str) -> None:
    with pytest.raises(SettingsError, match=name):
        Settings.from_env({**REQUIRED, name: text})


@pytest.mark.parametrize(
    ("text", "seconds"), [("", None), ("0", 0), (str(MAX_TTL_SECONDS), MAX_TTL_SECONDS)]
)
def test_the_default_time_to_live(text: str, seconds: int | None) -> None:
    environ = {**REQUIRED, "NANOGRID_TTL_SECONDS_AFTER_FINISHED": text}

    assert Settings.from_env(environ).default_ttl == seconds


def test_namespaces_are_a_list_without_blanks() -> None:
    some = Settings(watch_namespaces=" team-a, team-b,,")

    assert (some.namespaces, Settings().namespaces) == (["team-a", "team-b"], [])


def test_every_setting_has_its_own_variable_and_a_description() -> None:
    variables = [f.metadata["env"] for f in fields(Settings)]

    assert len(set(variables)) == len(variables)
    assert all(f.metadata["doc"] for f in fields(Settings))


def test_the_repr_of_settings_shows_no_secret() -> None:
    shown = repr(Settings(redis_password="hush", s3_secret_key="hush"))

    assert "hush" not in shown


@pytest.mark.parametrize("target", ["S3", "REDIS", "WEBHOOK"])
def test_a_ca_bundle_without_a_certificate_is_refused(target: str) -> None:
    with pytest.raises(SettingsError, match=f"NANOGRID_{target}_CA_BUNDLE: it has no certificate"):
        Settings.from_env({**REQUIRED, f"NANOGRID_{target}_CA_BUNDLE": "/etc/ssl/ca.pem"})


def test_a_role_for_redis_excludes_other_settings() -> None:
    role = {"NANOGRID_REDIS_IAM_CACHE": "results", "AWS_REGION": "eu-west-1"}
    server = Settings.from_env(
        REQUIRED | role | {"NANOGRID_REDIS_URL": "rediss://me@r/0"}
    ).redis_server
    assert server.iam is not None
    assert (server.iam.service, server.iam.region) == ("elasticache", "eu-west-1")

    for wrong, message in (
        ({"NANOGRID_REDIS_URL": "redis://me@r/0"}, "NANOGRID_REDIS_IAM_CACHE=results needs TLS"),
        ({"NANOGRID_REDIS_IAM_SERVICE": "rds"}, "expected one of elasticache, "),
    ):
        with pytest.raises(SettingsError, match=message):
            Settings.from_env({**REQUIRED, **role, **wrong})


@pytest.mark.parametrize("prefix", ["prod", "/prod/", "../", "a//", "a b/"])
def test_a_prefix_of_roots_is_a_path_that_ends_with_a_slash(prefix: str) -> None:
    assert Settings.from_env({**REQUIRED, "NANOGRID_S3_PREFIX": "a/b.c/"}).s3_prefix == "a/b.c/"

    with pytest.raises(SettingsError, match="NANOGRID_S3_PREFIX"):
        Settings.from_env({**REQUIRED, "NANOGRID_S3_PREFIX": prefix})


def test_pods_cannot_ask_sts_through_a_proxy_with_tls() -> None:
    proxied = {**REQUIRED, "NANOGRID_S3_PROXY": "https://proxy.example:3128"}
    Settings.from_env(proxied)
    role = {"NANOGRID_S3_SANDBOX_ROLE_ARN": "arn:aws:iam::222222222222:role/x"}
    Settings.from_env({**proxied, **role, "NANOGRID_S3_PROXY": "http://proxy.example:3128"})

    with pytest.raises(SettingsError, match="NANOGRID_S3_PROXY begins with https://"):
        Settings.from_env({**proxied, **role})


def test_a_redis_cluster_has_no_compatibility_namespace() -> None:
    cluster = {**REQUIRED, "NANOGRID_REDIS_MODE": "Cluster"}
    assert Settings.from_env(cluster).redis_server.mode == "Cluster"
    with pytest.raises(SettingsError, match="older is the compatibility namespace"):
        Settings.from_env({**cluster, "NANOGRID_COMPATIBILITY_NAMESPACE": "older"})


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("MODE", "statsd", "expected one of emf, api"),
        ("NAMESPACE", "AWS/Lambda", "namespaces that begin with AWS/"),
        ("NAMESPACE", "a b", "expected 1 to 255 letters"),
        ("DIMENSIONS", '{"Function": "x"}', "Function is set for each job"),
        ("DIMENSIONS", '{"Cluster": ""}', "Cluster: expected 1 to 255 characters"),
        ("DIMENSIONS", '{"Cluster": 1}', "expected an object of strings"),
        ("ENDPOINT", "monitoring.example.com", "expected https://HOST"),
        ("PROXY", "http://user:opensesame@proxy:3128", "expected http://HOST:PORT"),
        ("INTERVAL_SECONDS", "0", "expected a number above 0"),
        ("CA_BUNDLE", "/etc/ssl/ca.pem", "it has no certificate"),
    ],
)
def test_a_wrong_setting_of_cloudwatch_is_refused(name: str, text: str, message: str) -> None:
    good = {
        "MODE": "api", "NAMESPACE": "team/NanoGrid", "DIMENSIONS": '{"Cluster": "prod"}',
        "ENDPOINT": "https://monitoring.example.com", "PROXY": "http://proxy:3128",
        "INTERVAL_SECONDS": "10",
    }  # fmt: skip
    environ = REQUIRED | {f"NANOGRID_CLOUDWATCH_{n}": value for n, value in good.items()}
    assert Settings.from_env(environ).objects("cloudwatch_dimensions") == {"Cluster": "prod"}

    with pytest.raises(SettingsError, match=f"NANOGRID_CLOUDWATCH_{name}.*{message}") as caught:
        Settings.from_env(environ | {f"NANOGRID_CLOUDWATCH_{name}": text})

    assert "opensesame" not in str(caught.value)
