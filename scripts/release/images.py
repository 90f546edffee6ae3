"""Container images as OCI archives that depend on their contents only.

The engine stamps layers and history with the time of the build, which may be long before the commit
if an image is cached. A layer is written again with the commit's time for all files; a layer of the
base image stays as it is, so that registries share it.
"""

import gzip
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from scripts.images import OWN_BASE
from scripts.release import oci, tars
from scripts.release.checkout import run
from scripts.release.errors import ReleaseError
from scripts.release.project import ARCHITECTURES, IMAGES, Project
from scripts.release.version import Version

COPY_BYTES = 1 << 20
# Of the engine's configuration; the rest describes the build, with random names of containers.
CONFIG_KEYS = (
    "User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels",
    "StopSignal",
)  # fmt: skip
# In the history of Docker's legacy builder: a hash of a folder, with the times of its files.
_HASHED = re.compile(r"\b((?:file|dir|multi):)[0-9a-f]{64}")
PLATFORM_KEYS = ("architecture", "os", "variant")
# Extended headers of a file that have times; extended attributes are kept.
_TIMES = ("mtime", "atime", "ctime", "LIBARCHIVE.creationtime")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What an image says about itself, in its labels."""

    name: str
    version: Version
    revision: str
    project: Project

    def labels(self) -> dict[str, str]:
        """The labels."""
        prefix = "org.opencontainers.image"
        return {
            f"{prefix}.title": f"nanogrid-{self.name}",
            f"{prefix}.version": str(self.version),
            f"{prefix}.revision": self.revision,
            f"{prefix}.source": self.project.repository,
            f"{prefix}.licenses": "Apache-2.0",
        }


def engine() -> str:
    """The architecture that the Docker engine builds, for example amd64.

    Raises:
        ReleaseError: no engine answers.
    """
    try:
        return run(["docker", "version", "--format", "{{.Server.Arch}}"], Path.cwd()).strip()
    except ReleaseError as error:
        raise ReleaseError(
            f"no Docker engine builds the images: {error}",
            "start one, or build without images: ARGS='--only packages chart notes'",
        ) from None


def missing(built: str) -> dict[str, str]:
    """The architectures that an engine does not build, and why."""
    why = f"this engine builds {built}; run `make release ARGS='--only images'` where one builds"
    return {name: f"{why} {name}" for name in ARCHITECTURES if name != built}


def build(tree: Path, base: str | None, *, fresh: bool) -> dict[str, str]:
    """Build the images of a tree; returns the engine's names. With ``fresh``, without its cache."""
    command = [sys.executable, str(tree / "scripts/images.py"), *IMAGES]
    command += ["--base", base] if base else []
    command += ["--fresh"] if fresh else []
    done = subprocess.run(command, cwd=tree, check=False)
    if done.returncode != 0:
        raise ReleaseError("the images cannot be built", "see the output above")
    found: dict[str, str] = json.loads((tree / "build/images.json").read_text(encoding="utf-8"))
    return found


def iso(epoch: int) -> str:
    """A time as OCI has it."""
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def config(original: oci.Json, diff_ids: list[str], subject: Subject, epoch: int) -> oci.Json:
    """The configuration of an image, without traces of the build."""
    inner = {key: v for key, v in original.get("config", {}).items() if key in CONFIG_KEYS and v}
    inner["Labels"] = {**(inner.get("Labels") or {}), **subject.labels()}
    created = iso(epoch)
    history = [
        {
            **step,
            "created": created,
            "created_by": _HASHED.sub(r"\1", step.get("created_by", "")),
        }
        for step in original.get("history", [])
    ]
    kept: oci.Json = {key: original[key] for key in PLATFORM_KEYS if key in original}
    rootfs = {"type": "layers", "diff_ids": diff_ids}
    return {**kept, "created": created, "config": inner, "rootfs": rootfs, "history": history}


def rewrite(source: Path, target: Path, epoch: int) -> None:
    """Copy a layer: one time for all files, no names of owners; order and links stay."""
    with (
        tarfile.open(source) as old,
        tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in old:
            member.mtime = epoch
            member.uname = member.gname = ""
            headers = member.pax_headers.items()
            member.pax_headers = {key: value for key, value in headers if key not in _TIMES}
            new.addfile(member, old.extractfile(member) if member.isreg() else None)


def _uncompressed(source: Path, target: Path) -> None:
    with source.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    with gzip.open(source) if packed else source.open("rb") as old, target.open("wb") as new:
        shutil.copyfileobj(old, new, COPY_BYTES)


def _hash(file: Path) -> str:
    with file.open("rb") as opened:
        return f"sha256:{hashlib.file_digest(opened, 'sha256').hexdigest()}"


def _add_layer(
    layout: oci.Layout, source: Path, scratch: Path, epoch: int, base: Collection[str]
) -> tuple[oci.Json, str]:
    """Add a layer; returns its descriptor, and the hash of its content without compression."""
    plain, packed = scratch / "layer.tar", scratch / "layer.tar.gz"
    _uncompressed(source, plain)
    diff_id = _hash(plain)
    if diff_id not in base:
        original = plain.rename(scratch / "original.tar")
        rewrite(original, plain, epoch)
        original.unlink()
        diff_id = _hash(plain)
    with (
        plain.open("rb") as file,
        packed.open("wb") as raw,
        gzip.GzipFile("", "wb", tars.LEVEL, raw, mtime=0) as out,
    ):
        shutil.copyfileobj(file, out, COPY_BYTES)
    plain.unlink()
    return layout.add_file(packed, oci.IMAGE_LAYER), diff_id


def archive(saved: Path, target: Path, subject: Subject, epoch: int, base: Collection[str]) -> str:
    """Write the OCI archive of an image that `docker save` wrote; returns its digest.

    ``base`` has the hashes of the base image's layers, without compression.
    """
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        scratch = Path(folder)
        with tarfile.open(saved) as tar:
            tar.extractall(scratch / "saved", filter="data")
        listed = (scratch / "saved/manifest.json").read_text(encoding="utf-8")
        (described,) = json.loads(listed)
        original = json.loads((scratch / "saved" / described["Config"]).read_text(encoding="utf-8"))
        layout = oci.Layout(scratch / "layout")
        layers = [
            _add_layer(layout, scratch / "saved" / name, scratch, epoch, base)
            for name in described["Layers"]
        ]
        document = config(original, [diff_id for _, diff_id in layers], subject, epoch)
        stored = layout.add(oci.encode(document), oci.IMAGE_CONFIG)
        annotations = {**subject.labels(), "org.opencontainers.image.created": iso(epoch)}
        manifest = layout.manifest(stored, [layer for layer, _ in layers], annotations)
        reference = subject.project.image(subject.name, str(subject.version))
        layout.write(target, manifest, reference, epoch, docker=True)
    return str(manifest["digest"])


def base_layers(described: oci.Json) -> list[str]:
    """The layers of a base image, from the engine; ``described`` is the SBOM of an image on it."""
    components = described["components"]
    (found,) = [component for component in components if component["type"] == "container"]
    # A base that was built here has no digest in a registry: its version is the ID.
    own = found["name"].startswith(OWN_BASE)
    name = found["version"] if own else f"{found['name']}@{found['version']}"
    layers: list[str] = json.loads(
        run(["docker", "image", "inspect", "--format", "{{json .RootFS.Layers}}", name], Path.cwd())
    )
    return layers


def save(image: str, target: Path, subject: Subject, epoch: int, base: Collection[str]) -> str:
    """Write an image of the engine as an OCI archive; returns its digest."""
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        saved = Path(folder) / "saved.tar"
        run(["docker", "save", "--output", str(saved), image], target.parent)
        return archive(saved, target, subject, epoch, base)


def published_sbom(document: oci.Json, reference: str) -> oci.Json:
    """The SBOM of an image under the name that it is published with."""
    name = document["metadata"]["component"]["bom-ref"]
    text = json.dumps(document).replace(json.dumps(name), json.dumps(reference))
    named: oci.Json = json.loads(text)
    repository, _, version = reference.rpartition(":")
    named["metadata"]["component"] |= {"name": repository, "version": version}
    return named
