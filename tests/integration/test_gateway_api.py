"""Uploads, callers, limits and the document of the functions' API, over HTTP."""

import contextlib
import re
import shutil
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from integration.gateway_world import Gateway, World, a_world
from integration.support import BUCKET, S3Server
from nanogrid import names
from nanogrid.function import Function
from nanogrid_gateway.api.openapi import document
from nanogrid_gateway.api.settings import Settings
from unit.hostile import REFUSED, VALID, make

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server on PATH"),
]
TOKENS = {"writer": "w" * 20, "reader": "r" * 20, "nobody": "n" * 20}
EXAMPLES = 12


@pytest.fixture(scope="module")
def world(s3_server: S3Server) -> Iterator[World]:
    with a_world(s3_server) as world:
        yield world


@pytest.fixture(scope="module")
def gateway(world: World) -> Iterator[Gateway]:
    with world.gateway(runtimes='{"python": "", "python-data": "data:1"}') as gateway:
        yield gateway


def stored(world: World, function_id: str) -> Function:
    return Function.model_validate(world.cluster.objects[names.FUNCTION_PLURAL, function_id])


def test_an_upload_is_stored_and_answered_as_clients_know_it(
    world: World, gateway: Gateway
) -> None:
    answer = gateway.upload(VALID, runtime="python-data", memory="64Mi", timeout="7")

    assert answer.status == 201
    told = answer.json
    assert told["s3Key"] == f"functions/{told['functionId']}/v1.zip"
    assert (told["version"], told["runtime"]) == (1, "python-data")
    assert world.s3.get(told["s3Key"]) == VALID
    spec = stored(world, told["functionId"]).spec
    assert spec.runtime is not None
    assert spec.runtime.image == "data:1"
    assert spec.timeouts is not None
    assert spec.timeouts.execution_seconds == 7
    assert spec.newest.s3.sha256 == told["sha256"]


def test_every_version_stays_where_it_is(world: World, gateway: Gateway) -> None:
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
    assert world.cluster.job("v-1")["spec"]["code"]["s3"]["key"].endswith("/v1.zip")
    gone = gateway.run(first["functionId"], version=3)
    assert (gone.status, gone.reason) == (404, "VersionNotFound")


def test_versions_uploaded_at_once_have_numbers_of_their_own(
    world: World, gateway: Gateway
) -> None:
    function_id = gateway.upload(VALID).json["functionId"]
    archives = [make(("main.py", str(n).encode())) for n in range(4)]
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(gateway.upload, a, functionId=function_id) for a in archives]
        answers = [call.result(60) for call in calls]

    assert {a.status for a in answers} == {201}
    told = {a.json["version"]: a.json["sha256"] for a in answers}
    assert len(told) == 4
    assert {
        v.version: v.s3.sha256 for v in stored(world, function_id).spec.versions if v.version > 1
    } == told


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
    ("fields", "status", "said"),
    [
        ({"runtime": "cobol"}, 422, "python-data"),
        ({"memory": "256"}, 422, "memory"),
        ({"timeout": "0"}, 422, "timeout"),
        ({"entryPoint": "../x.py"}, 422, "entryPoint"),
        ({"entryPoint": "other.py"}, 422, "main.py"),
        ({"functionId": "f-none"}, 404, "no function of that name"),
        ({"color": "red"}, 422, "color"),
    ],
)
def test_a_form_that_cannot_be_is_refused_by_name(
    gateway: Gateway, fields: dict[str, str], status: int, said: str
) -> None:
    answer = gateway.upload(VALID, **fields)

    assert answer.status == status
    assert said in answer.body.decode()


def test_a_form_without_a_file_says_so(gateway: Gateway) -> None:
    answer = gateway.call("POST", "/upload", b"")

    assert answer.status == 422
    assert "file" in answer.json["error"]["message"]


def test_a_function_in_use_stays(world: World, gateway: Gateway) -> None:
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
    prefix = names.function_prefix(function_id)
    assert "Contents" not in world.s3.client.list_objects_v2(Bucket=BUCKET, Prefix=prefix)


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


def test_a_caller_beyond_its_rate_waits_and_others_do_not(world: World) -> None:
    world.cluster.tokens |= {"a" * 20: "alice", "b" * 20: "bob"}
    world.cluster.rights |= {(user, "list", names.PLURAL) for user in ("alice", "bob")}
    with world.gateway(auth_mode="kubernetes", rate_per_second=0.01, rate_burst=3) as small:
        alice, bob = ({"Authorization": f"Bearer {t * 20}"} for t in "ab")
        answers = [small.call("GET", "/runs", headers=alice) for _ in range(4)]

        assert [a.status for a in answers] == [200, 200, 200, 429]
        assert int(answers[-1].headers["Retry-After"]) > 10
        assert small.call("GET", "/runs", headers=bob).status == 200


ROUTES = [
    ("POST", "/upload", "create", names.FUNCTION_PLURAL),
    ("GET", "/functions", "list", names.FUNCTION_PLURAL),
    ("GET", "/functions/f-none", "get", names.FUNCTION_PLURAL),
    ("GET", "/functions/f-none/versions", "get", names.FUNCTION_PLURAL),
    ("DELETE", "/functions/f-none", "delete", names.FUNCTION_PLURAL),
    ("POST", "/run", "create", names.PLURAL),
    ("GET", "/runs", "list", names.PLURAL),
    ("GET", "/runs/none", "get", names.PLURAL),
    ("DELETE", "/runs/none", "patch", names.PLURAL),
    ("GET", "/runs/none/logs", "get", names.PLURAL),
    ("GET", "/runs/none/outputs/x", "get", names.PLURAL),
]


@pytest.fixture(scope="module")
def guarded(world: World) -> Iterator[Gateway]:
    for number, _ in enumerate(ROUTES):
        world.cluster.tokens[f"only-{number:02}-{'x' * 20}"] = f"user-{number}"
    world.cluster.rights |= {
        (f"user-{n}", verb, kind) for n, (_, _, verb, kind) in enumerate(ROUTES)
    }
    world.cluster.tokens[TOKENS["nobody"]] = "nobody"
    with world.gateway(auth_mode="kubernetes") as gateway:
        yield gateway


@pytest.mark.parametrize("number", range(len(ROUTES)))
def test_each_route_needs_its_own_right(guarded: Gateway, number: int) -> None:
    method, path, verb, kind = ROUTES[number]

    def status(token: str | None) -> int:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return guarded.call(method, path, b"", headers).status

    assert status(None) == 401
    assert status("unknown-token-of-nobody") == 401
    assert status(TOKENS["nobody"]) == 403
    for other, (_, _, *right) in enumerate(ROUTES):
        expected = [verb, kind] == right
        got = status(f"only-{other:02}-{'x' * 20}")
        assert (got not in (401, 403)) == expected, (path, right, got)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/openapi.json"])
def test_probes_and_the_document_need_no_token(guarded: Gateway, path: str) -> None:
    assert guarded.call("GET", path).status == 200


def test_every_route_is_guarded_or_known_to_be_open() -> None:
    paths = document(Settings(namespace="x", s3_bucket="xxx", redis_url="redis://x"))["paths"]
    routes = {(m.upper(), p) for p, item in paths.items() for m in item}
    guarded = {
        (m, re.sub("none(?=/|$)", "{requestId}", p).replace("f-{requestId}", "{functionId}"))
        for m, p, _, _ in ROUTES
    }
    guarded = {(m, p.replace("outputs/x", "outputs/{name}")) for m, p in guarded}

    assert routes - guarded == {("GET", p) for p in ("/healthz", "/readyz", "/openapi.json")}


def test_static_tokens_and_an_open_gateway_say_what_they_are(world: World) -> None:
    file = world.directory / "tokens"
    file.write_text(f"ci {'c' * 20}\n")
    with world.gateway(auth_mode="tokens", auth_tokens_file=file) as closed:
        good = {"Authorization": f"Bearer {'c' * 20}"}
        assert closed.call("GET", "/runs", headers=good).status == 200
        assert closed.call("GET", "/runs").status == 401
        assert "WWW-Authenticate" in closed.call("GET", "/runs").headers


def test_an_open_gateway_warns(gateway: Gateway) -> None:
    assert "EVERYBODY" in gateway.log


def test_readiness_names_what_is_missing(world: World) -> None:
    away = S3Server("http://127.0.0.1:9", world.s3.client)
    lonely = World(
        world.cluster, world.server, world.operator, away, world.directory, world.kubeconfig
    )
    process = Gateway(lonely, {})
    try:
        answer = None
        while answer is None:
            assert process.process.poll() is None, process.log
            with contextlib.suppress(OSError):
                answer = process.call("GET", "/readyz")
        assert answer.status == 503
        assert [m.partition(":")[0] for m in answer.json["missing"]] == ["S3"]
        assert process.call("GET", "/healthz").status == 200
    finally:
        process.stop()


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


def test_a_client_that_goes_while_it_waits_leaves_nothing_behind(
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


OPERATIONS = [
    (method, path, mode)
    for path, item in document(
        Settings(namespace="x", s3_bucket="xxx", redis_url="redis://x", wait_seconds=0)
    )["paths"].items()
    for method, operation in item.items()
    for mode in GenerationMode
    # Without parameters and body there is nothing to get wrong.
    if mode is GenerationMode.POSITIVE or {"parameters", "requestBody"} & set(operation)
]


@pytest.fixture(scope="module")
def quick(world: World) -> Iterator[Gateway]:
    with world.gateway(wait_seconds=0, max_wait_seconds=0) as gateway:
        yield gateway


@pytest.mark.parametrize(("method", "path", "mode"), OPERATIONS)
def test_every_answer_is_as_the_document_says(
    quick: Gateway, method: str, path: str, mode: GenerationMode
) -> None:
    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{quick.port}/openapi.json")
    operation = schema[path][method.upper()]
    checks = [
        not_a_server_error,
        status_code_conformance,
        content_type_conformance,
        response_schema_conformance,
    ]
    tried = []

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def attempt(case: Any) -> None:
        case.call_and_validate(checks=checks)
        tried.append(case)

    attempt()
    assert tried
