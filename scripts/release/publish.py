"""Push the images and the chart of a release: exactly the archives that were built."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scripts.release.checkout import run
from scripts.release.contents import MANIFEST, chart_file, image_sbom
from scripts.release.errors import ReleaseError
from scripts.release.oci import Json
from scripts.release.project import ARCHITECTURES, CHART_NAME, IMAGES, Project
from scripts.release.version import Version

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a registry has now: the references to sign, and the SBOM of each single image."""

    signed: tuple[str, ...]
    sboms: Mapping[str, str]


def check_owner(project: Project, repository: str) -> None:
    """Refuse to publish from a repository that the documents do not name.

    Raises:
        ReleaseError: ``repository``, OWNER/NAME of the workflow, is another one.
    """
    if repository.lower() != project.owner.lower():
        raise ReleaseError(
            f"this is {repository or 'no workflow'}, but releases of {project.owner} are published",
            "set registry and repository in [tool.nanogrid.release] of pyproject.toml, and run "
            "`make test-unit`, which names the documents that repeat them",
        )


def complete(manifest: Json) -> None:
    """Refuse to publish a release that misses an image.

    Raises:
        ReleaseError: with the missing images.
    """
    missing = [
        f"{name} for {architecture}"
        for name, archives in manifest["images"].items()
        for architecture, entry in archives.items()
        if "digest" not in entry
    ]
    if missing:
        hint = "build the images of each architecture, and run `finish` on all files together"
        raise ReleaseError(f"the release has no image {', '.join(missing)}", hint)


def push_commands(name: str, version: Version, project: Project, manifest: Json) -> list[list[str]]:
    """Push the archives of an image, then the index that has all architectures under the tag."""
    archives = manifest["images"][name]
    target = project.image(name, str(version))
    commands = [
        ["skopeo", "copy", "--preserve-digests", f"oci-archive:{archives[arch]['file']}",
         f"docker://{target}-{arch}"]
        for arch in ARCHITECTURES
    ]  # fmt: skip
    repository = target.rpartition(":")[0]
    sources = [f"{repository}@{archives[arch]['digest']}" for arch in ARCHITECTURES]
    return [*commands, ["docker", "buildx", "imagetools", "create", "--tag", target, *sources]]


def digest_in(output: str, what: str) -> str:
    """The digest that a program printed.

    Raises:
        ReleaseError: there is none.
    """
    if match := _DIGEST.search(output):
        return match[0]
    raise ReleaseError(f"no digest of {what} in: {output.strip()[:200]}", "push it again")


def push(folder: Path, version: Version, project: Project) -> Pushed:
    """Push all images and the chart."""
    manifest: Json = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    complete(manifest)
    signed, sboms = [], {}
    for name in IMAGES:
        print(f"release: push {name}", flush=True)
        for command in push_commands(name, version, project, manifest):
            run(command, folder)
        target = project.image(name, str(version))
        repository = target.rpartition(":")[0]
        shown = run(
            ["docker", "buildx", "imagetools", "inspect", "--format", "{{.Manifest.Digest}}",
             target], folder,
        )  # fmt: skip
        signed.append(f"{repository}@{digest_in(shown, target)}")
        for arch in ARCHITECTURES:
            reference = f"{repository}@{manifest['images'][name][arch]['digest']}"
            sboms[reference] = image_sbom(name, version, arch)
    print(f"release: push {CHART_NAME}", flush=True)
    # helm prints the digest to stderr.
    shown = run(["helm", "push", chart_file(version), project.charts], folder, stderr=True)
    chart = project.chart.removeprefix("oci://")
    signed.append(f"{chart}@{digest_in(shown, project.chart)}")
    return Pushed(tuple(signed), sboms)
