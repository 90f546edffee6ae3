"""OCI image layouts: blobs by their hash, and an index of manifests."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from scripts.release import tars

Json = dict[str, Any]

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
IMAGE_CONFIG = "application/vnd.oci.image.config.v1+json"
IMAGE_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
# As helm pushes a chart.
CHART_CONFIG = "application/vnd.cncf.helm.config.v1+json"
CHART_LAYER = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
TAG = "org.opencontainers.image.ref.name"
NAME = "io.containerd.image.name"  # ctr and docker import an image under this name


def encode(document: Json) -> bytes:
    """JSON in one form."""
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


class Layout:
    """A layout that is written to an archive; blobs are files of a scratch folder."""

    def __init__(self, scratch: Path) -> None:
        self._blobs = scratch / "blobs/sha256"
        self._blobs.mkdir(parents=True)

    def add(self, content: bytes, media_type: str) -> Json:
        """Add a blob; returns its descriptor."""
        hashed = hashlib.sha256(content).hexdigest()
        (self._blobs / hashed).write_bytes(content)
        return descriptor(media_type, hashed, len(content))

    def add_file(self, file: Path, media_type: str) -> Json:
        """Add a file as a blob; the file is moved. Returns its descriptor."""
        with file.open("rb") as opened:
            hashed = hashlib.file_digest(opened, "sha256").hexdigest()
        size = file.stat().st_size
        shutil.move(file, self._blobs / hashed)
        return descriptor(media_type, hashed, size)

    def manifest(self, config: Json, layers: list[Json], annotations: dict[str, str]) -> Json:
        """Add a manifest; returns its descriptor."""
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config,
            "layers": layers,
            "annotations": annotations,
        }
        return self.add(encode(document), MANIFEST)

    def write(
        self, target: Path, manifest: Json, reference: str, mtime: int, *, docker: bool = False
    ) -> None:
        """Write the layout with one manifest, NAME:TAG, as a tar archive.

        With ``docker`` it has the index of `docker load` as well, which older engines need.
        """
        named = manifest | {"annotations": {NAME: reference, TAG: reference.rpartition(":")[2]}}
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [named]}
        entries: list[tars.Entry] = [
            ("oci-layout", encode({"imageLayoutVersion": "1.0.0"}), tars.PLAIN),
            ("index.json", encode(index), tars.PLAIN),
        ]
        if docker:
            index_file = json.dumps([self._for_docker(manifest, reference)], sort_keys=True)
            entries.append(("manifest.json", index_file.encode(), tars.PLAIN))
        for blob in self._blobs.iterdir():
            entries.append((f"blobs/sha256/{blob.name}", blob, tars.PLAIN))
        tars.write(target, entries, mtime, compress=False)

    def _for_docker(self, manifest: Json, reference: str) -> Json:
        content = json.loads((self._blobs / _hex(manifest)).read_bytes())
        return {
            "Config": f"blobs/sha256/{_hex(content['config'])}",
            "RepoTags": [reference],
            "Layers": [f"blobs/sha256/{_hex(layer)}" for layer in content["layers"]],
        }


def _hex(blob: Json) -> str:
    return str(blob["digest"]).removeprefix("sha256:")


def descriptor(media_type: str, hashed: str, size: int) -> Json:
    """The descriptor of a blob."""
    return {"mediaType": media_type, "digest": f"sha256:{hashed}", "size": size}
