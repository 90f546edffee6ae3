"""CAs as text: which texts are accepted, and the file that clients read."""

import ssl
from pathlib import Path

import pytest

from nanogrid.ca_bundle import MAX_BYTES, certificates, trusted_file
from support.certificates import certificates as new_certificates


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> str:
    return new_certificates(tmp_path_factory.mktemp("ca")).ca.read_text()


def test_only_the_certificates_are_kept(pem: str) -> None:
    assert certificates(f"# $(HOME) our CA\n{pem}\nmore\n{pem}") == f"{pem}{pem}".strip()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no certificate"),
        ("/etc/ca.pem", "no certificate"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "not valid"),
        ("-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----", "private key"),
    ],
)
def test_other_texts_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        certificates(text)


def test_a_long_text_is_refused(pem: str) -> None:
    with pytest.raises(ValueError, match=f"at most {MAX_BYTES}"):
        certificates(pem * (MAX_BYTES // len(pem) + 1))


def test_the_file_has_the_systems_cas_too(pem: str) -> None:
    context = ssl.create_default_context(cafile=trusted_file(pem))
    assert "test CA" in str(context.get_ca_certs())
    assert len(context.get_ca_certs()) == 1 + len(ssl.create_default_context().get_ca_certs())
    assert trusted_file(pem) == trusted_file(pem)
    assert Path(trusted_file(pem)).read_bytes().endswith(pem.encode() + b"\n")
