"""Uploads, functions and the document of the functions' API, over HTTP."""

import io
import socket
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import schemathesis
from schemathesis.generation import GenerationMode

from nanogrid import names
from nanogrid.api.function import Function
from nanogrid_gateway.api.openapi import document
from nanogrid_gateway.api.settings import Settings
from support.archive_cases import REFUSED
from support.gateway_fixtures import MARKS
from support.gateway_world import Gateway, World
from support.generated_requests import check_operation, operations
from support.hostile_archives import VALID, as_written, make, stored_entry
from support.s3_server import BUCKET

pytestmark = MARKS
EXAMPLES = 12


@pytest.fixture(scope="module")
def gateway(world: World) -> Iterator[Gateway]:
    with world.gateway(runtimes='{"python": "", "python-data": "data:1"}') as gateway:
        yield gateway


def stored(world: World, function_id: str) -> Function:
    return Function.model_validate(world.cluster.objects[names.FUNCTION_PLURAL, function_id])


def test_an_upload_is_stored_and_described_in_the_answer(world: World, gateway: Gateway) -> None:
    answer = gateway.upload(VALID, runtime="python-data", memory="64Mi", timeout="7")

    assert answer.status == 201
    uploaded = answer.json
    assert uploaded["s3Key"] == f"functions/{uploaded['functionId']}/v1.zip"
    assert (uploaded["version"], uploaded["runtime"]) == (1, "python-data")
    assert world.s3.get(uploaded["s3Key"]) == VALID
    spec = stored(world, uploaded["functionId"]).spec
    assert spec.runtime is not None
    assert spec.runtime.image == "data:1"
    assert spec.timeouts is not None
    assert spec.timeouts.execution_seconds == 7
    assert spec.newest.s3.sha256 == uploaded["sha256"]
    assert uploaded["warnings"] == []


def test_names_in_a_guessed_encoding_are_a_warning(gateway: Gateway) -> None:
    names = (b"main.py", "Größe.txt".encode("cp437"), "매출.csv".encode("cp949"))
    answer = gateway.upload(as_written(*map(stored_entry, names)))

    assert answer.status == 201
    (warning,) = answer.json["warnings"]
    assert "read as cp437: Größe.txt" in warning
    assert "read as cp949: 매출.csv" in warning


def test_no_version_is_overwritten(world: World, gateway: Gateway) -> None:
    first = gateway.upload(VALID).json
    second = make(("app.py", b"print(2)"))
    again = gateway.upload(second, functionId=first["functionId"], entryPoint="app.py")

    assert again.status == 201
    assert again.json["version"] == 2
    assert world.s3.get(f"functions/{first['functionId']}/v1.zip") == VALID
    assert world.s3.get(f"functions/{first['functionId']}/v2.zip") == second
    listed = gateway.call("GET", f"/functions/{first['functionId']}/versions").json["versions"]
    assert [v["version"] for v in listed] == [2, 1]
    assert listed[0]["command"] == ["python3", "app.py"]
    shown = gateway.call("GET", f"/functions/{first['functionId']}").json
    assert (shown["version"], shown["sha256"]) == (2, again.json["sha256"])
    one = gateway.run(first["functionId"], {"after": 0}, version=1, requestId="v-1")
    assert one.status == 200
    reference = {"name": first["functionId"], "version": 1}
    assert world.cluster.job("v-1")["spec"]["functionRef"] == reference
    gone = gateway.run(first["functionId"], version=3)
    assert (gone.status, gone.reason) == (404, "VersionNotFound")


def test_a_named_function_is_created_and_then_extended(world: World, gateway: Gateway) -> None:
    answers = [gateway.upload(VALID, name="monthly-report").json for _ in range(3)]

    assert [one["functionId"] for one in answers] == ["monthly-report"] * 3
    assert [one["version"] for one in answers] == [1, 2, 3]
    assert answers[2]["s3Key"] == "functions/monthly-report/v3.zip"
    assert gateway.run("monthly-report", {"after": 0}).status == 200
    by_id = gateway.upload(VALID, functionId="monthly-report").json
    assert by_id["version"] == 4


def test_a_name_used_at_once_gives_one_function(world: World, gateway: Gateway) -> None:
    archives = [make(("main.py", f"print({n})".encode())) for n in range(6)]
    with ThreadPoolExecutor(6) as pool:
        calls = [pool.submit(gateway.upload, a, name="contended") for a in archives]
        answers = [call.result() for call in calls]

    versions = [one.version for one in stored(world, "contended").spec.versions]
    accepted = [a.json["version"] for a in answers if a.status == 201]
    assert sorted(versions) == sorted(accepted)
    assert {a.status for a in answers} <= {201, 409}
    named = {one.s3.key for one in stored(world, "contended").spec.versions}
    assert keys(world, "contended") == named, "no code without a version"


def keys(world: World, function_id: str) -> set[str]:
    """The keys of all objects of a function."""
    prefix = names.function_prefix(function_id)
    listed = world.s3.client.list_objects_v2(Bucket=BUCKET, Prefix=prefix)
    return {entry["Key"] for entry in listed.get("Contents", [])}


def test_a_function_that_is_being_deleted_gets_no_version(world: World, gateway: Gateway) -> None:
    gateway.upload(VALID, name="leaving")
    body = world.cluster.objects[names.FUNCTION_PLURAL, "leaving"]
    body["metadata"] |= {"deletionTimestamp": "2025-10-09T08:54:00Z", "finalizers": ["x.io/y"]}

    for field in ("name", "functionId"):
        refused = gateway.upload(VALID, **{field: "leaving"})
        assert (refused.status, refused.reason) == (409, "FunctionInUse")
        assert "is being deleted. Wait until it is gone" in refused.body.decode()
        assert int(refused.headers["Retry-After"]) > 0
    assert keys(world, "leaving") == {"functions/leaving/v1.zip"}

    world.cluster.remove(names.FUNCTION_PLURAL, "leaving")
    assert gateway.upload(VALID, name="leaving").status == 201


@pytest.mark.parametrize(
    ("fields", "reason", "word"),
    [
        ({"name": "Upper"}, "BadRequest", "name"),
        ({"name": "a/b"}, "BadRequest", "name"),
        ({"name": "-a"}, "BadRequest", "name"),
        ({"name": "a" * 64}, "BadRequest", "name"),
        ({"name": "a", "functionId": "a"}, "BadRequest", "only one"),
        ({"functionId": "f-does-not-exist"}, "FunctionNotFound", "no function"),
    ],
)
def test_a_wrong_name_is_refused(
    gateway: Gateway, fields: dict[str, str], reason: str, word: str
) -> None:
    answer = gateway.upload(VALID, **fields)

    assert answer.status in (404, 422)
    assert answer.reason == reason
    assert word in answer.body.decode()


@pytest.mark.parametrize(
    ("filename", "fields", "path"),
    [
        ("main.py", {}, "main.py"),
        ("report.py", {}, "main.py"),
        ("REPORT.PY", {}, "main.py"),
        ("보고서.py", {}, "main.py"),
        ("x.py", {"entryPoint": "jobs/day.py"}, "jobs/day.py"),
    ],
)
def test_a_python_file_becomes_the_entry_point(
    world: World, gateway: Gateway, filename: str, fields: dict[str, str], path: str
) -> None:
    source = "print('안녕')\r\n".encode()
    first = gateway.upload(source, filename=filename, **fields)
    again = gateway.upload(source, filename=filename, **fields)

    assert first.status == 201, first.body
    with zipfile.ZipFile(io.BytesIO(world.s3.get(first.json["s3Key"]))) as archive:
        assert {one: archive.read(one) for one in archive.namelist()} == {path: source}
    assert first.json["files"] == 1
    assert again.json["sha256"] == first.json["sha256"]


@pytest.mark.parametrize("filename", ["main.txt", "py", "main.py.zip"])
def test_another_file_is_read_as_a_zip(gateway: Gateway, filename: str) -> None:
    answer = gateway.upload(b"print(1)", filename=filename)
    assert (answer.status, answer.reason) == (422, "CorruptArchive")


def test_versions_uploaded_at_once_have_different_numbers(world: World, gateway: Gateway) -> None:
    function_id = gateway.upload(VALID).json["functionId"]
    archives = [make(("main.py", str(n).encode())) for n in range(4)]
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(gateway.upload, a, functionId=function_id) for a in archives]
        answers = [call.result(60) for call in calls]

    assert {a.status for a in answers} == {201}
    digests = {a.json["version"]: a.json["sha256"] for a in answers}
    assert len(digests) == 4
    assert {
        v.version: v.s3.sha256 for v in stored(world, function_id).spec.versions if v.version > 1
    } == digests


@pytest.mark.parametrize(
    "name",
    [
        "34 bytes: no entry, comment",
        "cut off",
        "parent",
        "absolute",
        "encrypted",
        "ratio",
        "no bytes",
    ],
)
def test_a_bad_archive_is_refused_and_nothing_is_stored(
    world: World, gateway: Gateway, name: str
) -> None:
    build, reason = REFUSED[name]
    before = len(world.cluster.objects)

    answer = gateway.upload(build())

    assert (answer.status, answer.reason) == (422, reason.value)
    assert answer.json["error"]["found"]["bytes"] == len(build())
    assert len(world.cluster.objects) == before


@pytest.mark.parametrize(
    ("fields", "status", "text"),
    [
        ({"runtime": "cobol"}, 422, "python-data"),
        ({"memory": "256"}, 422, "memory"),
        ({"memory": "2Mi"}, 422, "memory is 16Mi at least"),
        ({"memory": "512m"}, 422, "instead of 256m"),
        ({"timeout": "0"}, 422, "timeout"),
        ({"entryPoint": "../x.py"}, 422, "entryPoint"),
        ({"entryPoint": "other.py"}, 422, "main.py"),
        ({"functionId": "f-none"}, 404, "no function with this name"),
        ({"color": "red"}, 422, "color"),
    ],
)
def test_a_wrong_field_of_a_form_is_named(
    gateway: Gateway, fields: dict[str, str], status: int, text: str
) -> None:
    answer = gateway.upload(VALID, **fields)

    assert answer.status == status
    assert text in answer.body.decode()


def test_a_form_without_a_file_is_refused(gateway: Gateway) -> None:
    answer = gateway.call("POST", "/upload", b"")

    assert answer.status == 422
    assert "file" in answer.json["error"]["message"]


def test_a_function_in_use_is_not_deleted(world: World, gateway: Gateway) -> None:
    function_id = gateway.upload(VALID).json["functionId"]
    gateway.run(function_id, None, requestId=f"use-{function_id}", wait=0)

    refused = gateway.call("DELETE", f"/functions/{function_id}")
    assert (refused.status, refused.reason) == (409, "FunctionInUse")

    world.cluster.remove(names.PLURAL, world.cluster.job(f"use-{function_id}")["metadata"]["name"])
    by_reference = {"metadata": {"name": "ref"}, "spec": {"functionRef": {"name": function_id}}}
    world.cluster.write(names.PLURAL, by_reference, create=True)
    refused = gateway.call("DELETE", f"/functions/{function_id}")
    assert (refused.status, refused.reason) == (409, "FunctionInUse")

    world.cluster.remove(names.PLURAL, "ref")
    assert gateway.call("DELETE", f"/functions/{function_id}").json["deletedObjects"] == 1
    assert gateway.call("GET", f"/functions/{function_id}").reason == "FunctionNotFound"
    assert gateway.run(function_id).reason == "FunctionNotFound"
    assert not keys(world, function_id)


def test_functions_are_listed(gateway: Gateway) -> None:
    function_id = gateway.upload(VALID).json["functionId"]
    found, token = [], ""
    while True:
        page = gateway.call("GET", "/functions?limit=3" + (f"&continue={token}" if token else ""))
        found += [f["functionId"] for f in page.json["functions"]]
        token = page.json.get("continue", "")
        if not token:
            break

    assert function_id in found
    assert len(found) == len(set(found))


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("PUT", "/runs", 405),
        ("GET", "/runs/a%00b", 404),
        ("GET", "/functions/UPPER", 404),
        ("GET", "/runs/x/outputs/../../../etc/passwd", 404),
    ],
)
def test_errors_have_one_shape_and_no_traceback(
    gateway: Gateway, method: str, path: str, status: int
) -> None:
    answer = gateway.call(method, path)

    assert answer.status == status
    assert set(answer.json["error"]) >= {"reason", "message"}
    assert "Traceback" not in answer.body.decode()


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"functionId": 1}', b'{"x": NaN}', b"\xff"])
def test_a_run_that_cannot_be_read_is_refused(gateway: Gateway, body: bytes) -> None:
    answer = gateway.call("POST", "/run", body, {"Content-Type": "application/json"})

    assert answer.status in (400, 422)
    assert answer.reason == "BadRequest"


def test_a_request_after_a_lost_connection_finds_the_same_run(
    world: World, gateway: Gateway
) -> None:
    function_id = gateway.upload(VALID).json["functionId"]
    body = f'{{"functionId":"{function_id}","inputData":{{"after":1}},"requestId":"gone-1"}}'
    with socket.create_connection(("127.0.0.1", gateway.port)) as client:
        head = f"POST /run HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        client.sendall((head + body).encode())
        while not world.cluster.jobs("gone-1"):
            pass
    answer = gateway.run(function_id, {"after": 1}, requestId="gone-1")

    assert answer.status == 200
    assert world.cluster.jobs("gone-1") == 1


OPERATIONS = operations(
    document(Settings(namespace="x", s3_bucket="xxx", redis_url="redis://x", wait_seconds=0))
)


@pytest.fixture(scope="module")
def quick(world: World) -> Iterator[Gateway]:
    with world.gateway(wait_seconds=0, max_wait_seconds=0) as gateway:
        yield gateway


@pytest.mark.parametrize(("method", "path", "mode"), OPERATIONS)
def test_every_answer_matches_the_document(
    quick: Gateway, method: str, path: str, mode: GenerationMode
) -> None:
    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{quick.port}/openapi.json")
    operation = schema[path][method.upper()]
    check_operation(operation, mode, examples=EXAMPLES)
