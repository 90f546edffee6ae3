"""Secrets that no output may contain, and the search for them."""

import base64
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from support.kubectl import kubectl_json
from support.release import IN_RELEASE, RELEASE

MIN_LENGTH = 16  # a shorter value may be part of a name
PUBLIC = ("AWS_ACCESS_KEY_ID",)  # in each presigned URL
# Tokens are known by their form: sessions and requests make new ones all the time.
TOKENS = {
    "a session's token": re.compile(rb"ngs_[\w-]{43}"),
    "a report's token": re.compile(rb"ngr_[0-9a-f-]{36}\.[\w-]{43}"),
    "a JSON Web Token": re.compile(rb"eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}"),
}

Output = tuple[str, bytes]  # where it is, and its content


def forms(secret: bytes) -> Iterator[bytes]:
    """The secret as it is, and in base64 at each position that it can have in a longer text."""
    yield secret
    for shift in range(3):
        encoded = base64.b64encode(bytes(shift) + secret)
        # Only the characters that depend on nothing else than the secret.
        yield encoded[-(-shift * 8 // 6) : (shift + len(secret)) * 8 // 6]


@dataclass
class Canaries:
    """Secrets by name, and where they were found; a finding never repeats the secret."""

    secrets: dict[str, bytes]
    found: list[str] = field(default_factory=list)
    outputs: int = 0
    size: int = 0

    def __post_init__(self) -> None:
        self._forms = {form: name for name, value in self.secrets.items() for form in forms(value)}

    def search(self, outputs: Iterable[Output]) -> None:
        """Search the outputs; adds to ``found``."""
        for where, content in outputs:
            self.outputs += 1
            self.size += len(content)
            names = {name for form, name in self._forms.items() if form in content}
            names |= {name for name, token in TOKENS.items() if token.search(content)}
            self.found += [f"{name} in {where}" for name in sorted(names)]


def secrets_of_release() -> dict[str, bytes]:
    """The values of the release's Secrets by name: keys of S3, Redis, sessions, results."""
    label = f"app.kubernetes.io/instance={RELEASE}"
    listed = kubectl_json(*IN_RELEASE, "get", "secrets", "-l", label)["items"]
    found = {
        f"{secret['metadata']['name']}/{key}": base64.b64decode(value)
        for secret in listed
        for key, value in secret.get("data", {}).items()
        if key not in PUBLIC
    }
    # A text of several lines, such as a list of Redis users, only repeats the others.
    return {
        name: value
        for name, value in found.items()
        if len(value) >= MIN_LENGTH and b"\n" not in value
    }
