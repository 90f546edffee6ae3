"""What a reader of the documentation site needs without the Internet: the site has all of it.

Mermaid draws the diagrams of the pages in the browser. Its script comes from npm's registry when
the site is built. npm knows the address of the registry, and keeps a copy of the package.
"""

import base64
import hashlib
import posixpath
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Final

# The theme is made for this major version. `npm view mermaid@VERSION dist.integrity` prints the
# hash.
MERMAID: Final = "mermaid@12.3.0"
MERMAID_SHA512: Final = (
    "4113TdXeLAsMruJ79OpFL5O8+LTFXhQqZ260rF3tgUmiNAtRm4Uume04I+65PRN6yZ69J4f8rVYWW8zRk65UYw=="
)
SCRIPT: Final = "package/dist/mermaid.min.js"
LICENSE: Final = "package/LICENSE"
FETCH_SECONDS: Final = 300
IN_SITE: Final = "assets/mermaid.js"

_DIAGRAM = re.compile(r"^ *```mermaid$", re.MULTILINE)
_ELSEWHERE = re.compile(r"\s*([a-z]+:)?//", re.IGNORECASE)  # `data:` has no slashes
_STYLE_URL = re.compile(r"(?:url\(|@import)\s*[\"']?([^\"')\s;]+)", re.IGNORECASE)
_LOADING = frozenset({"src", "poster", "data"})  # attributes
# Values of `rel` with which a browser loads what the link names, or connects to its host.
_LOADING_LINKS = frozenset(
    {"stylesheet", "icon", "manifest", "preload", "modulepreload", "prefetch", "preconnect",
     "dns-prefetch", "apple-touch-icon"}
)  # fmt: skip


class SiteError(Exception):
    """The site cannot be built; the message says why and what to do."""


def has_diagrams(text: str) -> bool:
    """Whether a page has diagrams."""
    return _DIAGRAM.search(text) is not None


def with_diagrams(page: str, text: str) -> str:
    """A page with the script that draws its diagrams, if it has some: the script is 5 MB.

    The theme loads the script from another host only if the page has not done so.
    """
    if not has_diagrams(text):
        return text
    script = posixpath.relpath(IN_SITE, posixpath.dirname(page) or ".")
    return f'{text.rstrip()}\n\n<script src="{script}"></script>\n'


def add_mermaid(pages: Path) -> None:
    """Write the script into the folder of all pages.

    Raises:
        SiteError: npm cannot get it, or it is not the one of the hash.
    """
    file = pages / IN_SITE
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(mermaid())


def mermaid() -> bytes:
    """The script that sets the global ``mermaid``, after its license.

    Raises:
        SiteError: npm cannot get it, or it is not the one of the hash.
    """
    if shutil.which("npm") is None:
        raise SiteError(f"npm is not on PATH; it gets {MERMAID}, which draws the diagrams: add npm")
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--prefer-offline", "--ignore-scripts", "--loglevel=error"]
        try:
            done = subprocess.run(
                [*command, "--pack-destination", folder, MERMAID],
                cwd=folder, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise SiteError(f"npm has no {MERMAID} after {FETCH_SECONDS} s; try again") from None
        packages = [*Path(folder).glob("*.tgz")]
        if done.returncode != 0 or len(packages) != 1:
            raise SiteError(
                f"npm cannot get {MERMAID}, which draws the diagrams: {done.stderr.strip()}\n"
                "check the registry: npm config get registry"
            )
        return _unpacked(packages[0])


def _unpacked(package: Path) -> bytes:
    with package.open("rb") as file:
        found = base64.b64encode(hashlib.file_digest(file, "sha512").digest()).decode()
    if found != MERMAID_SHA512:
        raise SiteError(f"{MERMAID} has the hash sha512-{found}, not sha512-{MERMAID_SHA512}")
    with tarfile.open(package) as files:
        for name in (SCRIPT, LICENSE):
            files.extract(name, package.parent, filter="data")
    script, terms = ((package.parent / name).read_bytes() for name in (SCRIPT, LICENSE))
    return b"/*! " + MERMAID.encode() + b"\n" + terms + b"*/\n" + script


def loaded_from_elsewhere(site: Path) -> Iterator[str]:
    """What the pages and styles of a built site load from other hosts: the file and the address.

    Scripts are not read: the theme's script names hosts for what it finds neither in the page nor
    in the browser.
    """
    for file in sorted(site.rglob("*")):
        if file.suffix == ".html":
            reader = _Loads()
            reader.feed(file.read_text(encoding="utf-8"))
            addresses = reader.addresses
        elif file.suffix == ".css":
            addresses = _STYLE_URL.findall(file.read_text(encoding="utf-8"))
        else:
            continue
        for address in filter(_ELSEWHERE.match, addresses):
            yield f"{file.relative_to(site)}: {address}"


class _Loads(HTMLParser):
    """Collects the addresses that a browser loads with a page by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self._in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take the addresses of one element."""
        self._in_style = tag == "style"
        values = {name: value or "" for name, value in attrs}
        if tag == "link" and _LOADING_LINKS.intersection(values.get("rel", "").lower().split()):
            self.addresses.append(values.get("href", ""))
        for name, value in values.items():
            if name == "srcset":
                self.addresses += value.split(",")
            elif name in _LOADING:
                self.addresses.append(value)
            elif name == "style":
                self.addresses += _STYLE_URL.findall(value)

    def handle_data(self, data: str) -> None:
        """Take the addresses of a style in the page."""
        if self._in_style:
            self.addresses += _STYLE_URL.findall(data)

    def handle_endtag(self, tag: str) -> None:
        """A style ends before any other element begins."""
        self._in_style = False
