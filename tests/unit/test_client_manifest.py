"""From keywords to a job, and from a folder to a ZIP: pure."""

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

from nanogrid.client import InvalidRequest, Uploaded, build_job
from nanogrid.client.manifest import ANNOTATION_SPEC_HASH, job_name, spec_hash, stamped
from nanogrid.client.packing import zip_directory
from nanogrid.job import ExecutionJob

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
        "env": [{"name": "A", "value": "1"}],
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
    ("keywords", "said"),
    [
        ({"code": "1", "archive": "s3://bkt/k"}, "both"),
        ({"code": "1", "inputs": {"data": "http://x"}}, "no S3 URI"),
        ({"code": "1", "timeout": 0}, "spec.timeouts.executionSeconds"),
        ({"code": "1", "spec": {"tiemouts": {}}}, "spec.tiemouts"),
        ({"code": "x" * 70_000}, "65536 bytes"),
    ],
)
def test_what_is_wrong_is_named_before_anything_is_sent(
    keywords: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidRequest, match=said) as caught:
        build_job(**keywords)
    assert caught.value.cure


def test_names_are_random_or_follow_the_request() -> None:
    assert job_name() != job_name()
    assert job_name("Req_1.x") == job_name("Req_1.x")
    assert job_name("Req_1.x") != job_name("req-1-x")
    assert len(job_name("r" * 63)) <= 63
    assert job_name("...").startswith("run-")


def test_a_manifest_gets_a_name_and_the_hash_of_its_spec() -> None:
    manifest = {"metadata": {"generateName": "sales-"}, "spec": {"a": 1, "b": 2}}
    made = stamped(manifest)
    assert made["metadata"]["name"].startswith("sales-")
    assert "generateName" not in made["metadata"]
    assert made["metadata"]["annotations"][ANNOTATION_SPEC_HASH] == spec_hash({"b": 2, "a": 1})
    assert spec_hash({"a": 1}) != spec_hash({"a": 2})


def test_the_same_files_give_the_same_zip_whatever_their_times(tmp_path: Path) -> None:
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


def test_an_empty_folder_and_a_link_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="no files"):
        zip_directory(tmp_path)
    with pytest.raises(InvalidRequest, match="no directory"):
        zip_directory(tmp_path / "none")
    (tmp_path / "main.py").symlink_to("/etc/hostname")
    with pytest.raises(InvalidRequest, match="is a link"):
        zip_directory(tmp_path)
