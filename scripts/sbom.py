"""The SBOM of an image: a CycloneDX 1.5 document.

It lists our packages, each locked dependency in the image with the hash of its wheel, the packages
of the operating system, and the base image. ``scripts/images.py`` writes one file per image.
"""

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

Json = dict[str, Any]

FORMAT = "cyclonedx1.5"  # of `uv export`
WHEEL = re.compile(r"[^/]+-(?P<py>[^-/]+)-(?P<abi>[^-/]+)-(?P<platform>[^-/]+)\.whl$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What an SBOM describes.

    Attributes:
        name: the image, for example nanogrid-operator:0123456789ab.
        base: the base image.
        base_digest: its digest, or its ID if it comes from no registry: ``sha256:…``.
        own: our packages in the image.
        folders: folders with unpacked wheels, and their ``*.dist-info``.
        system: packages of the operating system, one ``NAME VERSION ARCHITECTURE`` per line.
    """

    name: str
    base: str
    base_digest: str
    own: tuple[str, ...]
    folders: tuple[Path, ...]
    system: str


def document(image: Image, lock: Json) -> Json:
    """The SBOM; ``lock`` is the export of the whole lock file in CycloneDX.

    Raises:
        SystemExit: the image has a package or wheel that the lock does not have.
    """
    locked = {(c["name"], c["version"]): c for c in lock["components"]}
    wanted = [_own(locked, name) for name in image.own]
    wanted += [_dependency(locked, info) for info in dist_infos(image.folders)]
    known = {c["bom-ref"] for c in wanted}
    repository, _, tag = image.name.rpartition(":")
    subject = {
        "type": "container",
        "bom-ref": image.name,
        "name": repository,
        "version": tag,
    }
    others = [_base(image), *map(_system_package, image.system.splitlines())]
    graph = [_only(node, known) for node in lock["dependencies"] if node["ref"] in known]
    first = {"ref": image.name, "dependsOn": [c["bom-ref"] for c in [*wanted, *others]]}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": subject, "tools": lock["metadata"]["tools"]},
        "components": [*wanted, *others],
        "dependencies": [first, *graph],
    }


def dist_infos(folders: Iterable[Path]) -> list[Path]:
    """The metadata folders of all packages, each package once."""
    found = {info.name: info for folder in folders for info in folder.glob("*.dist-info")}
    return [found[name] for name in sorted(found)]


def _own(locked: dict[tuple[str, str], Json], name: str) -> Json:
    (component,) = [c for (known, _), c in locked.items() if known == name]
    return component | {"purl": f"pkg:generic/{name}@{component['version']}"}


def _dependency(locked: dict[tuple[str, str], Json], info: Path) -> Json:
    """The locked component of an unpacked wheel, with the wheel's hash only."""
    name, _, version = info.name.removesuffix(".dist-info").rpartition("-")
    key = (re.sub(r"[-_.]+", "-", name).lower(), version)
    if key not in locked:
        sys.exit(f"sbom: the image has {key[0]} {key[1]}, which is not in uv.lock")
    component = locked[key]
    tags = wheel_tags(info)
    files = [f for f in component["externalReferences"] if _file_tags(f["url"]) & tags]
    if len(files) != 1:
        sys.exit(f"sbom: {len(files)} wheels of {key[0]} {key[1]} in uv.lock match {sorted(tags)}")
    return component | {"externalReferences": files, "hashes": files[0]["hashes"]}


def wheel_tags(info: Path) -> frozenset[str]:
    """The tags in the metadata of an unpacked wheel, for example py3-none-any."""
    lines = (info / "WHEEL").read_text(encoding="utf-8").splitlines()
    return frozenset(v.strip() for k, _, v in (line.partition(":") for line in lines) if k == "Tag")


def _file_tags(url: str) -> frozenset[str]:
    """The tags in the name of a wheel; empty for a source distribution."""
    match = WHEEL.search(url)
    if match is None:
        return frozenset()
    python, abi, platform = (match[part].split(".") for part in ("py", "abi", "platform"))
    return frozenset(f"{p}-{a}-{f}" for p in python for a in abi for f in platform)


def _only(node: Json, known: set[str]) -> Json:
    """An entry of the dependency graph without packages that the image does not have."""
    return node | {"dependsOn": [ref for ref in node.get("dependsOn", []) if ref in known]}


def _base(image: Image) -> Json:
    return {
        "type": "container",
        "bom-ref": f"base:{image.base_digest}",
        "name": image.base.partition("@")[0],
        "version": image.base_digest,
        "hashes": [{"alg": "SHA-256", "content": image.base_digest.removeprefix("sha256:")}],
    }


def _system_package(line: str) -> Json:
    name, version, architecture = line.split()
    purl = f"pkg:deb/debian/{quote(name)}@{quote(version, safe='')}?arch={architecture}"
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
