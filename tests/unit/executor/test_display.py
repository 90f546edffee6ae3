"""Rich results of objects that represent themselves in any way: valid JSON, and no exception."""

import json
from typing import Any
from unittest.mock import MagicMock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanogrid_executor.launcher.display import Display

HTML, JSON, SVG = "text/html", "application/json", "image/svg+xml"


def refuse(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def shown(value: object, max_bytes: int = 4096) -> dict[str, str]:
    sent: list[bytes] = []
    Display(sent.append, max_bytes).show(value)
    (data,) = sent
    assert len(data) <= max_bytes
    bundle: dict[str, str] = json.loads(data, parse_constant=refuse)
    for kind, text in bundle.items():
        if kind == JSON or kind.endswith("+json"):
            json.loads(text, parse_constant=refuse)
    return bundle


def an_object(text: str = "an object", **methods: Any) -> object:
    """An object whose methods return these values, or raise them."""

    def method(given: Any) -> Any:
        def call(self: object, **arguments: Any) -> Any:
            if isinstance(given, BaseException):
                raise given
            return given

        return call

    body = {name: method(given) for name, given in methods.items()}
    return type("Thing", (), {"__repr__": lambda self: text, **body})()


RECURSIVE: dict[str, Any] = {}
RECURSIVE["self"] = RECURSIVE
DEEP: list[Any] = []
for _ in range(100_000):
    DEEP = [DEEP]


class Rude(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


@pytest.mark.parametrize(
    "methods",
    [
        {"_repr_html_": ZeroDivisionError("division by zero")},
        {"_repr_html_": Rude()},
        {"_repr_html_": RecursionError("maximum recursion depth exceeded")},
        {"_repr_html_": 5},
        {"_repr_html_": ["<b>"]},
        {"_repr_html_": "x" * 100_000},
        {"_repr_svg_": b"\xff\xfe"},
        {"_repr_json_": {"a": float("inf")}},
        {"_repr_json_": [float("nan")]},
        {"_repr_json_": RECURSIVE},
        {"_repr_json_": DEEP},
        {"_repr_json_": {("a", "b"): 1}},
        {"_repr_json_": {"a": Unprintable()}},
        {"_repr_json_": ["x" * 100_000]},
        {"_repr_mimebundle_": {HTML: 5}},
        {"_repr_mimebundle_": {5: "x"}},
        {"_repr_mimebundle_": {"application/vnd.a+json": {"b": float("-inf")}}},
        {"_repr_mimebundle_": TypeError("unexpected keyword argument 'include'")},
    ],
)
def test_what_fails_is_left_out_with_a_warning(
    methods: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = shown(an_object(_repr_markdown_="**kept**", **methods))
    assert bundle == {"text/plain": "an object", "text/markdown": "**kept**"}
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("display: ")
    assert "Thing" in err
    assert len(err) < 2000


@pytest.mark.parametrize(
    ("methods", "bundle"),
    [
        ({"_repr_html_": "<b>가</b>"}, {HTML: "<b>가</b>"}),
        ({"_repr_html_": ("<b>", {"isolated": True})}, {HTML: "<b>"}),
        ({"_repr_html_": b"<b>"}, {HTML: "<b>"}),
        ({"_repr_png_": b"png"}, {"image/png": "cG5n"}),
        ({"_repr_png_": "cG5n"}, {"image/png": "cG5n"}),
        ({"_repr_svg_": "<svg/>"}, {SVG: "<svg/>"}),
        ({"_repr_json_": {"a": [1, None]}}, {JSON: '{"a": [1, null]}'}),
        ({"_repr_json_": '{"a": 1}'}, {JSON: '{"a": 1}'}),
        ({"_repr_json_": "a text"}, {JSON: '"a text"'}),
        ({"_repr_json_": "NaN"}, {JSON: '"NaN"'}),
        ({"_repr_json_": {"a": {1}}}, {JSON: '{"a": "{1}"}'}),
        ({"_repr_json_": ({"a": 1}, {"expanded": True})}, {JSON: '{"a": 1}'}),
        ({"_repr_mimebundle_": {"application/vnd.b_exec.v0+json": ""}},
         {"application/vnd.b_exec.v0+json": '""'}),
        ({"_repr_mimebundle_": ({HTML: "<b>", JSON: None}, {})}, {HTML: "<b>"}),
        ({"_repr_mimebundle_": {"text/plain": "other"}}, {"text/plain": "other"}),
        ({"_repr_html_": None, "_repr_mimebundle_": 5}, {}),
    ],
)  # fmt: skip
def test_what_works_is_shown_without_a_warning(
    methods: dict[str, Any], bundle: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert shown(an_object(**methods)) == {"text/plain": "an object"} | bundle
    assert capsys.readouterr() == ("", "")


def test_the_small_representations_of_a_large_object_are_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    both = an_object("r" * 3000, _repr_html_="h" * 3500, _repr_markdown_="m")
    assert shown(both) == {"text/plain": "r" * 3000, "text/markdown": "m"}
    assert "text/html of Thing is left out" in capsys.readouterr().err
    text = "A result is left out: it has more than 4096 bytes (text/plain 5004 bytes)"
    assert shown("x" * 5000) == {"text/plain": text}
    assert "text/plain of str is left out" in capsys.readouterr().err


class Proxy:
    """An unbound proxy: asking for anything but its repr fails."""

    @property
    def __class__(self) -> Any:
        raise RuntimeError("unbound")

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("unbound")

    def __repr__(self) -> str:
        return "<Proxy unbound>"


def test_objects_that_invent_their_attributes() -> None:
    assert list(shown(MagicMock())) == ["text/plain"]
    assert shown(Proxy()) == {"text/plain": "<Proxy unbound>"}
    assert shown(Proxy) == {"text/plain": repr(Proxy)}
    assert "its repr failed: RuntimeError: no repr" in shown(Unprintable())["text/plain"]


def test_a_warning_needs_no_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", None)
    assert shown(an_object(_repr_html_=Rude())) == {"text/plain": "an object"}


VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
)


@given(html=VALUES, data=VALUES, bundle=st.dictionaries(st.text() | st.just(JSON), VALUES))
def test_no_value_gives_an_exception_or_invalid_json(html: Any, data: Any, bundle: Any) -> None:
    shown(an_object(_repr_html_=html, _repr_json_=data, _repr_mimebundle_=bundle))
