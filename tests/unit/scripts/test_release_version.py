"""Which versions a release accepts, and what it refuses."""

import dataclasses

import pytest

from scripts.release.errors import ReleaseError
from scripts.release.version import (
    Checkout,
    Version,
    check,
    following,
    last_before,
    previous,
    released,
)

HEAD, OTHER = "a" * 40, "b" * 40
CLEAN = Checkout(
    head=HEAD,
    changed=(),
    tags={"v1.0.0": OTHER, "v1.1.0-rc.1": OTHER, "unrelated": OTHER},
    merged=frozenset({"v1.0.0", "v1.1.0-rc.1", "unrelated"}),
)


def version(text: str) -> Version:
    return Version.parse(text)


@pytest.mark.parametrize(
    ("text", "python"),
    [
        ("0.1.0", "0.1.0"),
        ("10.20.30", "10.20.30"),
        ("1.0.0-alpha.0", "1.0.0a0"),
        ("1.0.0-beta.2", "1.0.0b2"),
        ("1.0.0-rc.10", "1.0.0rc10"),
    ],
)
def test_a_version_has_a_form_for_tags_and_one_for_python(text: str, python: str) -> None:
    found = version(text)

    assert (str(found), found.python, found.tag) == (text, python, f"v{text}")


@pytest.mark.parametrize(
    "text",
    ["", "1", "1.2", "v1.2.3", "1.2.3.4", "01.2.3", "1.2.3-rc", "1.2.3-rc1", "1.2.3-rc.01",
     "1.2.3-dev.1", "1.2.3+build", " 1.2.3", "1.2.3\n", "1.2.-3", "١.2.3"],
)  # fmt: skip
def test_another_form_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ReleaseError, match=r"is not X\.Y\.Z(.|\n)*hint: .*1\.4\.0-rc\.1"):
        version(text)


def test_versions_are_ordered_as_semver_orders_them() -> None:
    texts = ["0.9.9", "1.0.0-alpha.2", "1.0.0-alpha.10", "1.0.0-beta.0", "1.0.0-rc.1", "1.0.0",
             "1.0.1", "1.2.0", "1.10.0"]  # fmt: skip

    assert [str(found) for found in sorted(map(version, reversed(texts)))] == texts


def test_only_tags_of_releases_are_releases() -> None:
    tags = ["v0.2.0", "nightly", "v1", "v0.10.0", "x-v9.0.0", "v9.0.0-dirty"]

    assert [str(found) for found in released(tags)] == ["0.2.0", "0.10.0"]


@pytest.mark.parametrize("text", ["1.1.0", "1.1.0-rc.2", "2.0.0", "1.1.1"])
def test_a_higher_version_of_a_clean_checkout_is_released(text: str) -> None:
    check(version(text), CLEAN)


def test_a_release_can_be_built_again_at_its_own_commit() -> None:
    tags = {**CLEAN.tags, "v1.1.0": HEAD}
    check(version("1.1.0"), dataclasses.replace(CLEAN, tags=tags, merged=frozenset(tags)))


@pytest.mark.parametrize(
    ("text", "change", "message"),
    [
        ("1.1.0", {"changed": ("a.py",)}, "differs from its commit: a.py"),
        ("1.1.0", {"changed": tuple("abcdefg")}, r"a, b, c, d, e and 2 more"),
        ("1.0.0", {}, "the tag v1.0.0 exists, at commit bbbbbbbbbbbb"),
        ("1.1.0-rc.1", {}, r"the tag v1\.1\.0-rc\.1 exists"),
        ("2.0.0", {"tags": {"v2.0.0": OTHER}}, "the tag v2.0.0 exists"),
        ("1.1.0-beta.1", {}, r"1\.1\.0-beta\.1 is lower than the last release, 1\.1\.0-rc\.1"),
        ("0.9.0", {}, "0.9.0 is lower than the last release"),
        ("1.1.0", {"shallow": True}, "no full history"),
    ],
)
def test_what_is_not_the_next_version_of_a_commit_is_refused(
    text: str, change: dict[str, object], message: str
) -> None:
    checkout = dataclasses.replace(CLEAN, **change)  # type: ignore[arg-type]

    with pytest.raises(ReleaseError, match=message) as refused:
        check(version(text), checkout)
    assert "hint: " in str(refused.value)


def test_a_release_of_an_older_line_counts_the_tags_of_its_own_history() -> None:
    tags = {"v1.0.0": OTHER, "v2.0.0": OTHER}
    line = dataclasses.replace(CLEAN, tags=tags, merged=frozenset({"v1.0.0"}))

    check(version("1.0.1"), line)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.1.0", "1.0.0"),
        ("1.1.0-rc.2", "1.1.0-rc.1"),
        ("1.0.0", "None"),
        ("0.1.0", "None"),
    ],
)
def test_notes_begin_at_the_release_before(text: str, expected: str) -> None:
    assert str(previous(version(text), CLEAN.merged)) == expected


def test_a_build_that_is_not_published_has_a_version_that_is_accepted() -> None:
    assert following([], "0.1.0") == "0.1.0"
    proposed = following(CLEAN.merged, "0.1.0")
    assert proposed == "1.1.1"
    check(version(proposed), CLEAN)


def test_an_upgrade_is_tested_from_the_last_release_that_is_not_the_commit_itself() -> None:
    assert last_before(CLEAN) == version("1.1.0-rc.1")
    at_head = dataclasses.replace(CLEAN, tags={**CLEAN.tags, "v1.1.0-rc.1": HEAD})
    assert last_before(at_head) == version("1.0.0")
    assert last_before(dataclasses.replace(CLEAN, merged=frozenset({"unrelated"}))) is None
