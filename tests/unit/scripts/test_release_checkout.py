"""What a release reads of a repository, whatever the settings of its user are."""

import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from scripts.release import checkout, contents, folder
from scripts.release.errors import ReleaseError
from scripts.release.version import Version

TIME = 1_700_000_000
SETTINGS = {
    "core.autocrlf": "true",
    "tar.umask": "0077",
    "log.showSignature": "true",
    "column.ui": "always",
    "color.ui": "always",
}


def git(at: Path, *arguments: str) -> str:
    dated = {f"GIT_{who}_DATE": f"{TIME} +0900" for who in ("AUTHOR", "COMMITTER")}
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=at, check=True, capture_output=True, text=True,
        env=os.environ | dated,
    )  # fmt: skip
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two commits; the first has the tags v1.0.0 and, annotated, v1.0.1."""
    at = tmp_path / "repository of a user"
    at.mkdir()
    git(at, "init", "--quiet")
    (at / "file.py").write_text("first\nsecond\n")
    git(at, "add", "--all")
    git(at, "commit", "--quiet", "--message=sdk: add\ttext é")
    git(at, "tag", "v1.0.0")
    git(at, "tag", "--annotate", "--message=release", "v1.0.1")
    (at / "file.py").write_text("third\n")
    git(at, "commit", "--quiet", "--all", "--message=docs: change")
    return at


def content(at: Path, target: Path, commit: str) -> tuple[bytes, int]:
    checkout.export(at, commit, target)
    file = target / "file.py"
    return file.read_bytes(), file.stat().st_mode & 0o777


def test_settings_of_a_user_do_not_change_what_is_released(
    repository: Path, tmp_path: Path
) -> None:
    state = checkout.state(repository)
    plain = content(repository, tmp_path / "plain", state.head)
    commits = checkout.commits(repository, state.head, None)
    for name, value in SETTINGS.items():
        git(repository, "config", name, value)

    assert checkout.state(repository) == state
    assert checkout.commit_time(repository, state.head) == TIME
    assert checkout.commits(repository, state.head, None) == commits
    assert [subject for _, subject in commits] == ["docs: change", "sdk: add\ttext é"]
    assert content(repository, tmp_path / "set", state.head) == plain == (b"third\n", 0o644)


def test_a_tag_is_found_if_a_branch_has_its_name(repository: Path) -> None:
    git(repository, "branch", "v1.0.0")
    git(repository, "branch", "v1.0.1")
    first = git(repository, "rev-list", "--max-parents=0", "HEAD")

    state = checkout.state(repository)

    assert state.tags == {"v1.0.0": first, "v1.0.1": first}
    assert state.merged == {"v1.0.0", "v1.0.1"}
    found = checkout.commits(repository, state.head, Version.parse("1.0.1"))
    assert [subject for _, subject in found] == ["docs: change"]


def test_a_clone_without_its_history_is_known(repository: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "--quiet", "--depth=1", repository.as_uri(), "clone")

    assert checkout.state(tmp_path / "clone").shallow
    assert not checkout.state(repository).shallow


def draft_of(at: Path, text: str) -> Path:
    at.mkdir()
    (at / contents.MANIFEST).write_text(text)
    return at


def test_a_build_replaces_an_older_release(tmp_path: Path) -> None:
    dist = tmp_path / "new/dist"
    for text in ("first", "second"):
        folder.check(dist)
        folder.replace(dist, draft_of(tmp_path / text, text))

        assert (dist / contents.MANIFEST).read_text() == text
        assert [path.name for path in dist.parent.iterdir()] == ["dist"]
        (dist / "of-the-first").write_text("")
    empty = tmp_path / "empty"
    empty.mkdir()
    folder.check(empty)


def test_a_build_empties_no_other_folder(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("")
    link = tmp_path / "link"
    link.symlink_to(tmp_path)

    for target in (tmp_path, link, tmp_path / "letter.txt"):
        with pytest.raises(ReleaseError, match="hint: name another"):
            folder.check(target)


def test_a_build_at_the_same_time_is_an_error_with_a_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dist = tmp_path / "dist"
    draft = draft_of(tmp_path / "draft", "ours")
    rename = os.rename

    def between(source: Path, target: Path) -> None:
        if target == dist:
            draft_of(dist, "theirs")
        rename(source, target)

    monkeypatch.setattr(os, "rename", between)
    with pytest.raises(ReleaseError, match="another build may write to it"):
        folder.replace(dist, draft)
    assert (dist / contents.MANIFEST).read_text() == "theirs"


def test_an_archive_of_the_fixture_would_differ_by_the_settings(repository: Path) -> None:
    """The control: git itself follows them."""
    git(repository, "config", "tar.umask", "0077")
    git(repository, "config", "core.autocrlf", "true")
    packed = subprocess.run(
        ["git", "archive", "--format=tar", "--output=packed.tar", "HEAD"], cwd=repository
    )
    assert packed.returncode == 0
    with tarfile.open(repository / "packed.tar") as archive:
        member = archive.getmember("file.py")
        read = archive.extractfile(member)
        assert read is not None
        assert (read.read(), member.mode) == (b"third\r\n", 0o600)
