"""The operator creates Secrets of random keys that are absent, and reads those that exist."""

import base64
import json

import pytest

from nanogrid.kube.conventions import KubeError
from nanogrid.settings import SettingsError
from nanogrid_operator.kube.key_secrets import absent_keys, connect_and_create, create_keys
from nanogrid_operator.settings import KEYS, Settings
from support.operator_fakes import FakeKube

PATH = "/api/v1/namespaces/platform/secrets"
WANTED = {"NANOGRID_RESULT_KEY_MASTER": "r", "NANOGRID_SESSION_KEY": "s"}
ENVIRON = {
    "NANOGRID_NAMESPACE": "platform",
    "NANOGRID_RELEASE": "nanogrid",
    "NANOGRID_KEY_SECRETS": json.dumps(WANTED),
}


def stored(kube: FakeKube, name: str) -> str:
    return base64.b64decode(kube.objects[f"{PATH}/{name}"]["data"]["key"]).decode()


async def test_each_absent_secret_gets_its_own_random_key() -> None:
    kube, other = FakeKube(), FakeKube()

    keys = await create_keys(kube, "platform", "nanogrid", WANTED)
    others = await create_keys(other, "platform", "nanogrid", WANTED)

    assert keys == {variable: stored(kube, name) for variable, name in WANTED.items()}
    assert len({*keys.values(), *others.values()}) == 4
    assert all(len(key) == 43 for key in keys.values())
    # Tests of the whole system find them by this label, and search for them in all outputs.
    labels = kube.objects[f"{PATH}/r"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/instance"] == "nanogrid"


async def test_a_secret_that_exists_is_read_and_kept() -> None:
    kube = FakeKube()
    first = await create_keys(kube, "platform", "nanogrid", WANTED)

    assert await create_keys(kube, "platform", "nanogrid", WANTED) == first
    assert kube.writes.count(f"POST {PATH}") == 4  # the last two are conflicts


@pytest.mark.parametrize("data", [None, {}, {"key": "%"}, {"key": "/w=="}])
async def test_a_secret_without_a_key_stops_the_start(data: object) -> None:
    kube = FakeKube()
    kube.objects[f"{PATH}/r"] = {"metadata": {"name": "r"}, "data": data}

    with pytest.raises(SettingsError, match="Secret r has no text in the key `key`"):
        await create_keys(kube, "platform", "nanogrid", {"NANOGRID_RESULT_KEY_MASTER": "r"})


async def test_a_refusal_of_the_api_server_reaches_the_caller() -> None:
    kube = FakeKube()
    kube.refuse("POST", 403, "Forbidden")

    with pytest.raises(KubeError, match="403 Forbidden"):
        await create_keys(kube, "platform", "nanogrid", WANTED)


def test_only_variables_that_are_absent_or_empty_need_their_secret() -> None:
    assert absent_keys(ENVIRON) == WANTED
    assert absent_keys({**ENVIRON, "NANOGRID_SESSION_KEY": ""}) == WANTED
    assert absent_keys({**ENVIRON, "NANOGRID_SESSION_KEY": "x" * 16}) == {
        "NANOGRID_RESULT_KEY_MASTER": "r"
    }
    assert absent_keys({}) == {}


async def test_a_complete_environment_needs_no_api_server() -> None:
    assert await connect_and_create({**ENVIRON, **dict.fromkeys(WANTED, "x" * 16)}) == {}


@pytest.mark.parametrize(
    ("text", "message"), [("{", "not valid JSON"), ("[]", "an object"), ('{"A": 1}', "an object")]
)
def test_a_malformed_list_of_secrets_is_refused(text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=f"NANOGRID_KEY_SECRETS: .*{message}"):
        absent_keys({"NANOGRID_KEY_SECRETS": text})


@pytest.mark.parametrize("missing", ["NANOGRID_NAMESPACE", "NANOGRID_RELEASE"])
def test_without_the_release_no_secret_can_be_created(missing: str) -> None:
    with pytest.raises(SettingsError, match="needs NANOGRID_NAMESPACE and NANOGRID_RELEASE"):
        absent_keys({**ENVIRON, missing: ""})


async def test_keys_that_are_created_are_long_enough_for_the_settings() -> None:
    keys = await create_keys(FakeKube(), "platform", "nanogrid", WANTED)
    required = {"NANOGRID_EXECUTOR_IMAGE": "x", "NANOGRID_RESULTS_URL": "http://x"}

    settings = Settings.from_env({**required, **keys})

    assert {"result_key_master", "session_key"} <= set(KEYS)
    assert settings.session_key == keys["NANOGRID_SESSION_KEY"]
