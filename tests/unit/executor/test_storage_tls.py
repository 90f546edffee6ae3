"""Whether the S3 client tests certificates: always, if any of its requests uses TLS."""

from typing import Any

import obstore.store
import pytest

from nanogrid import names
from nanogrid_executor.storage.connection import Connection

PLAIN = {names.ENV_S3_ENDPOINT: "http://minio:9000", "AWS_ACCESS_KEY_ID": "key"}


@pytest.mark.parametrize(
    ("environment", "verifies"),
    [
        (PLAIN, False),
        ({}, True),
        (PLAIN | {names.ENV_S3_ENDPOINT: "https://minio:9000"}, True),
        (PLAIN | {names.ENV_S3_ENDPOINT: ""}, True),
        (PLAIN | {"AWS_ACCESS_KEY_ID": ""}, True),  # its credentials come from AWS
        (PLAIN | {names.ENV_S3_PROXY: "http://proxy:3128"}, False),
        (PLAIN | {names.ENV_S3_PROXY: "https://proxy:3128"}, True),
    ],
)
def test_certificates_are_verified_if_there_are_any(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], verifies: bool
) -> None:
    given: dict[str, Any] = {}

    def client(bucket: str, **options: Any) -> object:
        given.update(options["client_options"])
        return object()

    monkeypatch.setattr(obstore.store, "S3Store", client)
    for name in (names.ENV_S3_ENDPOINT, names.ENV_S3_PROXY, "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    Connection().attempt("test", "bucket", "key", lambda store: store)

    assert given["allow_invalid_certificates"] is not verifies
