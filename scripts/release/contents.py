"""The files of a release: their names, hashes and manifest."""

import hashlib
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

from scripts.release.oci import Json
from scripts.release.project import ARCHITECTURES, CHART_NAME, IMAGES, PACKAGES, Project
from scripts.release.version import Version

SUMS = "SHA256SUMS"
MANIFEST = "release.json"
NOTES = "release-notes.md"
LIST = "images.txt"
SIGNATURE = ".sigstore.json"  # the suffix of cosign's bundles
CRDS = "nanogrid-crds.yaml"
NOT_BUILT = "no engine of this architecture took part in the build"


def image_file(name: str, version: Version, architecture: str) -> str:
    """The archive of an image."""
    return f"nanogrid-{name}-image-{version}-{architecture}.oci.tar"


def image_sbom(name: str, version: Version, architecture: str) -> str:
    """The SBOM of an image."""
    return f"nanogrid-{name}-image-{version}-{architecture}.cdx.json"


def chart_file(version: Version) -> str:
    """The packed chart."""
    return f"{CHART_NAME}-{version}.tgz"


def source_file(version: Version) -> str:
    """The tree with the version set: Dockerfiles, and the script that prepares their contexts."""
    return f"nanogrid-source-{version}.tar.gz"


def python_files(version: Version) -> list[str]:
    """The files for PyPI."""
    stems = [f"{name.replace('-', '_')}-{version.python}" for name in PACKAGES]
    return sorted(f"{s}{end}" for s in stems for end in ("-py3-none-any.whl", ".tar.gz"))


def image_list(project: Project, version: Version) -> str:
    """The images that a cluster without the internet needs, one per line, and the chart."""
    lines = [project.image(name, str(version)) for name in IMAGES]
    head = f"# Copy these to your registry; set global.imageRegistry. The chart: {project.chart}"
    return "\n".join([head, *lines]) + "\n"


def crds(files: Mapping[str, str]) -> str:
    """All CRDs in one file, by name."""
    return "".join(f"---\n{files[name].removeprefix('---').lstrip()}" for name in sorted(files))


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of each file that a release has; signatures are made later."""
    found = {}
    for path in sorted(folder.iterdir()):
        if path.name != SUMS and not path.name.endswith(SIGNATURE):
            with path.open("rb") as file:
                found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def sums(found: Mapping[str, str]) -> str:
    """The text of SHA256SUMS, for `sha256sum --check`."""
    return "".join(f"{found[name]}  {name}\n" for name in sorted(found))


def archive_digest(file: Path) -> str:
    """The digest of the manifest in an OCI archive."""
    with tarfile.open(file) as archive:
        index = archive.extractfile("index.json")
        assert index is not None  # noqa: S101 for mypy: it is a regular file
        document: Json = json.loads(index.read())
    return str(document["manifests"][0]["digest"])


def images(
    folder: Path, version: Version, reasons: Mapping[str, str]
) -> dict[str, dict[str, dict[str, str]]]:
    """By image and architecture: archive and digest, or the reason why there is none."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for name in IMAGES:
        found[name] = {}
        for architecture in ARCHITECTURES:
            file = folder / image_file(name, version, architecture)
            if file.exists():
                entry = {"file": file.name, "digest": archive_digest(file)}
            else:
                entry = {"missing": reasons.get(architecture, NOT_BUILT)}
            found[name][architecture] = entry
    return found


def manifest(
    folder: Path, version: Version, project: Project, *, commit: str, created: str,
    reasons: Mapping[str, str],
) -> Json:  # fmt: skip
    """The manifest of a release."""
    files = {name: v for name, v in hashes(folder).items() if name != MANIFEST}
    return {
        "version": str(version),
        "pythonVersion": version.python,
        "commit": commit,
        "created": created,
        "chart": {"reference": project.chart, "file": chart_file(version)},
        "images": images(folder, version, reasons),
        "files": {
            name: {"sha256": value, "bytes": (folder / name).stat().st_size}
            for name, value in files.items()
        },
    }


def write(folder: Path, document: Json) -> None:
    """Write the manifest and SHA256SUMS of a folder."""
    text = json.dumps(document, indent=2, sort_keys=True) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    (folder / SUMS).write_text(sums(hashes(folder)), encoding="utf-8")


def differences(first: Mapping[str, str], second: Mapping[str, str]) -> list[str]:
    """What two builds do not have in common, one line per file."""
    lines = [f"only in the first build: {name}" for name in sorted(first.keys() - second.keys())]
    lines += [f"only in the second build: {name}" for name in sorted(second.keys() - first.keys())]
    both = sorted(first.keys() & second.keys())
    return lines + [
        f"differs: {name} ({first[name][:12]} and {second[name][:12]})"
        for name in both
        if first[name] != second[name]
    ]
