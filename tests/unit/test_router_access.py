"""Who may enter: tokens, the trusted header, cookies; and what the router does to headers."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from nanogrid import names
from nanogrid.envsettings import SettingsError, help_text
from nanogrid.reasons import Reason
from nanogrid_gateway.router import headers as head
from nanogrid_gateway.router.access import Access, Denial, bearer_token
from nanogrid_gateway.router.cookie import Claim, CookieJar
from nanogrid_gateway.router.objects import Address, Job
from nanogrid_gateway.router.reflector import LONGEST_PAUSE_SECONDS, pause
from nanogrid_gateway.router.server import Target, target
from nanogrid_gateway.router.settings import Settings
from nanogrid_gateway.router.upstream import origin

KEY = "0123456789abcdef"
HERE, THERE = Address("team-a", "s1"), Address("team-a", "s2")


def job(address: Address, uid: str, *, is_open: bool = False) -> Job:
    return Job(
        address=address,
        uid=uid,
        request_id="r",
        phase="Running",
        reason="",
        message="",
        pod_name="p",
        open=is_open,
        deleting=False,
    )


class Known(dict[Address, Job]):
    """Sessions by address."""

    def job(self, address: Address) -> Job | None:
        return self.get(address)


SESSIONS = Known({HERE: job(HERE, "u1"), THERE: job(THERE, "u2", is_open=True)})


def access(**changes: object) -> Access:
    return Access(Settings(session_key=KEY, **changes), SESSIONS)  # type: ignore[arg-type]


def bearer(uid: str) -> dict[str, str]:
    return {"Authorization": "Bearer " + names.session_token(KEY.encode(), uid)}


@pytest.mark.parametrize(
    ("address", "headers", "claim", "wanted"),
    [
        (HERE, bearer("u1"), None, "u1"),
        (HERE, bearer("u2"), None, 401),
        (HERE, {}, None, 401),
        (Address("team-a", "none"), bearer("u1"), None, 401),
        (HERE, {}, Claim(HERE, "u1", 9), "u1"),
        (HERE, {}, Claim(THERE, "u2", 9), 401),
        (HERE, bearer("u2"), Claim(HERE, "u1", 9), 401),
        (HERE, {}, Claim(HERE, "older", 9), 404),
        (None, {}, Claim(THERE, "u2", 9), "u2"),
        (None, bearer("u2"), Claim(THERE, "u2", 9), "u2"),
        (None, bearer("u1"), Claim(THERE, "u2", 9), 401),
        (None, {}, None, 401),
        (None, bearer("u1"), None, 401),
        (THERE, {}, None, 401),
    ],
)
def test_token_mode_admits_the_token_or_the_cookie_of_that_very_session(
    address: Address | None, headers: dict[str, str], claim: Claim | None, wanted: str | int
) -> None:
    found = access().admit(address, headers, claim)
    assert (found.status if isinstance(found, Denial) else found.uid) == wanted


def test_open_session_is_open_where_the_installation_allows_it() -> None:
    allowing = access(allow_open_sessions=True)
    assert allowing.admit(THERE, {}, None) == SESSIONS[THERE]
    assert allowing.admit(HERE, {}, None) == Denial(401, Reason.UNAUTHORIZED)


def test_header_mode_wants_an_allowed_value_for_every_request() -> None:
    strict = access(auth_mode="header", auth_header="X-User", auth_header_values="ann,bob")
    assert strict.admit(HERE, {"X-User": "bob"}, None) == SESSIONS[HERE]
    for headers, status in [({}, 401), ({"X-User": ""}, 401), ({"X-User": "eve"}, 403)]:
        found = strict.admit(HERE, headers, Claim(HERE, "u1", 9))
        assert isinstance(found, Denial)
        assert found.status == status
    any_user = access(auth_mode="header", auth_header="X-User")
    assert any_user.admit(None, {"X-User": "eve"}, Claim(HERE, "u1", 9)) == SESSIONS[HERE]
    assert isinstance(any_user.admit(None, {"X-User": "eve"}, None), Denial)


def test_only_the_bearer_scheme_is_a_token() -> None:
    assert bearer_token({"Authorization": "bearer  t "}) == "t"
    assert bearer_token({"Authorization": "Basic t"}) is None
    assert bearer_token({}) is None


def test_cookie_says_what_it_was_made_of_until_it_expires() -> None:
    jar = CookieJar(KEY.encode(), 100)
    value = jar.make(HERE, "u1", 1000.0)
    claim = jar.read(value, 1099.9)
    assert claim == Claim(HERE, "u1", 1100)
    assert jar.read(value, 1100.0) is None
    assert jar.fresh(claim, 1049.0)
    assert not jar.fresh(claim, 1051.0)
    assert CookieJar(b"another key, same length", 100).read(value, 1000.0) is None


@given(st.text(max_size=60), st.integers(0, 200))
def test_cookie_that_was_touched_is_none(junk: str, at: int) -> None:
    jar = CookieJar(KEY.encode(), 100)
    value = jar.make(HERE, "u1", 1000.0)
    assert jar.read(junk, 1000.0) is None
    at %= len(value)
    other = "A" if value[at] != "A" else "B"
    changed = value[:at] + other + value[at + 1 :]
    # The last character of base64 carries spare bits; the text as such is what is signed.
    assert jar.read(changed, 1000.0) is None


def test_session_key_signs_tokens_and_cookies_apart() -> None:
    value = CookieJar(KEY.encode(), 100).make(HERE, "u1", time.time())
    assert value.split(".")[1] not in names.session_token(KEY.encode(), "u1")


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/sessions/team-a/s1/a%2Fb", Target(HERE, "/sessions/team-a/s1", "/a%2Fb")),
        ("/sessions/team-a/s1", Target(HERE, "/sessions/team-a/s1", "/")),
        ("/sessions/team-a/s1/../x", Target(HERE, "/sessions/team-a/s1", "/../x")),
        ("/sessions", None),
        ("/sessions/team-a", None),
        ("/sessions//s1/x", None),
        ("/sessions/Team/s1/x", None),
        ("/sessions/a%2Fb/s1/x", None),
        ("/sessionsx/y", Target(None, "", "/sessionsx/y")),
        ("/execute", Target(None, "", "/execute")),
    ],
)
def test_path_names_a_session_or_is_plain(path: str, wanted: Target | None) -> None:
    assert target(path) == wanted


def test_path_of_a_session_is_the_one_that_all_others_use() -> None:
    found = target(names.session_path("team-a", "s1") + "/health")
    assert found == Target(HERE, names.session_path("team-a", "s1"), "/health")


def test_own_cookie_is_taken_out_and_the_others_stay() -> None:
    headers = {"Cookie": 'a=1; own="v.s"; AWSALB=x;own=second'}
    assert head.own_cookies(headers, "own") == ("v.s", "a=1; AWSALB=x")
    assert head.own_cookies({}, "own") == (None, "")


VIA = head.Via("10.1.1.1", "https", "/sessions/team-a/s1")


def test_request_headers_lose_what_is_between_two_hops_and_say_who_asked() -> None:
    given_headers = CIMultiDict(
        {
            "Host": "alb.example",
            "Connection": "Upgrade, X-Private",
            "Upgrade": "websocket",
            "X-Private": "1",
            "Transfer-Encoding": "chunked",
            "Authorization": "Bearer mine",
            "Cookie": "own=1",
            "X-Forwarded-For": "1.2.3.4",
            "Accept": "text/event-stream",
        }
    )
    assert dict(head.request_headers(given_headers, VIA, "theirs", "")) == {
        "X-Forwarded-For": "1.2.3.4, 10.1.1.1",
        "Accept": "text/event-stream",
        "Authorization": "Bearer theirs",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "alb.example",
        "X-Forwarded-Prefix": "/sessions/team-a/s1",
    }


@pytest.mark.parametrize(
    ("location", "wanted"),
    [
        ("/files/a", "/sessions/team-a/s1/files/a"),
        ("http://10.0.0.7:9080/files/a", "/sessions/team-a/s1/files/a"),
        ("files/a", "files/a"),
        ("//evil.example/x", "//evil.example/x"),
        ("https://other.example/x", "https://other.example/x"),
    ],
)
def test_location_leads_through_the_router_when_it_is_the_agents(
    location: str, wanted: str
) -> None:
    found = head.response_headers(
        CIMultiDict({"Location": location}), VIA, origin("10.0.0.7"), "own"
    )
    assert found["Location"] == wanted


def test_answer_cannot_set_our_cookie_nor_act_in_our_origin() -> None:
    answer = CIMultiDict(
        [
            ("Set-Cookie", "own=forged"),
            ("Set-Cookie", "theirs=1"),
            ("Content-Security-Policy", "x"),
            ("Keep-Alive", "5"),
        ]
    )
    found = head.response_headers(answer, VIA, origin("10.0.0.7"), "own")
    assert found.getall("Set-Cookie") == ["theirs=1"]
    assert found.getall("Content-Security-Policy") == ["sandbox"]
    assert "Keep-Alive" not in found


def test_origin_brackets_v6() -> None:
    assert origin("fd00::7") == f"http://[fd00::7]:{names.SESSION_PORT}"


def test_pauses_grow_to_a_bound_and_jitter() -> None:
    assert pause(1) <= 0.5
    assert {pause(3) for _ in range(20)} != {pause(3)}
    assert all(LONGEST_PAUSE_SECONDS / 2 <= pause(n) <= LONGEST_PAUSE_SECONDS for n in (10, 999))


@pytest.mark.parametrize(
    ("env", "complaint"),
    [
        ({}, "NANOGRID_SESSION_KEY has 0 bytes"),
        ({"NANOGRID_SESSION_KEY": "short"}, "has 5 bytes"),
        ({"NANOGRID_AUTH_MODE": "none"}, "expected one of token, header"),
        ({"NANOGRID_PORT": "tcp://10.0.0.1:80"}, "expected int"),
        ({"NANOGRID_DRAIN_SECONDS": "-1"}, "expected a number of at least 0"),
        ({"NANOGRID_RESYNC_SECONDS": "0"}, "expected a number above 0"),
        ({"NANOGRID_ALLOW_OPEN_SESSIONS": "yes"}, "expected true or false"),
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(env: dict[str, str], complaint: str) -> None:
    key = {"NANOGRID_SESSION_KEY": KEY} if env and "NANOGRID_SESSION_KEY" not in env else {}
    with pytest.raises(SettingsError, match=complaint):
        Settings.from_env(key | env)


def test_settings_are_read_and_the_key_is_never_shown() -> None:
    settings = Settings.from_env(
        {
            "NANOGRID_SESSION_KEY": KEY,
            "NANOGRID_WATCH_NAMESPACES": "a, b",
            "NANOGRID_DRAIN_START_SECONDS": "0",
        }
    )
    assert (settings.namespaces, settings.drain_start_seconds) == (["a", "b"], 0.0)
    assert settings.key == KEY.encode()
    assert KEY not in repr(settings)
    assert "NANOGRID_SESSION_KEY" in help_text(Settings)
