"""What is signed, with which key, and why nothing is."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from scripts.release.contents import SIGNATURE, SUMS

KEY = "COSIGN_KEY"
# Where cosign finds an identity of its own: an ID token, or the workflow's.
IDENTITIES = ("SIGSTORE_ID_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_URL")


@dataclass(frozen=True, slots=True)
class Signer:
    """How to sign: the options of cosign; or why not, in ``skipped``."""

    options: tuple[str, ...] = ()
    skipped: str = ""


def signer(cosign: str | None, env: Mapping[str, str]) -> Signer:
    """Choose the key. ``cosign`` is the path of the program, if there is one."""
    if cosign is None:
        return Signer(skipped="cosign is not on PATH")
    if key := env.get(KEY):
        return Signer(("--yes", "--key", key))
    if any(env.get(name) for name in IDENTITIES):
        return Signer(("--yes",))
    return Signer(skipped=f"there is no key: set {KEY}, or {IDENTITIES[0]} for keyless signing")


def blob_command(folder: Path, how: Signer) -> list[str]:
    """Sign SHA256SUMS, and so each file that it lists."""
    bundle = str(folder / (SUMS + SIGNATURE))
    return ["cosign", "sign-blob", *how.options, "--bundle", bundle, str(folder / SUMS)]


def image_commands(pushed: Iterable[str], how: Signer) -> list[list[str]]:
    """Sign pushed images and charts; a reference has a digest, because a tag can move.

    Raises:
        ValueError: a reference without a digest.
    """
    references = list(pushed)
    if without := [name for name in references if "@sha256:" not in name]:
        raise ValueError(f"not signed, as it has no digest: {', '.join(without)}")
    return [["cosign", "sign", *how.options, "--recursive", name] for name in references]


def attest_command(reference: str, sbom: Path, how: Signer) -> list[str]:
    """Attach the SBOM of an image to it, signed."""
    return [
        "cosign", "attest", *how.options, "--type", "cyclonedx", "--predicate", str(sbom),
        reference,
    ]  # fmt: skip
