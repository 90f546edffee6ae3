"""A CA of a test, and the certificate of a server on this machine."""

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path


def _openssl(folder: Path, *args: str) -> None:
    subprocess.run(["openssl", *args], cwd=folder, check=True, capture_output=True, timeout=60)


@dataclass(frozen=True)
class Certificates:
    """Files in PEM: the CA, and what a server needs."""

    ca: Path
    server: ssl.SSLContext
    certificate: Path
    key: Path


def certificates(folder: Path, names: str = "IP:127.0.0.1,IP:::1,DNS:localhost") -> Certificates:
    """A new CA, and a certificate that it signed."""
    (folder / "names").write_text(f"subjectAltName={names}\nbasicConstraints=CA:FALSE\n")
    new = ("-newkey", "rsa:2048", "-nodes", "-subj")
    _openssl(folder, "req", "-x509", *new, "/CN=test CA", "-keyout", "ca.key", "-out", "ca.pem")
    _openssl(folder, "req", *new, "/CN=server", "-keyout", "server.key", "-out", "server.csr")
    by = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial")
    signed = ("-in", "server.csr", "-out", "server.pem", "-extfile", "names", "-days", "2")
    _openssl(folder, "x509", "-req", *by, *signed)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own = (folder / "server.pem", folder / "server.key")
    context.load_cert_chain(*own)
    return Certificates(folder / "ca.pem", context, *own)
