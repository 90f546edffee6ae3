"""Arguments become a spec, or an error with a usage hint."""

from pathlib import Path

import pytest

from nanogrid import names
from nanogrid.cli import source
from nanogrid.cli.app.errors import UsageError
from nanogrid.cli.app.exits import Exit
from nanogrid.cli.app.formatting import age, amount, duration, parse_duration
from nanogrid.client.errors import InvalidRequest


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "sales=s3://b/p/q:/app/in",
            {"name": "sales", "s3": {"bucket": "b", "key": "p/q"}, "mountPath": "/app/in"},
        ),
        (
            "s3://b/Makefile",
            {"name": "input-1", "s3": {"bucket": "b", "key": "Makefile"}, "mountPath": "/app/data"},
        ),
        (
            "s3://b/v1.2/",
            {"name": "input-1", "s3": {"bucket": "b", "prefix": "v1.2/"}, "mountPath": "/app/data"},
        ),
        (
            "s3://b/p/",
            {"name": "input-1", "s3": {"bucket": "b", "prefix": "p/"}, "mountPath": "/app/data"},
        ),
        (
            "s3:///p/",
            {"name": "input-1", "s3": {"prefix": "p/"}, "mountPath": "/app/data"},
        ),
        (
            "s3://b/p/x.csv",
            {"name": "input-1", "s3": {"bucket": "b", "key": "p/x.csv"}, "mountPath": "/app/data"},
        ),
        (
            "s3://b/a=b/c.csv:/app/data/x",
            {
                "name": "input-1",
                "s3": {"bucket": "b", "key": "a=b/c.csv"},
                "mountPath": "/app/data/x",
            },
        ),
    ],
)
def test_an_input_in_s3(text: str, expected: object) -> None:
    (found,) = source.parse_inputs([text])
    assert found.to_spec() == expected


def test_a_local_input(tmp_path: Path) -> None:
    (found,) = source.parse_inputs([f"d={tmp_path}:/app/in"])
    assert (found.name, found.path, found.mount) == ("d", tmp_path, "/app/in")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("s3://b", "no key"),
        ("s3://b/", "a whole bucket cannot be an input"),
        ("s3:///", "a whole bucket cannot be an input"),
        ("x=s3://b//:/app/d", "a whole bucket cannot be an input"),
        ("s3://b/x:/etc", "cannot mount at /etc"),
        ("s3://b/x:/app/../etc", "cannot mount at /app/../etc"),
        ("nothing-here.csv", "no file or folder"),
    ],
)
def test_an_invalid_input(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        source.parse_inputs([text])
    assert caught.value.code == Exit.USAGE
    assert "--input" in caught.value.hint


def test_two_inputs_with_one_name() -> None:
    with pytest.raises(UsageError, match="2 inputs have the name a"):
        source.parse_inputs(["a=s3://b/x/", "a=s3://b/y/"])


def test_code_from_text_file_folder_and_stdin(tmp_path: Path) -> None:
    script = tmp_path / "main.py"
    script.write_text("print(1)")
    assert source.read_code(None, "print(2)", "") == ("print(2)", None, "run")
    assert source.read_code("-", None, "print(3)") == ("print(3)", None, "run")
    assert source.read_code(str(script), None, "") == ("print(1)", None, "main")
    assert source.read_code(str(tmp_path), None, "") == (None, tmp_path, tmp_path.name)


def test_code_in_its_declared_encoding(tmp_path: Path) -> None:
    text = "# coding: cp949\nprint('가')\n"
    (tmp_path / "korean.py").write_bytes(text.encode("cp949"))
    assert source.read_code(str(tmp_path / "korean.py"), None, "")[0] == text
    with pytest.raises(UsageError, match="latin-1, which has no character"):
        source.read_code(None, "# coding: latin-1\nprint('가')\n", "")


def test_invalid_code(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_bytes(b"\xff\xfe")
    (tmp_path / "code.zip").write_bytes(b"PK")
    (tmp_path / "big.py").write_text("#" * 65_537)
    (tmp_path / "empty").mkdir()
    for file, message in [
        ("bad.py", "not UTF-8"),
        ("code.zip", "archive"),
        ("big.py", "65537 bytes"),
        ("empty", "no main.py"),
        ("missing.py", "no file"),
    ]:
        with pytest.raises((UsageError, InvalidRequest), match=message):
            source.read_code(str(tmp_path / file), None, "")
    for file, text in [(None, None), ("x.py", "print(1)"), (None, "  ")]:
        with pytest.raises(UsageError):
            source.read_code(file, text, "")


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OURS", "value")
    assert source.parse_env(["A=b=c", "OURS", "EMPTY="]) == {
        "A": "b=c",
        "OURS": "value",
        "EMPTY": "",
    }
    monkeypatch.delenv("OURS")
    for text in ("OURS", "1A=x", "=x"):
        with pytest.raises(UsageError):
            source.parse_env([text])


def test_everything_goes_into_the_job() -> None:
    (input_source,) = source.parse_inputs(["d=s3://bucket/p/"])
    request = source.RunRequest(
        inline="print(1)",
        args=("a",),
        env={"A": "b"},
        memory="64Mi",
        cpu="500m",
        timeout_seconds=5,
        image="python:3.12",
        request_id="r-1",
        name="n",
    )
    spec = request.to_job(None, [input_source.to_spec()])["spec"]
    assert spec == {
        "requestId": "r-1",
        "code": {"inline": "print(1)"},
        "args": ["a"],
        "env": [{"name": "A", "value": "b"}],
        "inputs": [
            {"name": "d", "s3": {"bucket": "bucket", "prefix": "p/"}, "mountPath": "/app/data"}
        ],
        "runtime": {"image": "python:3.12"},
        "resources": {"limits": {"memory": "64Mi", "cpu": "500m"}},
        "timeouts": {"executionSeconds": 5},
        "ttlSecondsAfterFinished": source.RUN_TTL_SECONDS,
    }


def test_a_kept_job_has_no_time_to_live_and_no_default_one() -> None:
    job = source.RunRequest(inline="print(1)", keep=True).to_job(None, [])
    assert "ttlSecondsAfterFinished" not in job["spec"]
    assert job["metadata"]["annotations"][names.ANNOTATION_KEEP] == "true"
    other = source.RunRequest(inline="print(1)").to_job(None, [])
    assert names.ANNOTATION_KEEP not in other["metadata"]["annotations"]


def test_unique_names_are_valid_in_kubernetes() -> None:
    assert source.unique_name("My Great_Script!").startswith("my-great-script-")
    assert source.unique_name("매출").startswith("run-")
    assert source.unique_name("x") != source.unique_name("x")
    assert len(source.unique_name("x" * 300)) <= 63


def test_times_and_amounts() -> None:
    assert [parse_duration(t) for t in ("90", "90s", "5m", "1h", "2d")] == [
        90,
        90,
        300,
        3600,
        172800,
    ]
    for text in ("", "0", "-1", "1.5s", "m", "5w"):
        with pytest.raises(ValueError, match="is not a duration"):
            parse_duration(text)
    assert [duration(m) for m in (None, 312, 8200, 125_000)] == ["", "312ms", "8.2s", "2m05s"]
    assert [amount(n) for n in (None, 12, 12_345, 5 << 30)] == ["", "12B", "13Ki", "5Gi"]
    assert age("1970-01-01T00:00:00Z", 7300) == "2h"
    assert age(None, 1.0) == ""
