"""Functions by the API server, and that the asynchronous client has all that the other has."""

import hashlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nanogrid import names
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
from nanogrid.client.asynchronous import AsyncFunctions
from nanogrid.client.asyncsession import AsyncFiles
from nanogrid.job import ExecutionJob
from nanogrid.spec_function import MAX_VERSIONS
from unit.client_server import FakeApi, serving
from unit.test_client_run import MemoryStorage

Json = dict[str, Any]


@pytest.fixture
def api() -> Iterator[FakeApi]:
    server = FakeApi()
    server.operator = None
    with serving(server):
        yield server


@pytest.fixture
def client(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> Client:
    made = Client()
    monkeypatch.setattr(made, "_cluster", api.cluster())
    monkeypatch.setattr(made, "_storage", MemoryStorage())
    return made


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "main.py").write_text("print(1)")
    return tmp_path


def test_versions_grow_and_settings_hold_for_all(client: Client, code: Path) -> None:
    first = client.functions.upload(code, "f", memory="64Mi", env={"A": "1"})
    assert [one["version"] for one in first["spec"]["versions"]] == [1]
    again = client.functions.upload(code, "f")
    assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    (code / "main.py").write_text("print(2)")
    second = client.functions.upload(code, "f", command=["python3", "-u", "main.py"])
    assert [one["version"] for one in second["spec"]["versions"]] == [1, 2]
    assert second["spec"]["resources"] == {"limits": {"memory": "64Mi"}}
    assert [one["metadata"]["name"] for one in client.functions.list()] == ["f"]


def test_a_change_in_between_is_taken_into_account(
    client: Client, api: FakeApi, code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nanogrid.client.functions.PAUSE_SECONDS", 0.01)
    client.functions.upload(code, "f")
    (code / "main.py").write_text("print(2)")
    patch, tried = client.cluster.patch, []

    def first_refused(*words: Any, **more: Any) -> Json:
        tried.append(words)
        if len(tried) == 1:
            raise Conflict(409, "Conflict", "somebody else was faster.")
        return patch(*words, **more)

    monkeypatch.setattr(client.cluster, "patch", first_refused)
    assert len(client.functions.upload(code, "f")["spec"]["versions"]) == 2
    assert len(tried) == 2


def test_a_function_that_is_full_says_so(client: Client, api: FakeApi, code: Path) -> None:
    made = client.functions.upload(code, "f")
    (one,) = made["spec"]["versions"]
    many = [one | {"version": number} for number in range(1, MAX_VERSIONS + 1)]
    path = f"/apis/{names.API_VERSION}/namespaces/{made['metadata'].get('namespace', 'team')}"
    api.put(f"{path}/{names.FUNCTION_PLURAL}/f", made | {"spec": {"versions": many}})
    (code / "main.py").write_text("print(2)")
    with pytest.raises(Conflict, match="100 versions") as caught:
        client.functions.upload(code, "f")
    assert "another name" in caught.value.cure


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("Bad_Name", {}, "no name of a function"),
        ("f", {"memory": "lots"}, "no such limit"),
        ("f", {"timeout": -1}, "executionSeconds"),
    ],
)
def test_nothing_is_created_with_what_is_wrong(
    client: Client, api: FakeApi, code: Path, name: str, options: Json, said: str
) -> None:
    with pytest.raises(InvalidRequest, match=said):
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
    # Large input is a file, checked by its checksum.
    text = "x" * 70_000
    large = client.submit(function="f", input=text).job["spec"]
    (given,) = large["inputs"]
    assert given["mountPath"] == names.FUNCTION_INPUT_DIR
    assert given["s3"]["sha256"] == hashlib.sha256(f'"{text}"'.encode()).hexdigest()
    assert "stdin" not in large


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"code": "1", "function": "f"}, "given twice"),
        ({"code": "1", "input": 1}, "input is of a function"),
        ({"code": "1", "version": 1}, "version is of a function"),
        ({"function": "f", "stdin": "x"}, "both given"),
        ({"function": "f", "input": {1, 2}}, "no JSON"),
        ({"function": "f", "input": float("nan")}, "no JSON"),
    ],
)
def test_contradictions_are_refused(
    client: Client, api: FakeApi, keywords: Json, said: str
) -> None:
    with pytest.raises(InvalidRequest, match=said):
        client.submit(**keywords)
    assert not api.objects


def test_the_memory_limit_is_set_only_as_it_was_read(client: Client, code: Path) -> None:
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
    inside = {"until", "live", "by_gateway"}  # of use between our own modules only

    def calls(kind: type) -> set[str]:
        found = inspect.getmembers(kind, inspect.isfunction)
        return {name for name, _ in found if not name.startswith("_")} - inside

    assert calls(blocking) <= calls(awaited)
