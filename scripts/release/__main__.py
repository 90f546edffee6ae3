"""The command line: build, verify, finish, push, sign."""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from cluster.progress import reporting
from scripts.release import (
    chart,
    checkout,
    contents,
    folder,
    images,
    notes,
    packages,
    project,
    publish,
    signing,
    stamp,
    tars,
)  # fmt: skip
from scripts.release.errors import ReleaseError
from scripts.release.version import Checkout, Version, check, following, previous

PARTS = ("packages", "chart", "notes", "images")
ROOT = project.ROOT
PUSHED = ROOT / "build/pushed.json"  # from the push to the signatures


class Build:
    """One build of a release, in a copy of the tree."""

    def __init__(self, version: Version, state: Checkout, scratch: Path, target: Path) -> None:
        self.version, self.state, self.target = version, state, target
        self.project = project.load(ROOT)
        self.epoch = checkout.commit_time(ROOT, state.head)
        self.tree = scratch / "tree"
        self.reasons: dict[str, str] = {}
        checkout.export(ROOT, state.head, self.tree)
        stamp.tree(self.tree, version, self.project)
        # Before any step writes into the tree.
        self.source = tars.files(self.tree, f"nanogrid-{version}/")
        target.mkdir(parents=True, exist_ok=True)

    def packages(self) -> None:
        """Wheels, source distributions and their SBOMs."""
        packages.build(self.tree, self.target, self.epoch)
        packages.check(ROOT, [self.target / name for name in contents.python_files(self.version)])
        packages.write_sboms(self.tree, self.target, self.target)

    def chart(self) -> None:
        """The chart in both forms, the CRDs, and the list of images."""
        packed = chart.package(self.tree, self.target, self.version, self.epoch)
        chart.artifact(self.tree, packed, self.project, self.epoch)
        files = {p.name: p.read_text(encoding="utf-8") for p in (self.tree / "crds").glob("*.yaml")}
        (self.target / contents.CRDS).write_text(contents.crds(files), encoding="utf-8")
        listed = contents.image_list(self.project, self.version)
        (self.target / contents.LIST).write_text(listed, encoding="utf-8")

    def notes(self) -> None:
        """The release notes and the source archive, with the Dockerfiles."""
        since = previous(self.version, self.state.merged)
        commits = checkout.commits(ROOT, self.state.head, since)
        text = notes.render(
            self.version, self.project, since=since, commits=commits,
            changelog=(self.tree / "CHANGELOG.md").read_text(encoding="utf-8"),
        )  # fmt: skip
        (self.target / contents.NOTES).write_text(text, encoding="utf-8")
        packed = self.target / contents.source_file(self.version)
        tars.write(packed, self.source, self.epoch, compress=True)

    def images(self, base: str | None, *, fresh: bool) -> None:
        """The images of the engine's architecture as OCI archives, and their SBOMs."""
        architecture = images.engine()
        self.reasons = images.missing(architecture)
        built = images.build(self.tree, base, fresh=fresh)
        for name in project.IMAGES:
            subject = images.Subject(
                name=name, version=self.version, revision=self.state.head, project=self.project
            )
            file = self.target / contents.image_file(name, self.version, architecture)
            described = json.loads((self.tree / f"build/sbom/{name}.cdx.json").read_text())
            with reporting(f"release: write {file.name}"):
                layers = images.base_layers(described)
                digest = images.save(built[name], file, subject, self.epoch, layers)
            print(f"release: {file.name} {digest}", flush=True)
            sbom = self.target / contents.image_sbom(name, self.version, architecture)
            reference = self.project.image(name, str(self.version))
            text = json.dumps(images.published_sbom(described, reference), indent=2) + "\n"
            sbom.write_text(text, encoding="utf-8")
        for other, reason in self.reasons.items():
            print(f"release: no images for {other}: {reason}", flush=True)


def accepted(wanted: str | None) -> tuple[Version, Checkout]:
    """The version and the commit of a release.

    Raises:
        ReleaseError: the version or the checkout is refused.
    """
    state = checkout.state(ROOT)
    if wanted is None:
        wanted = following(state.merged, project.version(ROOT))
    version = Version.parse(wanted)
    check(version, state)
    return version, state


def build(
    options: argparse.Namespace, version: Version, state: Checkout, target: Path, scratch: Path
) -> None:
    """Build the chosen parts into a folder."""
    run = Build(version, state, scratch, target)
    for part in PARTS:
        if part not in options.only:
            print(f"release: skipped, not chosen: {part}", flush=True)
            continue
        with reporting(f"release: {part}"):
            if part == "images":
                run.images(options.base, fresh=options.fresh)
            else:
                getattr(run, part)()
    finish(version, state, target, run.reasons)


def finish(version: Version, state: Checkout, target: Path, reasons: Mapping[str, str]) -> None:
    """Write manifest and hashes of the files in a folder."""
    document = contents.manifest(
        target, version, project.load(ROOT), commit=state.head,
        created=images.iso(checkout.commit_time(ROOT, state.head)), reasons=reasons,
    )  # fmt: skip
    contents.write(target, document)


def command_build(options: argparse.Namespace) -> None:
    """Build into the folder, which loses the files of an older release, and sign."""
    version, state = accepted(options.version)
    folder.check(options.dist)
    with tempfile.TemporaryDirectory(prefix="nanogrid-release-") as scratch:
        draft = Path(scratch) / "dist"
        build(options, version, state, draft, Path(scratch))
        folder.replace(options.dist, draft)
    for name, value in contents.hashes(options.dist).items():
        size = (options.dist / name).stat().st_size
        print(f"  {value[:12]}  {size:>11,} B  {name}")
    sign(options.dist)


def command_verify(options: argparse.Namespace) -> None:
    """Build twice in folders of different names, and compare."""
    version, state = accepted(options.version)
    found = []
    for name in ("first", "second-build-in-a-longer-path"):
        print(f"release: {name.partition('-')[0]} build", flush=True)
        with tempfile.TemporaryDirectory(prefix=f"{name}-") as scratch:
            target = Path(scratch) / "dist"
            build(options, version, state, target, Path(scratch))
            found.append(contents.hashes(target))
        options.fresh = True  # the second build takes nothing from the engine's cache
    if lines := contents.differences(*found):
        raise ReleaseError("\n  ".join(["two builds differ", *lines]), "see docs/releases.md")
    print(f"release: two builds have the same {len(found[0])} files")


def command_finish(options: argparse.Namespace) -> None:
    """Write manifest and hashes of a folder that has the files of several builds."""
    version, state = accepted(options.version)
    finish(version, state, options.dist, {})


def command_push(options: argparse.Namespace) -> None:
    """Push images and chart, and write what was pushed."""
    settings = project.load(ROOT)
    publish.check_owner(settings, os.environ.get("GITHUB_REPOSITORY", ""))
    pushed = publish.push(options.dist, Version.parse(options.version), settings)
    PUSHED.parent.mkdir(exist_ok=True)
    PUSHED.write_text(json.dumps(asdict(pushed)), encoding="utf-8")


def sign(dist: Path) -> signing.Signer:
    """Sign SHA256SUMS, or print why not."""
    how = signing.signer(shutil.which("cosign"), os.environ)
    if how.skipped:
        print(f"release: not signed: {how.skipped}")
    else:
        checkout.run(signing.blob_command(dist, how), dist)
        print(f"release: signed {contents.SUMS}")
    return how


def command_sign(options: argparse.Namespace) -> None:
    """Sign the hashes, and what was pushed, with its SBOMs."""
    how = sign(options.dist)
    if how.skipped or not PUSHED.exists():
        print("release: no image is signed" + ("" if how.skipped else ": none was pushed"))
        return
    pushed = json.loads(PUSHED.read_text(encoding="utf-8"))
    for command in signing.image_commands(pushed["signed"], how):
        checkout.run(command, options.dist)
    for reference, sbom in pushed["sboms"].items():
        checkout.run(signing.attest_command(reference, options.dist / sbom, how), options.dist)
    print(f"release: signed {', '.join(pushed['signed'])}")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="make release VERSION=X.Y.Z", description="Build, compare, push and sign a release."
    )
    sub = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, run in (("build", command_build), ("verify", command_verify)):
        command = sub.add_parser(name, help=(run.__doc__ or "").partition("\n")[0])
        if run is command_build:
            command.add_argument("version", help="X.Y.Z, or X.Y.Z-rc.N")
        else:
            command.add_argument("version", nargs="?", help="(default: above the last release)")
        command.add_argument(
            "--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART",
            help=f"parts to build: {', '.join(PARTS)} (default: all)",
        )  # fmt: skip
        command.add_argument("--base", help="base image, by digest (default: the project's)")
        command.add_argument("--fresh", action="store_true", help="images without the cache")
        command.set_defaults(run=run)
    for name, run in (("finish", command_finish), ("push", command_push), ("sign", command_sign)):
        command = sub.add_parser(name, help=(run.__doc__ or "").partition("\n")[0])
        if run is not command_sign:
            command.add_argument("version", help="X.Y.Z, or X.Y.Z-rc.N")
        command.set_defaults(run=run)
    for command in sub.choices.values():
        command.add_argument(
            "--dist", type=Path, default=ROOT / "dist", help="folder of the release (default: dist)"
        )
    return top


def main() -> None:
    """Run a command; errors go to stderr with a hint."""
    options = parser().parse_args()
    options.dist = options.dist.absolute()
    try:
        options.run(options)
    except ReleaseError as error:
        sys.exit(f"release: {error}")


if __name__ == "__main__":
    main()
