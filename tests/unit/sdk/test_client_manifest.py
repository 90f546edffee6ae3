"""Keywords become a job, and a folder becomes a ZIP."""

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

from nanogrid.api.job import ExecutionJob
from nanogrid.client import InvalidRequest, Uploaded, build_job
from nanogrid.client.jobs.manifest import ANNOTATION_SPEC_HASH, job_name, spec_hash, stamped
from nanogrid.client.jobs.packing import zip_directory

SHA = "a" * 64


def test_keywords_become_fields_of_the_spec() -> None:
    made = build_job(
        "print(1)",
        name="n",
        inputs={
            "data": "s3://bkt/in/",
            "/app/one": Uploaded("s3://bkt/file.csv", SHA, 3),
            "two": ["s3:///a", "s3:///b"],
        },
        outputs="out",
        env={"A": "1"},
        env_secrets={"B": "database:password"},
        args=["x"],
        memory="64Mi",
        cpu=0.5,
        timeout=7,
        retries=2,
        request_id="r1",
        ttl_seconds=60,
        image="python:3.12",
        labels={"team": "a"},
        spec={"priorityClassName": "low"},
    )
    ExecutionJob.model_validate(made)
    assert made["metadata"]["labels"] == {"team": "a"}
    assert made["spec"] == {
        "priorityClassName": "low",
        "requestId": "r1",
        "code": {"inline": "print(1)"},
        "args": ["x"],
        "env": [
            {"name": "A", "value": "1"},
            {
                "name": "B",
                "valueFrom": {"secretKeyRef": {"name": "database", "key": "password"}},
            },
        ],
        "inputs": [
            {"name": "input-1", "s3": {"bucket": "bkt", "prefix": "in/"}, "mountPath": "/app/data"},
            {
                "name": "input-2",
                "s3": {"bucket": "bkt", "key": "file.csv", "sha256": SHA},
                "mountPath": "/app/one",
            },
            {"name": "input-3", "s3": {"key": "a"}, "mountPath": "/app/two"},
            {"name": "input-4", "s3": {"key": "b"}, "mountPath": "/app/two"},
        ],
        "outputs": {"path": "out"},
        "runtime": {"image": "python:3.12"},
        "resources": {"limits": {"memory": "64Mi", "cpu": "500m"}},
        "timeouts": {"executionSeconds": 7},
        "backoffLimit": 2,
        "ttlSecondsAfterFinished": 60,
    }


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"code": "1", "archive": "s3://bkt/k"}, "both"),
        ({"code": "1", "inputs": {"data": "s3://bkt/"}}, "is the root of a bucket"),
        ({"code": "1", "inputs": {"data": "s3://bkt"}}, "is the root of a bucket"),
        ({"code": "1", "inputs": {"data": "http://x"}}, "not an S3 URI"),
        ({"code": "1", "timeout": 0}, "spec.timeouts.executionSeconds"),
        ({"code": "1", "pool": "Fast"}, "spec.poolRef.name"),
        ({"code": "1", "spec": {"tiemouts": {}}}, "tiemouts"),
        ({"code": "x" * 70_000}, "65536 bytes"),
    ],
)
def test_the_error_names_the_wrong_field(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message) as caught:
        build_job(**keywords)
    assert caught.value.hint


def test_a_pool_is_named_by_the_job() -> None:
    assert build_job("1", pool="fast")["spec"]["poolRef"] == {"name": "fast"}
    assert "poolRef" not in build_job("1")["spec"]


def test_a_name_is_random_or_made_from_the_request_id() -> None:
    assert job_name() != job_name()
    assert job_name("Req_1.x") == job_name("Req_1.x")
    assert job_name("Req_1.x") != job_name("req-1-x")
    assert len(job_name("r" * 63)) <= 63
    assert job_name("...").startswith("run-")


def test_stamped_adds_a_name_and_the_hash_of_the_spec() -> None:
    manifest = {"metadata": {"generateName": "sales-"}, "spec": {"a": 1, "b": 2}}
    made = stamped(manifest)
    assert made["metadata"]["name"].startswith("sales-")
    assert "generateName" not in made["metadata"]
    assert made["metadata"]["annotations"][ANNOTATION_SPEC_HASH] == spec_hash({"b": 2, "a": 1})
    assert spec_hash({"a": 1}) != spec_hash({"a": 2})


def test_equal_files_give_equal_zips_at_all_times(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder / "pkg").mkdir(parents=True)
        (tmp_path / folder / "__pycache__").mkdir()
        (tmp_path / folder / "__pycache__" / f"{folder}.pyc").write_bytes(b"x")
        (tmp_path / folder / "main.py").write_text("import pkg.a")
        (tmp_path / folder / "pkg" / "a.py").write_text("print(1)")
    script = tmp_path / "one" / "main.py"
    os.utime(script, (1, 1))
    first = zip_directory(tmp_path / "one")
    assert first == zip_directory(tmp_path / "two")
    entries = zipfile.ZipFile(io.BytesIO(first)).infolist()
    assert [one.filename for one in entries] == ["main.py", "pkg/a.py"]
    assert {one.date_time[0] for one in entries} == {1980}
    script.chmod(0o755)
    assert zip_directory(tmp_path / "one") != first


def test_an_empty_folder_and_a_symbolic_link_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="no files"):
        zip_directory(tmp_path)
    with pytest.raises(InvalidRequest, match="not a directory"):
        zip_directory(tmp_path / "none")
    (tmp_path / "main.py").symlink_to("/etc/hostname")
    with pytest.raises(InvalidRequest, match="symbolic link"):
        zip_directory(tmp_path)


@pytest.mark.parametrize(
    ("env", "env_secrets", "message"),
    [
        ({}, {"A": "database"}, "SECRET:KEY"),
        ({}, {"A": ":key"}, "SECRET:KEY"),
        ({"A": "1"}, {"A": "database:key"}, "in env and in env_secrets"),
        ({}, {"A": "NOT A NAME:key"}, "secretKeyRef.name"),
        ({}, {"AWS_X y": "database:key"}, "name"),
    ],
)
def test_a_variable_from_a_secret_that_is_wrong(
    env: dict[str, str], env_secrets: dict[str, str], message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message):
        build_job("1", env=env, env_secrets=env_secrets)
