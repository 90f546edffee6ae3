"""The sign-in cookie, the web page's settings, and redirect targets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanogrid_gateway.api.settings import SettingsError
from nanogrid_gateway.web import paths
from nanogrid_gateway.web.settings import WebSettings
from nanogrid_gateway.web.sign_in_cookie import MAX_VALUE, SignInCookie

NOW = 1_800_000_000.0


def test_every_replica_decrypts_a_token_until_it_expires() -> None:
    value = SignInCookie(b"k" * 32, 100).encrypt("the-token", NOW)
    assert value is not None

    other = SignInCookie(b"k" * 32, 100)

    assert other.decrypt(value, NOW + 99) == "the-token"
    assert other.decrypt(value, NOW + 100) is None
    assert "the-token" not in value
    assert SignInCookie(b"x" * 32, 100).decrypt(value, NOW) is None


def test_a_value_with_a_changed_byte_is_invalid() -> None:
    cookie = SignInCookie(b"k" * 32, 100)
    value = cookie.encrypt("token" * 20, NOW)
    assert value is not None
    assert cookie.decrypt(value, NOW) is not None
    for at in range(len(value) - 1):  # the last character may have unused bits
        changed = value[:at] + ("A" if value[at] != "A" else "B") + value[at + 1 :]
        assert cookie.decrypt(changed, NOW) is None


@given(st.text())
def test_random_text_is_invalid(value: str) -> None:
    assert SignInCookie(b"k" * 32, 100).decrypt(value, NOW) is None


def test_a_token_that_is_too_long_for_a_cookie_is_rejected() -> None:
    cookie = SignInCookie(b"k" * 32, 100)
    fits = cookie.encrypt("t" * 2700, NOW)

    assert fits is not None
    assert len(fits) <= MAX_VALUE
    assert cookie.encrypt("t" * 2900, NOW) is None


def test_a_csrf_token_belongs_to_one_caller() -> None:
    cookie = SignInCookie(b"k" * 32, 100)
    token = cookie.csrf_token("Bearer a")

    assert cookie.is_csrf_token(token, "Bearer a")
    assert not cookie.is_csrf_token(token, "Bearer b")
    assert not cookie.is_csrf_token("", "Bearer a")
    assert not cookie.is_csrf_token("é", "Bearer a")


def test_settings_are_validated_and_a_missing_key_is_generated() -> None:
    given = WebSettings.from_env({"NANOGRID_WEB_KEY": "k" * 20, "NANOGRID_WEB_SIGN_IN_HOURS": "2"})
    assert given == WebSettings(key=b"k" * 20, seconds=7200)
    assert WebSettings.from_env({}).key != WebSettings.from_env({}).key
    for name, value in (
        ("NANOGRID_WEB_KEY", "short"),
        ("NANOGRID_WEB_SIGN_IN_HOURS", "0"),
        ("NANOGRID_WEB_SIGN_IN_HOURS", "nan"),
        ("NANOGRID_WEB_SIGN_IN_HOURS", "long"),
    ):
        with pytest.raises(SettingsError, match=name):
            WebSettings.from_env({name: value})


@pytest.mark.parametrize(
    "target",
    ["", "https://evil.example/web/", "//evil.example", "/web//evil.example", "/web", "/runs/1",
     "/web/\\evil", "/web/\r\nSet-Cookie: x", "javascript:alert(1)"],
)  # fmt: skip
def test_a_sign_in_redirects_only_to_own_pages(target: str) -> None:
    assert paths.local(target) == paths.HOME
    assert paths.local("/web/runs/a?x=y") == "/web/runs/a?x=y"


def test_names_in_paths_are_quoted() -> None:
    scope = paths.Scopes("functions", everywhere=False).own
    assert scope.run("../x?y#z") == "/web/runs/..%2Fx%3Fy%23z"
    assert scope.function("../x?y#z") == "/web/functions/..%2Fx%3Fy%23z"
    assert scope.file("r", 'a b/"<.png') == "/web/runs/r/files/a%20b/%22%3C.png"
