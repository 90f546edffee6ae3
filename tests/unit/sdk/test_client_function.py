"""Functions in the API server, and the calls of the asynchronous client."""

import hashlib
import inspect
from pathlib import Path
from typing import Any

import pytest

from nanogrid import names
from nanogrid.api.function_spec import MAX_VERSIONS
from nanogrid.api.job import ExecutionJob
from nanogrid.client import (
    AsyncClient,
    AsyncRun,
    AsyncSession,
    Client,
    Conflict,
    Files,
    Functions,
    InvalidRequest,
    Run,
    Session,
)
from nanogrid.client.aio.client import AsyncFunctions
from nanogrid.client.aio.session import AsyncFiles
from nanogrid.client.functions import guesses_of
from nanogrid.types import Json
from support.client_server import FakeApi
from support.hostile_archives import as_written, make, stored_entry

# No operator changes the objects of these tests.
pytestmark = pytest.mark.usefixtures("idle_api")


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "main.py").write_text("print(1)")
    return tmp_path


def test_an_upload_adds_a_version_and_settings_apply_to_all(client: Client, code: Path) -> None:
    first = client.functions.upload(code, "f", memory="64Mi", env={"A": "1"})
    assert [one["version"] for one in first["spec"]["versions"]] == [1]
    again = client.functions.upload(code, "f")
    assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    (code / "main.py").write_text("print(2)")
    second = client.functions.upload(code, "f", command=["python3", "-u", "main.py"])
    assert [one["version"] for one in second["spec"]["versions"]] == [1, 2]
    assert second["spec"]["resources"] == {"limits": {"memory": "64Mi"}}
    assert client.functions.upload(code, "f", pool="fast")["spec"]["poolRef"] == {"name": "fast"}
    assert [one["metadata"]["name"] for one in client.functions.list()] == ["f"]


def test_an_upload_is_retried_after_a_conflict(
    client: Client, code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.functions.upload(code, "f")
    (code / "main.py").write_text("print(2)")
    patch, tried = client.cluster.patch, []

    def refuse_first(*args: Any, **options: Any) -> Json:
        tried.append(args)
        if len(tried) == 1:
            raise Conflict(409, "Conflict", "the object has been modified.")
        return patch(*args, **options)

    monkeypatch.setattr(client.cluster, "patch", refuse_first)
    assert len(client.functions.upload(code, "f")["spec"]["versions"]) == 2
    assert len(tried) == 2


def test_a_function_has_at_most_100_versions(client: Client, api: FakeApi, code: Path) -> None:
    made = client.functions.upload(code, "f")
    (one,) = made["spec"]["versions"]
    many = [one | {"version": number} for number in range(1, MAX_VERSIONS + 1)]
    path = f"/apis/{names.API_VERSION}/namespaces/{made['metadata'].get('namespace', 'team')}"
    api.put(f"{path}/{names.FUNCTION_PLURAL}/f", made | {"spec": {"versions": many}})
    (code / "main.py").write_text("print(2)")
    with pytest.raises(Conflict, match="100 versions") as caught:
        client.functions.upload(code, "f")
    assert "another name" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("Bad_Name", {}, "not a valid name of a function"),
        ("f", {"memory": "lots"}, "not a valid limit"),
        ("f", {"timeout": -1}, "executionSeconds"),
    ],
)
def test_a_wrong_setting_is_refused_before_the_create(
    client: Client, api: FakeApi, code: Path, name: str, options: Json, message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message):
        client.functions.upload(code, name, **options)
    assert not api.objects


def test_a_job_runs_a_function_with_input(client: Client) -> None:
    made = client.submit(function="f", version=3, input={"a": 1}, env={"B": "2"}).job
    ExecutionJob.model_validate({key: made[key] for key in ("metadata", "spec")})
    spec = made["spec"]
    assert spec["functionRef"] == {"name": "f", "version": 3}
    assert (spec["stdin"], "code" in spec) == ('{"a":1}', False)
    assert {one["name"]: one["value"] for one in spec["env"]} == {
        "B": "2",
        names.ENV_FUNCTION_INPUT: names.FUNCTION_INPUT_STDIN,
    }
    # A large input is a file with a checksum.
    text = "x" * 70_000
    large = client.submit(function="f", input=text).job["spec"]
    (given,) = large["inputs"]
    assert given["mountPath"] == names.FUNCTION_INPUT_DIR
    assert given["s3"]["sha256"] == hashlib.sha256(f'"{text}"'.encode()).hexdigest()
    assert "stdin" not in large


def test_set_memory_refuses_a_function_that_was_replaced(client: Client, code: Path) -> None:
    made = client.functions.upload(code, "f") | {}
    made["metadata"] = made["metadata"] | {"namespace": "team"}
    changed = client.functions.set_memory(made, "96Mi")
    assert changed["spec"]["resources"] == {"limits": {"memory": "96Mi"}}
    other = made | {"metadata": made["metadata"] | {"uid": "another"}}
    with pytest.raises(Conflict):
        client.functions.set_memory(other, "96Mi")


@pytest.mark.parametrize(
    ("blocking", "awaited"),
    [
        (Client, AsyncClient),
        (Run, AsyncRun),
        (Session, AsyncSession),
        (Files, AsyncFiles),
        (Functions, AsyncFunctions),
    ],
)
def test_the_asynchronous_client_has_the_same_calls(blocking: type, awaited: type) -> None:
    internal = {"until", "live", "by_gateway"}  # used only inside this package

    def calls(kind: type) -> set[str]:
        found = inspect.getmembers(kind, inspect.isfunction)
        return {name for name, _ in found if not name.startswith("_")} - internal

    assert calls(blocking) <= calls(awaited)


def test_a_zip_is_checked_by_the_rules_of_the_job(client: Client, tmp_path: Path) -> None:
    packed = tmp_path / "code.zip"

    def upload(*entries: tuple[str, bytes], command: list[str] | None = None) -> Json:
        packed.write_bytes(make(*entries))
        return client.functions.upload(packed, "f", command=command)

    upload(("app/main.py", b""), ("Thumbs.db", b""), ("__MACOSX/x", b""))
    upload(("app/run.sh", b""), command=["bash", "run.sh"])
    upload(("app/tool/__main__.py", b""), command=["python3", "-m", "tool"])
    with pytest.raises(InvalidRequest, match=r"has no main\.py"):
        upload(("app/x.py", b""))
    with pytest.raises(InvalidRequest, match=r"has no run\.sh"):
        upload(("main.py", b""), command=["bash", "run.sh"])
    with pytest.raises(InvalidRequest, match=r"refused \(UnsafeArchive\): '\.\./x'"):
        upload(("main.py", b""), ("../x", b""))


def test_names_in_a_guessed_encoding_are_described(tmp_path: Path) -> None:
    packed = tmp_path / "code.zip"
    packed.write_bytes(as_written(stored_entry("매출.csv".encode("cp949"))))
    assert guesses_of(packed).endswith("read as cp949: 매출.csv")
    packed.write_bytes(make(("매출.csv", b"")))
    assert guesses_of(packed) == guesses_of(tmp_path) == ""
