"""The chart as `helm package` names it, and as the OCI artifact that `helm push` makes of it."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import yaml

from scripts.release import oci, tars
from scripts.release.project import CHART, CHART_NAME, Project
from scripts.release.version import Version


def package(tree: Path, target: Path, version: Version, epoch: int) -> Path:
    """Write the chart as .tgz; helm's own command writes the time of the build into it."""
    file = target / f"{CHART_NAME}-{version}.tgz"
    entries = tars.files(tree / CHART, f"{CHART_NAME}/")
    entries.append((f"{CHART_NAME}/LICENSE", tree / "LICENSE", tars.PLAIN))
    tars.write(file, entries, epoch, compress=True)
    return file


def annotations(metadata: oci.Json, epoch: int) -> dict[str, str]:
    """The annotations that helm derives from Chart.yaml."""
    return {
        "org.opencontainers.image.title": metadata["name"],
        "org.opencontainers.image.version": metadata["version"],
        "org.opencontainers.image.description": metadata["description"],
        "org.opencontainers.image.url": metadata["home"],
        "org.opencontainers.image.source": metadata["sources"][0],
        "org.opencontainers.image.created": datetime.fromtimestamp(epoch, UTC).isoformat(),
    }


def artifact(tree: Path, packed: Path, project: Project, epoch: int) -> Path:
    """Write the OCI layout of a packed chart, as helm would push it; returns the archive."""
    text = (tree / CHART / "Chart.yaml").read_text(encoding="utf-8")
    metadata = cast(oci.Json, yaml.safe_load(text))
    target = packed.with_suffix(".oci.tar")
    with tempfile.TemporaryDirectory() as scratch:
        layout = oci.Layout(Path(scratch))
        config = layout.add(oci.encode(metadata), oci.CHART_CONFIG)
        layer = layout.add(packed.read_bytes(), oci.CHART_LAYER)
        manifest = layout.manifest(config, [layer], annotations(metadata, epoch))
        reference = f"{project.chart.removeprefix('oci://')}:{metadata['version']}"
        layout.write(target, manifest, reference, epoch)
    return target
