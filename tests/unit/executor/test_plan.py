"""From objects to files: their paths, and the objects that are refused."""

from typing import Any

import pytest

from nanogrid.reasons import Reason
from nanogrid.wire import Input, S3Source
from nanogrid_executor.inputs.plan import (
    SyncError,
    plan_input,
    refuse_conflicts,
    refuse_long_paths,
)
from nanogrid_executor.storage.s3 import Object


def make_input(mount_path: str = "/app/data", **source: Any) -> Input:
    return Input(name="data", s3=S3Source(bucket="b", **source), mount_path=mount_path)


@pytest.mark.parametrize(
    ("source", "key", "path"),
    [
        ({"key": "in/2025/sales.csv"}, "in/2025/sales.csv", "/app/data/sales.csv"),
        ({"prefix": "in/"}, "in/2025/매출.csv", "/app/data/2025/매출.csv"),
        ({"prefix": "in"}, "in/a", "/app/data/a"),
        ({"prefix": "/"}, "a/b", "/app/data/a/b"),
    ],
)
def test_paths(source: dict[str, str], key: str, path: str) -> None:
    (planned,) = plan_input(make_input(**source), [Object(key, 1, None)])
    assert planned.path == path
    assert planned.source == f"s3://b/{key}"


@pytest.mark.parametrize(
    "key",
    [
        *("in/../x", "in/a/../../x", "in//x", "in/./x", "in/a\\b", "in/a\nb", "in/a\0b"),
        *("in/", "in/a/", "in/" + "x" * 256, "in/" + "y/" * 2200 + "z"),
    ],
)
def test_unsafe_keys(key: str) -> None:
    with pytest.raises(SyncError) as caught:
        plan_input(make_input(prefix="in/"), [Object(key, 1, None)])
    assert caught.value.reason is Reason.UNSAFE_PATH
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("mount", ["/etc", "/app/../etc", "/application", "app/data"])
def test_unsafe_mount_paths(mount: str) -> None:
    with pytest.raises(SyncError) as caught:
        plan_input(make_input(mount, key="a"), [Object("a", 1, None)])
    assert caught.value.reason is Reason.UNSAFE_PATH


@pytest.mark.parametrize(
    "paths", [["/app/a", "/app/a"], ["/app/a", "/app/a/b"], ["/app/a/b/c/d", "/app/a"]]
)
def test_conflicts(paths: list[str]) -> None:
    with pytest.raises(SyncError) as caught:
        refuse_conflicts((path, f"source {number}") for number, path in enumerate(paths))
    assert caught.value.reason is Reason.PATH_CONFLICT
    assert "source 0" in str(caught.value)
    assert "source 1" in str(caught.value)


def test_no_conflict() -> None:
    refuse_conflicts([("/app/a/b", "x"), ("/app/a/c", "x"), ("/app/ab", "y")])


def test_long_paths() -> None:
    refuse_long_paths(["/app/" + "x" * 3995])
    with pytest.raises(SyncError) as caught:
        refuse_long_paths(["/app/a", "/app/" + "x" * 3996])
    assert caught.value.reason is Reason.UNSAFE_PATH


@pytest.mark.parametrize(
    ("prefix", "hint"),
    [
        ("logs/2024-", "(a prefix is a folder: it contains 2024-/x, and not 2024-x)"),
        ("data", "(a prefix is a folder: it contains data/x, and not datax)"),
        ("logs/2024-/", ""),
        ("", ""),
    ],
)
def test_an_empty_prefix_that_may_be_meant_as_the_beginning_of_a_name(
    prefix: str, hint: str
) -> None:
    with pytest.raises(SyncError) as caught:
        plan_input(make_input(prefix=prefix), [])
    assert str(caught.value).endswith(f"at least 1 expected {hint}".strip())
