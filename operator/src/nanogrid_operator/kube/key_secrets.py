"""Creates the Secrets of random keys that are absent, so that the chart needs no random values.

A chart that makes keys renders other ones each time, and GitOps tools would apply them each time.
The pods refer to the Secrets. The operator's references are optional: for an absent variable, it
creates the Secret, or reads one that another replica created meanwhile. The other components start
when their Secret exists.
"""

import base64
import binascii
import json
import secrets
from collections.abc import Mapping
from typing import Final

from nanogrid import names
from nanogrid.kube.client import KubeApi
from nanogrid.kube.conventions import CORE, KubeError, collection
from nanogrid.settings import SettingsError
from nanogrid.types import Json

VARIABLE: Final = "NANOGRID_KEY_SECRETS"
NAMESPACE: Final = "NANOGRID_NAMESPACE"
RELEASE: Final = "NANOGRID_RELEASE"
KEY: Final = "key"  # of a Secret's data
RANDOM_BYTES: Final = 32
TIMEOUT_SECONDS: Final = 15.0  # per request


def absent_keys(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of keys that the environment lacks, and their Secrets.

    Raises:
        SettingsError: ``NANOGRID_KEY_SECRETS`` is malformed, or the namespace is unknown.
    """
    try:
        known = json.loads(environ.get(VARIABLE) or "{}")
    except ValueError as e:
        raise SettingsError(f"{VARIABLE}: not valid JSON: {e}") from None
    if not (isinstance(known, dict) and all(isinstance(name, str) for name in known.values())):
        raise SettingsError(f"{VARIABLE}: expected an object of strings")
    absent = {variable: name for variable, name in known.items() if not environ.get(variable)}
    if absent and not (environ.get(NAMESPACE) and environ.get(RELEASE)):
        raise SettingsError(f"{VARIABLE} also needs {NAMESPACE} and {RELEASE}")
    return absent


async def create_keys(
    kube: KubeApi, namespace: str, release: str, absent: Mapping[str, str]
) -> dict[str, str]:
    """The keys of these variables, from Secrets that exist afterwards.

    Args:
        kube: The API server.
        namespace: The release's namespace.
        release: The release's name, for the label of its objects.
        absent: Names of Secrets by variable.

    Raises:
        KubeError: The API server refused.
        SettingsError: A Secret exists without a key.
    """
    path = collection(CORE, "secrets", namespace)
    return {variable: await _key(kube, path, release, name) for variable, name in absent.items()}


async def connect_and_create(environ: Mapping[str, str]) -> dict[str, str]:
    """The keys that the environment lacks; no request if it has all of them.

    Raises:
        KubeError: see :func:`create_keys`.
        SettingsError: see :func:`absent_keys` and :func:`create_keys`.
    """
    absent = absent_keys(environ)
    if not absent:
        return {}
    kube = await KubeApi.connect(TIMEOUT_SECONDS, user_agent=names.MANAGED_BY)
    try:
        return await create_keys(kube, environ[NAMESPACE], environ[RELEASE], absent)
    finally:
        await kube.close()


async def _key(kube: KubeApi, path: str, release: str, name: str) -> str:
    key = secrets.token_urlsafe(RANDOM_BYTES)
    try:
        await kube.create(path, _secret(release, name, key))
        return key
    except KubeError as e:
        if e.code != 409:
            raise
    found = await kube.get(path, name)
    try:
        return base64.b64decode(found["data"][KEY], validate=True).decode()
    except (KeyError, TypeError, binascii.Error, UnicodeDecodeError):
        raise SettingsError(
            f"Secret {name} has no text in the key `{KEY}`: delete it, and the operator creates it"
        ) from None


def _secret(release: str, name: str, key: str) -> Json:
    labels = {
        "app.kubernetes.io/instance": release,
        "app.kubernetes.io/managed-by": names.MANAGED_BY,
    }
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": labels},
        "data": {KEY: base64.b64encode(key.encode()).decode()},
    }
