"""Archives of a release depend on contents only: not on times, owners or folders."""

import gzip
import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from nanogrid.types import Json
from scripts.release import chart, contents, images, oci, project, tars
from scripts.release.version import Version

EPOCH = 1_800_000_000
OLD, NEW = EPOCH - 5, EPOCH + 5
ROOT = Path(__file__).parents[3]
VERSION = Version.parse("1.2.3")
SUBJECT = images.Subject(
    name="operator", version=VERSION, revision="c0ffee", project=project.load()
)


def folder(at: Path, time: int, umask: int) -> Path:
    at.mkdir(parents=True)
    for name, text in (("b.txt", "b"), ("a/run.sh", "run"), ("a/z", "z")):
        file = at / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        mode = 0o777 if name.endswith(".sh") else 0o666
        file.chmod(mode & ~umask)
        os.utime(file, (time, time))
    return at


def test_two_folders_with_the_same_files_are_the_same_archive(tmp_path: Path) -> None:
    first, second = tmp_path / "first.tgz", tmp_path / "another-name.tgz"

    one = folder(tmp_path / "one", OLD, 0o022)
    two = folder(tmp_path / "somewhere/else", NEW, 0o077)
    tars.write(first, tars.files(one, "x/"), EPOCH, compress=True)
    tars.write(second, tars.files(two, "x/"), EPOCH, compress=True)

    assert first.read_bytes() == second.read_bytes()
    with tarfile.open(first) as archive:
        members = archive.getmembers()
    assert [m.name for m in members] == ["x/a/run.sh", "x/a/z", "x/b.txt"]
    assert [m.mode for m in members] == [0o755, 0o644, 0o644]
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in members} == {(EPOCH, 0, 0, "", "")}

    (two / "a/z").write_text("Z")
    tars.write(second, tars.files(two, "x/"), EPOCH, compress=True)
    assert first.read_bytes() != second.read_bytes(), "a changed file changes the archive"


def layer(*files: tuple[str, int], time_of_read: int = 0) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, mtime in files:
            info = tarfile.TarInfo(name)
            info.mtime, info.size, info.uname = mtime, len(name), f"builder{time_of_read}"
            info.pax_headers = {"SCHILY.xattr.user.kept": "yes"}
            if time_of_read:
                info.pax_headers["atime"] = str(time_of_read)
            archive.addfile(info, io.BytesIO(name.encode()))
        link = tarfile.TarInfo("link")
        link.type, link.linkname, link.mtime = tarfile.LNKTYPE, files[0][0], files[0][1]
        archive.addfile(link)
    return out.getvalue()


def saved(at: Path, time: int, host: str, layers: list[bytes]) -> Path:
    """What `docker save` writes, with the traces of a build."""
    described = {
        "architecture": "amd64",
        "os": "linux",
        "created": images.iso(time),
        "container": host,
        "docker_version": "20.10",
        "config": {"User": "65532", "Env": ["A=b"], "Hostname": host, "Image": f"sha256:{host}"},
        "container_config": {"Hostname": host},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:of-the-engine"]},
        "history": [
            {"created": "2020-01-01T00:00:00.5Z", "created_by": "base"},
            {"created": images.iso(time)[:-1] + ".123Z",
             "created_by": f"COPY dir:{hashlib.sha256(host.encode()).hexdigest()} in /src"},
        ],
    }  # fmt: skip
    names = [f"{n}/layer.tar" for n in range(len(layers))]
    manifest = [{"Config": "config.json", "RepoTags": [f"x:{host}"], "Layers": names}]
    entries: list[tars.Entry] = [
        ("config.json", json.dumps(described).encode(), tars.PLAIN),
        ("manifest.json", json.dumps(manifest).encode(), tars.PLAIN),
        *((name, content, tars.PLAIN) for name, content in zip(names, layers, strict=True)),
    ]
    tars.write(at, entries, time, compress=False)
    return at


def blobs(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as tar:
        found = {}
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None
            found[member.name] = file.read()
    return found


def document(found: dict[str, bytes], descriptor: Json) -> Json:
    content = found["blobs/" + descriptor["digest"].replace(":", "/")]
    assert len(content) == descriptor["size"]
    assert hashlib.sha256(content).hexdigest() == descriptor["digest"].removeprefix("sha256:")
    loaded: Json = json.loads(content)
    return loaded


BASE = layer(("base", OLD), time_of_read=1)
BASES = [f"sha256:{hashlib.sha256(BASE).hexdigest()}"]


def written(source: Path, target: Path) -> str:
    return images.archive(source, target, SUBJECT, EPOCH, BASES)


def test_two_builds_of_an_image_are_the_same_archive(tmp_path: Path) -> None:
    first = saved(tmp_path / "1.tar", NEW, "host1", [BASE, layer(("src", NEW), ("old", OLD))])
    second = saved(
        tmp_path / "2.tar", NEW + 100, "host2",
        # The engine had this layer in its cache since before the commit.
        [BASE, layer(("src", OLD - 100), ("old", OLD - 50), time_of_read=9)],
    )  # fmt: skip

    digests = {written(file, file.with_suffix(".oci")) for file in (first, second)}

    assert first.with_suffix(".oci").read_bytes() == second.with_suffix(".oci").read_bytes()
    (digest,) = digests
    assert contents.archive_digest(first.with_suffix(".oci")) == digest

    third = saved(tmp_path / "3.tar", NEW, "host1", [BASE, layer(("other", NEW), ("old", OLD))])
    assert written(third, tmp_path / "3.oci") not in digests


def test_an_archive_has_the_image_without_traces_of_its_build(tmp_path: Path) -> None:
    source = saved(tmp_path / "1.tar", NEW, "host1", [BASE, layer(("src", NEW), ("old", OLD))])
    written(source, tmp_path / "1.oci")

    found = blobs(tmp_path / "1.oci")
    (entry,) = json.loads(found["index.json"])["manifests"]
    assert entry["mediaType"] == oci.MANIFEST
    reference = SUBJECT.project.image("operator", "1.2.3")
    assert entry["annotations"] == {oci.NAME: reference, oci.TAG: "1.2.3"}
    manifest = document(found, entry)
    config = document(found, manifest["config"])
    assert b"host1" not in b"".join(found.values())
    assert config["config"]["User"] == "65532"
    assert config["config"]["Env"] == ["A=b"]
    assert config["config"]["Labels"]["org.opencontainers.image.revision"] == "c0ffee"
    assert set(config) == {"architecture", "os", "created", "config", "rootfs", "history"}
    assert {step["created"] for step in config["history"]} == {images.iso(EPOCH)}
    assert config["history"][1]["created_by"] == "COPY dir: in /src"

    plain = [
        gzip.decompress(found["blobs/" + entry["digest"].replace(":", "/")])
        for entry in manifest["layers"]
    ]
    assert plain[0] == BASE, "a layer of the base image is not changed"
    hashed = [f"sha256:{hashlib.sha256(content).hexdigest()}" for content in plain]
    assert config["rootfs"]["diff_ids"] == hashed
    with tarfile.open(fileobj=io.BytesIO(plain[1])) as archive:
        members = archive.getmembers()
        content = archive.extractfile("src")
        assert content is not None
        assert content.read() == b"src"
    assert [(m.name, m.mtime) for m in members] == [
        ("src", EPOCH), ("old", EPOCH), ("link", EPOCH),
    ]  # fmt: skip
    assert members[0].pax_headers["SCHILY.xattr.user.kept"] == "yes"
    assert (members[2].islnk(), members[2].linkname) == (True, "src")

    (docker,) = json.loads(found["manifest.json"])
    assert docker["RepoTags"] == [reference]
    assert all(name in found for name in (docker["Config"], *docker["Layers"]))


def test_a_compressed_layer_of_an_engine_is_read_too(tmp_path: Path) -> None:
    plain = saved(tmp_path / "1.tar", NEW, "host1", [BASE, layer(("src", NEW))])
    packed = saved(
        tmp_path / "2.tar", NEW, "host1", [gzip.compress(BASE), gzip.compress(layer(("src", NEW)))]
    )

    assert written(plain, tmp_path / "1.oci") == written(packed, tmp_path / "2.oci")


def test_the_chart_is_an_artifact_as_helm_pushes_it(tmp_path: Path) -> None:
    packed = chart.package(ROOT, tmp_path, VERSION, EPOCH)
    target = chart.artifact(ROOT, packed, project.load(), EPOCH)

    assert packed.name == contents.chart_file(VERSION)
    with tarfile.open(packed) as archive:
        names = archive.getnames()
    assert {"nanogrid-operator/Chart.yaml", "nanogrid-operator/values.schema.json"} <= set(names)
    assert all(name.startswith("nanogrid-operator/") for name in names)
    found = blobs(target)
    manifest = document(found, json.loads(found["index.json"])["manifests"][0])
    assert manifest["config"]["mediaType"] == oci.CHART_CONFIG
    (layer_,) = manifest["layers"]
    assert layer_["mediaType"] == oci.CHART_LAYER
    assert found["blobs/" + layer_["digest"].replace(":", "/")] == packed.read_bytes()
    assert document(found, manifest["config"])["name"] == "nanogrid-operator"
    assert "manifest.json" not in found


def test_an_sbom_has_the_published_name_everywhere() -> None:
    document_ = {
        "metadata": {
            "component": {"bom-ref": "nanogrid-operator:abc", "name": "nanogrid-operator"}
        },
        "dependencies": [{"ref": "nanogrid-operator:abc", "dependsOn": ["nanogrid-operator@1"]}],
    }

    found = images.published_sbom(document_, "r.example:5000/nanogrid-operator:1.2.3")

    component = found["metadata"]["component"]
    assert component["bom-ref"] == "r.example:5000/nanogrid-operator:1.2.3"
    assert (component["name"], component["version"]) == (
        "r.example:5000/nanogrid-operator",
        "1.2.3",
    )
    assert found["dependencies"][0]["ref"] == component["bom-ref"]
    assert found["dependencies"][0]["dependsOn"] == ["nanogrid-operator@1"]


@pytest.mark.parametrize(("engine", "others"), [("amd64", ["arm64"]), ("arm64", ["amd64"])])
def test_an_engine_says_which_architecture_it_does_not_build(
    engine: str, others: list[str]
) -> None:
    found = images.missing(engine)

    assert list(found) == others
    assert all(f"builds {engine}" in reason for reason in found.values())
