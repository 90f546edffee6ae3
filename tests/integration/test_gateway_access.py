"""Who may call the gateway, how often, and when it is ready."""

import contextlib
import re
from collections.abc import Iterator

import pytest

from nanogrid import names
from nanogrid_gateway.api.openapi import document
from nanogrid_gateway.api.settings import Settings
from support.gateway_fixtures import MARKS
from support.gateway_world import Answer, Gateway, World
from support.hostile_archives import VALID
from support.s3_server import BUCKET, S3Server

pytestmark = MARKS
TOKENS = {"writer": "w" * 20, "reader": "r" * 20, "guest": "n" * 20}
ROUTES = [
    ("POST", "/upload", ("create", "patch"), names.FUNCTION_PLURAL),
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


def verbs_of(verbs: str | tuple[str, ...]) -> tuple[str, ...]:
    """The verbs of a route: one is enough."""
    return (verbs,) if isinstance(verbs, str) else verbs


PERMISSIONS = sorted({(verb, kind) for _, _, verbs, kind in ROUTES for verb in verbs_of(verbs)})


def test_a_caller_above_its_rate_must_wait_and_others_need_not(world: World) -> None:
    world.cluster.tokens |= {"a" * 20: "caller-a", "b" * 20: "caller-b"}
    world.cluster.rights |= {(user, "list", names.PLURAL) for user in ("caller-a", "caller-b")}
    with world.gateway(auth_mode="kubernetes", rate_per_second=0.01, rate_burst=3) as small:
        first, second = ({"Authorization": f"Bearer {t * 20}"} for t in "ab")
        answers = [small.call("GET", "/runs", headers=first) for _ in range(4)]

        assert [a.status for a in answers] == [200, 200, 200, 429]
        assert int(answers[-1].headers["Retry-After"]) > 10
        assert small.call("GET", "/runs", headers=second).status == 200


@pytest.fixture(scope="module")
def guarded(world: World) -> Iterator[Gateway]:
    for number, (verb, kind) in enumerate(PERMISSIONS):
        world.cluster.tokens[f"only-{number:02}-{'x' * 20}"] = f"user-{number}"
        world.cluster.rights.add((f"user-{number}", verb, kind))
    world.cluster.tokens[TOKENS["guest"]] = "guest"
    with world.gateway(auth_mode="kubernetes") as gateway:
        yield gateway


@pytest.mark.parametrize("number", range(len(ROUTES)))
def test_each_route_needs_its_own_permission(guarded: Gateway, number: int) -> None:
    method, path, verbs, kind = ROUTES[number]

    def status(token: str | None) -> int:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return guarded.call(method, path, b"", headers).status

    assert status(None) == 401
    assert status("unknown-token-of-no-user") == 401
    assert status(TOKENS["guest"]) == 403
    for other, (verb, other_kind) in enumerate(PERMISSIONS):
        expected = other_kind == kind and verb in verbs_of(verbs)
        got = status(f"only-{other:02}-{'x' * 20}")
        assert (got not in (401, 403)) == expected, (path, verb, other_kind, got)


def test_an_upload_needs_the_right_to_what_it_does(world: World, guarded: Gateway) -> None:
    """A caller who may only create functions cannot replace the code of one, and vice versa."""

    def upload(verb: str, **fields: str) -> Answer:
        number = PERMISSIONS.index((verb, names.FUNCTION_PLURAL))
        headers = {"Authorization": f"Bearer only-{number:02}-{'x' * 20}"}
        return guarded.upload(VALID, headers=headers, **fields)

    created = upload("create", name="guarded")
    assert (created.status, created.json["version"]) == (201, 1)
    assert upload("create").status == 201
    for fields in ({"name": "guarded"}, {"functionId": "guarded"}):
        refused = upload("create", **fields)
        assert (refused.status, refused.reason) == (403, "Forbidden")
        assert "may not patch functions" in refused.body.decode()
    for fields in ({"name": "guarded-2"}, {}):
        refused = upload("patch", **fields)
        assert (refused.status, refused.reason) == (403, "Forbidden")
        assert "may not create functions" in refused.body.decode()
    assert upload("create", functionId="guarded-3").status == 403
    extended = [
        upload("patch", **fields) for fields in ({"name": "guarded"}, {"functionId": "guarded"})
    ]
    assert [(one.status, one.json["version"]) for one in extended] == [(201, 2), (201, 3)]
    keys = world.s3.client.list_objects_v2(Bucket=BUCKET, Prefix="functions/guarded")["Contents"]
    assert sorted(one["Key"] for one in keys) == [
        f"functions/guarded/v{number}.zip" for number in (1, 2, 3)
    ]


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/openapi.json"])
def test_probes_and_the_document_need_no_token(guarded: Gateway, path: str) -> None:
    assert guarded.call("GET", path).status == 200


def test_every_route_needs_a_permission_or_is_known_to_be_open() -> None:
    paths = document(Settings(namespace="x", s3_bucket="xxx", redis_url="redis://x"))["paths"]
    routes = {(m.upper(), p) for p, item in paths.items() for m in item}
    guarded = {
        (m, re.sub("none(?=/|$)", "{requestId}", p).replace("f-{requestId}", "{functionId}"))
        for m, p, _, _ in ROUTES
    }
    guarded = {(m, p.replace("outputs/x", "outputs/{name}")) for m, p in guarded}

    assert routes - guarded == {("GET", p) for p in ("/healthz", "/readyz", "/openapi.json")}


def test_static_tokens_are_checked(world: World) -> None:
    file = world.directory / "tokens"
    file.write_text(f"ci {'c' * 20}\n")
    with world.gateway(auth_mode="tokens", auth_tokens_file=file) as closed:
        good = {"Authorization": f"Bearer {'c' * 20}"}
        assert closed.call("GET", "/runs", headers=good).status == 200
        assert closed.call("GET", "/runs").status == 401
        assert "WWW-Authenticate" in closed.call("GET", "/runs").headers


def test_a_gateway_without_authentication_warns(gateway: Gateway) -> None:
    assert "EVERY CLIENT" in gateway.log


def test_readiness_names_the_missing_dependency(world: World) -> None:
    away = S3Server("http://127.0.0.1:9", world.s3.client)
    without_s3 = World(
        world.cluster, world.server, world.operator, away, world.directory, world.kubeconfig
    )
    process = Gateway(without_s3, {})
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
        process.kill()
