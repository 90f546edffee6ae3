"""Authorization by token, trusted header and cookie; headers on their way through the router."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from nanogrid import names
from nanogrid.kube.client import KubeApi
from nanogrid.kube.conventions import KubeError
from nanogrid.kube.reflector import LONGEST_PAUSE_SECONDS, pause
from nanogrid.network_condition import Enforcement, condition, data_of
from nanogrid.reasons import Reason
from nanogrid.settings import SettingsError, help_text
from nanogrid.types import Json
from nanogrid_gateway.router.access import AccessPolicy, Denial, bearer_token
from nanogrid_gateway.router.cookie import CookieSigner, SessionCookie
from nanogrid_gateway.router.headers import (
    ForwardedInfo,
    own_cookie,
    request_headers,
    response_headers,
)
from nanogrid_gateway.router.network_guard import NOT_TESTED, NetworkGuard
from nanogrid_gateway.router.sessions import Address, Job
from nanogrid_gateway.router.settings import RouterSettings
from nanogrid_gateway.router.target import RequestTarget, parse_target
from nanogrid_gateway.router.upstream import origin
from support.routing.objects import JOB

KEY = "0123456789abcdef"
HERE, THERE = Address("team-a", "s1"), Address("team-a", "s2")


class Known(dict[Address, Job]):
    """Sessions by address."""

    def job(self, address: Address) -> Job | None:
        return self.get(address)


SESSIONS = Known(
    {
        HERE: replace(JOB, address=HERE, uid="u1"),
        THERE: replace(JOB, address=THERE, uid="u2", unprotected=True),
    }
)


def policy(**changes: object) -> AccessPolicy:
    return AccessPolicy(RouterSettings(session_key=KEY, **changes), SESSIONS)  # type: ignore[arg-type]


def bearer(uid: str) -> dict[str, str]:
    return {"Authorization": "Bearer " + names.session_token(KEY.encode(), uid)}


@pytest.mark.parametrize(
    ("address", "headers", "cookie", "expected"),
    [
        (HERE, bearer("u1"), None, "u1"),
        (HERE, bearer("u2"), None, 401),
        (HERE, {}, None, 401),
        (Address("team-a", "none"), bearer("u1"), None, 401),
        (HERE, {}, SessionCookie(HERE, "u1", 9), "u1"),
        (HERE, {}, SessionCookie(THERE, "u2", 9), 401),
        (HERE, bearer("u2"), SessionCookie(HERE, "u1", 9), 401),
        (HERE, {}, SessionCookie(HERE, "older", 9), 404),
        (None, {}, SessionCookie(THERE, "u2", 9), "u2"),
        (None, bearer("u2"), SessionCookie(THERE, "u2", 9), "u2"),
        (None, bearer("u1"), SessionCookie(THERE, "u2", 9), 401),
        (None, {}, None, 401),
        (None, bearer("u1"), None, 401),
        (THERE, {}, None, 401),
    ],
)
def test_token_mode_accepts_only_the_token_or_the_cookie_of_the_session(
    address: Address | None,
    headers: dict[str, str],
    cookie: SessionCookie | None,
    expected: str | int,
) -> None:
    found = policy().authorize(address, headers, cookie)
    assert (found.status if isinstance(found, Denial) else found.uid) == expected


def test_unprotected_session_is_open_only_if_the_installation_allows_it() -> None:
    allowing = policy(allow_open_sessions=True)
    assert allowing.authorize(THERE, {}, None) == SESSIONS[THERE]
    assert allowing.authorize(HERE, {}, None) == Denial(401, Reason.UNAUTHORIZED)


def test_header_mode_needs_an_allowed_value_in_every_request() -> None:
    strict = policy(
        auth_mode="header", auth_header="X-User", auth_header_values="caller-a,caller-b"
    )
    assert strict.authorize(HERE, {"X-User": "caller-b"}, None) == SESSIONS[HERE]
    for headers, status in [({}, 401), ({"X-User": ""}, 401), ({"X-User": "caller-c"}, 403)]:
        found = strict.authorize(HERE, headers, SessionCookie(HERE, "u1", 9))
        assert isinstance(found, Denial)
        assert found.status == status
    any_user = policy(auth_mode="header", auth_header="X-User")
    assert (
        any_user.authorize(None, {"X-User": "caller-c"}, SessionCookie(HERE, "u1", 9))
        == SESSIONS[HERE]
    )
    assert isinstance(any_user.authorize(None, {"X-User": "caller-c"}, None), Denial)


def test_only_the_bearer_scheme_gives_a_token() -> None:
    assert bearer_token({"Authorization": "bearer  t "}) == "t"
    assert bearer_token({"Authorization": "Basic t"}) is None
    assert bearer_token({}) is None


def test_cookie_names_its_session_until_it_expires() -> None:
    signer = CookieSigner(KEY.encode(), 100)
    value = signer.sign(HERE, "u1", 1000.0)
    cookie = signer.verify(value, 1099.9)
    assert cookie == SessionCookie(HERE, "u1", 1100)
    assert signer.verify(value, 1100.0) is None
    assert signer.is_fresh(cookie, 1049.0)
    assert not signer.is_fresh(cookie, 1051.0)
    assert CookieSigner(b"another key, same length", 100).verify(value, 1000.0) is None


@given(st.text(max_size=60), st.integers(0, 200))
def test_changed_cookie_is_invalid(junk: str, at: int) -> None:
    signer = CookieSigner(KEY.encode(), 100)
    value = signer.sign(HERE, "u1", 1000.0)
    assert signer.verify(junk, 1000.0) is None
    at %= len(value)
    other = "A" if value[at] != "A" else "B"
    changed = value[:at] + other + value[at + 1 :]
    # The last character of base64 has spare bits, but the signature covers the text itself.
    assert signer.verify(changed, 1000.0) is None


def test_session_key_signs_tokens_and_cookies_differently() -> None:
    value = CookieSigner(KEY.encode(), 100).sign(HERE, "u1", 1000.0)
    assert value.split(".")[1] not in names.session_token(KEY.encode(), "u1")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/sessions/team-a/s1/a%2Fb", RequestTarget(HERE, "/sessions/team-a/s1", "/a%2Fb")),
        ("/sessions/team-a/s1", RequestTarget(HERE, "/sessions/team-a/s1", "/")),
        ("/sessions/team-a/s1/../x", RequestTarget(HERE, "/sessions/team-a/s1", "/../x")),
        ("/sessions", None),
        ("/sessions/team-a", None),
        ("/sessions//s1/x", None),
        ("/sessions/Team/s1/x", None),
        ("/sessions/a%2Fb/s1/x", None),
        ("/sessionsx/y", RequestTarget(None, "", "/sessionsx/y")),
        ("/execute", RequestTarget(None, "", "/execute")),
    ],
)
def test_path_names_a_session_or_is_plain(path: str, expected: RequestTarget | None) -> None:
    assert parse_target(path) == expected


def test_path_of_a_session_is_the_same_as_in_other_packages() -> None:
    found = parse_target(names.session_path("team-a", "s1") + "/health")
    assert found == RequestTarget(HERE, names.session_path("team-a", "s1"), "/health")


def test_the_router_finds_its_first_cookie() -> None:
    assert own_cookie({"Cookie": 'a=1; own="v.s"; AWSALB=x;own=second'}, "own") == "v.s"
    assert own_cookie({"Cookie": "a=1"}, "own") is None
    assert own_cookie({}, "own") is None


FORWARDED = ForwardedInfo("10.1.1.1", "https", "/sessions/team-a/s1")


def test_request_headers_lose_hop_by_hop_headers_and_get_forwarded_headers() -> None:
    given_headers = CIMultiDict(
        {
            "Host": "alb.example",
            "Connection": "Upgrade, X-Private",
            "Upgrade": "websocket",
            "X-Private": "1",
            "Transfer-Encoding": "chunked",
            "Authorization": "Bearer mine",
            "Cookie": "own=1; of-the-proxy=secret",
            "X-Forwarded-For": "1.2.3.4",
            "Accept": "text/event-stream",
        }
    )
    assert dict(request_headers(given_headers, FORWARDED, "theirs")) == {
        "X-Forwarded-For": "1.2.3.4, 10.1.1.1",
        "Accept": "text/event-stream",
        "Authorization": "Bearer theirs",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "alb.example",
        "X-Forwarded-Prefix": "/sessions/team-a/s1",
    }


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/files/a", "/sessions/team-a/s1/files/a"),
        ("http://10.0.0.7:9080/files/a", "/sessions/team-a/s1/files/a"),
        ("files/a", "files/a"),
        ("//evil.example/x", "//evil.example/x"),
        ("https://other.example/x", "https://other.example/x"),
    ],
)
def test_location_of_the_agent_is_rewritten_to_the_router(location: str, expected: str) -> None:
    found = response_headers(
        CIMultiDict({"Location": location}), FORWARDED.prefix, origin("10.0.0.7")
    )
    assert found["Location"] == expected


def test_response_cannot_set_a_cookie_and_is_sandboxed() -> None:
    answer = CIMultiDict(
        [
            ("Set-Cookie", "own=forged"),
            ("Set-Cookie", "theirs=1"),
            ("Content-Security-Policy", "x"),
            ("Keep-Alive", "5"),
        ]
    )
    found = response_headers(answer, "", origin("10.0.0.7"))
    assert "Set-Cookie" not in found
    assert found.getall("Content-Security-Policy") == ["sandbox"]
    assert "Keep-Alive" not in found


def test_origin_puts_ipv6_in_brackets() -> None:
    assert origin("fd00::7") == f"http://[fd00::7]:{names.SESSION_PORT}"


def test_pauses_grow_up_to_a_limit_with_jitter() -> None:
    assert pause(1) <= 0.5
    assert {pause(3) for _ in range(20)} != {pause(3)}
    assert all(LONGEST_PAUSE_SECONDS / 2 <= pause(n) <= LONGEST_PAUSE_SECONDS for n in (10, 999))


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("NANOGRID_SESSION_KEY=", "NANOGRID_SESSION_KEY has 0 bytes"),
        ("NANOGRID_SESSION_KEY=short", "has 5 bytes"),
        ("NANOGRID_AUTH_MODE=none", "expected one of token, header"),
        ("NANOGRID_PORT=tcp://10.0.0.1:80", "expected int"),
        ("NANOGRID_DRAIN_SECONDS=-1", "expected a number of at least 0"),
        ("NANOGRID_RESYNC_SECONDS=0", "expected a number above 0"),
        ("NANOGRID_ALLOW_OPEN_SESSIONS=yes", "expected true or false"),
    ],
)
def test_invalid_settings_are_rejected_by_name(assignment: str, message: str) -> None:
    variable, _, value = assignment.partition("=")
    with pytest.raises(SettingsError, match=message):
        RouterSettings.from_env({"NANOGRID_SESSION_KEY": KEY} | {variable: value})


def test_settings_are_read_and_the_key_is_not_in_their_repr() -> None:
    settings = RouterSettings.from_env(
        {
            "NANOGRID_SESSION_KEY": KEY,
            "NANOGRID_WATCH_NAMESPACES": "a, b",
            "NANOGRID_DRAIN_START_SECONDS": "0",
        }
    )
    assert (settings.namespaces, settings.drain_start_seconds) == (["a", "b"], 0.0)
    assert settings.key == KEY.encode()
    assert KEY not in repr(settings)
    assert "NANOGRID_SESSION_KEY" in help_text(RouterSettings)


def test_header_mode_serves_only_on_a_network_that_is_enforced() -> None:
    problem = [""]
    settings = RouterSettings(session_key=KEY, auth_mode="header")
    access = AccessPolicy(settings, SESSIONS, lambda: problem[0])
    headers = {"X-Forwarded-User": "caller-a"}
    assert access.authorize(HERE, headers, None) == SESSIONS[HERE]

    problem[0] = "a pod reached 8081"
    denial = access.authorize(HERE, headers, None)
    assert isinstance(denial, Denial)
    assert (denial.status, denial.reason) == (503, Reason.NETWORK_NOT_ENFORCED)
    # Tokens authenticate callers on any network.
    by_token = AccessPolicy(RouterSettings(session_key=KEY), SESSIONS, lambda: problem[0])
    assert by_token.authorize(HERE, bearer("u1"), None) == SESSIONS[HERE]


class Maps(KubeApi):
    """An API server with one ConfigMap, or with an error."""

    def __init__(self) -> None:
        self.answer: Json | KubeError = {}

    async def get(self, path: str, name: str) -> Json:
        assert (path, name) == ("/api/v1/namespaces/sys/configmaps", "nanogrid-network")
        if isinstance(self.answer, KubeError):
            raise self.answer
        return self.answer


async def test_the_router_follows_the_operators_tests_of_the_network() -> None:
    api = Maps()
    guard = NetworkGuard(api, "sys/nanogrid-network")
    await guard.read()
    assert guard.missing() == [f"network: {NOT_TESTED}"]
    api.answer = {"data": data_of(condition(Enforcement.ENFORCED, "tested"))}
    await guard.read()
    assert (guard.problem, guard.missing()) == ("", [])
    api.answer = KubeError(503, "", "away")
    await guard.read()
    assert guard.problem == ""
    api.answer = {"data": data_of(condition(Enforcement.NOT_ENFORCED, "open"))}
    await guard.read()
    assert guard.problem == "open"
    assert NetworkGuard(api, "").missing() == []
