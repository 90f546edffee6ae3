"""What a release contains, what is signed and pushed, and when nothing is."""

import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from scripts.release import contents, oci, packages, project, publish, signing
from scripts.release.errors import ReleaseError
from scripts.release.version import Version

VERSION = Version.parse("1.2.3-rc.1")
PROJECT = project.load()
DIGEST = "sha256:" + "d" * 64


def test_hashes_can_be_checked_with_a_standard_program(tmp_path: Path) -> None:
    (tmp_path / "a.whl").write_bytes(b"a")
    (tmp_path / f"{contents.SUMS}{contents.SIGNATURE}").write_bytes(b"signature")
    document = contents.manifest(
        tmp_path, VERSION, PROJECT, commit="c" * 40, created="2026-12-01T00:00:00Z", reasons={}
    )
    contents.write(tmp_path, document)

    def check() -> int:
        command = ["sha256sum", "--check", "--strict", contents.SUMS]
        return subprocess.run(command, cwd=tmp_path, capture_output=True).returncode

    assert check() == 0
    lines = (tmp_path / contents.SUMS).read_text().splitlines()
    assert [line.split("  ")[1] for line in lines] == ["a.whl", contents.MANIFEST]
    (tmp_path / "a.whl").write_bytes(b"b")
    assert check() != 0


def test_a_manifest_does_not_depend_on_an_older_one(tmp_path: Path) -> None:
    (tmp_path / "a.whl").write_bytes(b"a")
    texts = []
    for _ in range(2):
        contents.write(
            tmp_path,
            contents.manifest(tmp_path, VERSION, PROJECT, commit="c", created="t", reasons={}),
        )
        texts.append((tmp_path / contents.SUMS).read_text())

    assert texts[0] == texts[1]
    manifest = json.loads((tmp_path / contents.MANIFEST).read_text())
    hashed = hashlib.sha256(b"a").hexdigest()
    assert manifest["files"] == {"a.whl": {"sha256": hashed, "bytes": 1}}
    assert (manifest["version"], manifest["pythonVersion"]) == ("1.2.3-rc.1", "1.2.3rc1")


def test_a_manifest_says_why_an_image_is_missing(tmp_path: Path) -> None:
    layout = oci.Layout(tmp_path / "scratch")
    manifest = layout.manifest(layout.add(b"{}", oci.IMAGE_CONFIG), [], {})
    file = tmp_path / contents.image_file("operator", VERSION, "amd64")
    layout.write(file, manifest, "r/x:1", 0)

    found = contents.images(tmp_path, VERSION, {"arm64": "no such engine"})

    assert found["operator"]["amd64"] == {"file": file.name, "digest": manifest["digest"]}
    assert found["operator"]["arm64"] == {"missing": "no such engine"}
    assert found["executor"]["amd64"] == {"missing": contents.NOT_BUILT}
    assert set(found) == set(project.IMAGES)


def test_two_builds_are_compared_file_by_file() -> None:
    first = {"same": "1" * 64, "changed": "2" * 64, "gone": "3" * 64}
    second = {"same": "1" * 64, "changed": "4" * 64, "new": "5" * 64}

    assert contents.differences(first, first) == []
    assert contents.differences(first, second) == [
        "only in the first build: gone",
        "only in the second build: new",
        f"differs: changed ({'2' * 12} and {'4' * 12})",
    ]


def test_an_sbom_of_a_wheel_has_its_hash_and_neither_time_nor_random_number(
    tmp_path: Path,
) -> None:
    file = tmp_path / "nanogrid-1.2.3-py3-none-any.whl"
    file.write_bytes(b"wheel")
    exported = {
        "bomFormat": "CycloneDX",
        "serialNumber": "urn:uuid:1",
        "metadata": {
            "timestamp": "2026-12-01T00:00:00Z",
            "tools": [{"name": "uv"}],
            "component": {"name": "nanogrid", "version": "1.2.3", "properties": [{"name": "x"}]},
        },
        "components": [{"name": "pydantic"}],
    }

    found = packages.sbom(exported, file)

    assert found["components"] == exported["components"]
    assert found["metadata"]["tools"] == [{"name": "uv"}]
    assert found["metadata"]["component"] == {
        "name": "nanogrid",
        "version": "1.2.3",
        "purl": "pkg:pypi/nanogrid@1.2.3",
        "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(b"wheel").hexdigest()}],
    }
    assert "serialNumber" not in found
    assert "timestamp" not in found["metadata"]


@pytest.mark.parametrize(
    ("cosign", "env", "options", "reason"),
    [
        (None, {"COSIGN_KEY": "k"}, (), "cosign is not on PATH"),
        ("/bin/cosign", {}, (), "there is no key: set COSIGN_KEY"),
        ("/bin/cosign", {"COSIGN_KEY": ""}, (), "there is no key"),
        ("/bin/cosign", {"COSIGN_KEY": "kms://k"}, ("--yes", "--key", "kms://k"), ""),
        ("/bin/cosign", {"SIGSTORE_ID_TOKEN": "t"}, ("--yes",), ""),
        ("/bin/cosign", {"ACTIONS_ID_TOKEN_REQUEST_URL": "https://x"}, ("--yes",), ""),
    ],
)
def test_without_a_key_nothing_is_signed_and_a_reason_is_printed(
    cosign: str | None, env: dict[str, str], options: tuple[str, ...], reason: str
) -> None:
    found = signing.signer(cosign, env)

    assert found.options == options
    assert found.skipped.startswith(reason)
    assert bool(found.skipped) == bool(reason)


def test_an_image_is_signed_by_its_digest_only() -> None:
    how = signing.Signer(("--yes",))

    assert signing.image_commands([f"r/x@{DIGEST}"], how) == [
        ["cosign", "sign", "--yes", "--recursive", f"r/x@{DIGEST}"]
    ]
    with pytest.raises(ValueError, match="no digest: r/x:1"):
        signing.image_commands([f"r/x@{DIGEST}", "r/x:1"], how)


def test_the_hashes_and_sboms_are_signed(tmp_path: Path) -> None:
    how = signing.Signer(("--yes", "--key", "k"))

    assert signing.blob_command(tmp_path, how)[-3:] == [
        "--bundle", f"{tmp_path}/SHA256SUMS.sigstore.json", f"{tmp_path}/SHA256SUMS",
    ]  # fmt: skip
    attest = signing.attest_command(f"r/x@{DIGEST}", tmp_path / "s.json", how)
    assert attest[2:5] == ["--yes", "--key", "k"]
    assert attest[-3:] == ["--predicate", f"{tmp_path}/s.json", f"r/x@{DIGEST}"]


def release() -> dict[str, dict[str, dict[str, dict[str, str]]]]:
    return {
        "images": {
            name: {
                arch: {
                    "file": contents.image_file(name, VERSION, arch),
                    "digest": f"sha256:{index}{arch}",
                }
                for arch in project.ARCHITECTURES
            }
            for index, name in enumerate(project.IMAGES)
        }
    }


def test_the_archives_are_pushed_unchanged_and_then_the_index_of_their_digests() -> None:
    commands = publish.push_commands("executor", VERSION, PROJECT, release())

    target = f"{PROJECT.registry}/nanogrid-executor"
    *copies, index = commands
    assert [copy[-2:] for copy in copies] == [
        [f"oci-archive:{contents.image_file('executor', VERSION, arch)}",
         f"docker://{target}:1.2.3-rc.1-{arch}"]
        for arch in ("amd64", "arm64")
    ]  # fmt: skip
    assert all("--preserve-digests" in copy for copy in copies)
    assert index[-4:] == [
        "--tag", f"{target}:1.2.3-rc.1", f"{target}@sha256:1amd64", f"{target}@sha256:1arm64",
    ]  # fmt: skip


def test_a_release_without_an_image_is_not_pushed() -> None:
    manifest = release()
    publish.complete(manifest)

    manifest["images"]["gateway"]["arm64"] = {"missing": "no engine"}
    with pytest.raises(ReleaseError, match="no image gateway for arm64"):
        publish.complete(manifest)


@pytest.mark.parametrize("repository", ["", "somebody/nanogrid-operator", "nanogrid-io/other"])
def test_another_repository_publishes_nothing(repository: str) -> None:
    publish.check_owner(PROJECT, PROJECT.owner)
    with pytest.raises(ReleaseError, match=r"hint: set registry and repository"):
        publish.check_owner(PROJECT, repository)


def test_a_push_whose_digest_is_unknown_is_an_error() -> None:
    assert publish.digest_in(f"Pushed: x\nDigest: {DIGEST}\n", "x") == DIGEST
    with pytest.raises(ReleaseError, match="no digest of x"):
        publish.digest_in("Pushed: x", "x")


def test_a_push_pushes_all_and_says_what_to_sign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With programs that record their arguments and print a digest as the real ones do."""
    (tmp_path / contents.MANIFEST).write_text(json.dumps(release()))
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, output in (
        ("skopeo", ""),
        ("docker", f"echo {DIGEST}"),
        ("helm", f"echo {DIGEST} >&2"),
    ):
        file = programs / name
        file.write_text(f'#!/bin/sh\necho "$(basename $0) $*" >> {tmp_path}/calls\n{output}\n')
        file.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")

    pushed = publish.push(tmp_path, VERSION, PROJECT)

    calls = (tmp_path / "calls").read_text().splitlines()
    assert [call for call in calls if call.startswith("helm")] == [
        f"helm push nanogrid-operator-1.2.3-rc.1.tgz oci://{PROJECT.registry}/charts"
    ]
    assert sum(call.startswith("skopeo copy") for call in calls) == len(project.IMAGES) * 2
    assert sum("imagetools create" in call for call in calls) == len(project.IMAGES)
    assert pushed.signed == (
        *(f"{PROJECT.registry}/nanogrid-{name}@{DIGEST}" for name in project.IMAGES),
        f"{PROJECT.registry}/charts/nanogrid-operator@{DIGEST}",
    )
    assert len(pushed.sboms) == len(project.IMAGES) * len(project.ARCHITECTURES)
    assert signing.image_commands(pushed.signed, signing.Signer(("--yes",)))


def test_a_program_that_fails_ends_the_push(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / contents.MANIFEST).write_text(json.dumps(release()))
    skopeo = tmp_path / "skopeo"
    skopeo.write_text("#!/bin/sh\necho denied >&2; exit 7\n")
    skopeo.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    with pytest.raises(ReleaseError, match=r"`skopeo copy .* failed with 7:\ndenied"):
        publish.push(tmp_path, VERSION, PROJECT)
