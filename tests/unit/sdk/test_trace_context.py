"""W3C Trace Context: what is valid, what is kept, and what is derived."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.trace import get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from nanogrid import names
from nanogrid.traces.context import (
    RANDOM,
    SAMPLED,
    STATE_CHARACTERS,
    STATE_MEMBERS,
    TraceContext,
    annotations_of,
    derived_span_id,
    derived_trace_id,
    env_of,
    from_env,
    from_headers,
    headers_of,
    kept_state,
    of_metadata,
    parse,
)

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"
KNOWN = TraceContext(trace_id=TRACE, span_id=SPAN, flags=SAMPLED)


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        (PARENT, SAMPLED),
        (f" {PARENT}\t", SAMPLED),
        (f"00-{TRACE}-{SPAN}-00", 0),
        (f"00-{TRACE}-{SPAN}-03", SAMPLED | RANDOM),
        (f"00-{TRACE}-{SPAN}-ff", SAMPLED | RANDOM),  # unknown flags are not passed on
        (f"cc-{TRACE}-{SPAN}-01", SAMPLED),  # a later version
        (f"cc-{TRACE}-{SPAN}-01-what-comes-later", SAMPLED),
    ],
)
def test_a_valid_parent_is_read(text: str, flags: int) -> None:
    assert parse(text) == TraceContext(trace_id=TRACE, span_id=SPAN, flags=flags)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "00",
        PARENT.upper(),
        PARENT[:-1],
        f"{PARENT}0",
        f"{PARENT}-more",  # version 00 has four parts
        f"cc-{TRACE}-{SPAN}-01x",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-0g",
        f"00_{TRACE}_{SPAN}_01",
        f"{PARENT},{PARENT}",
        f"cc-{TRACE}-{SPAN}-01-{'x' * 600}",
        f"{PARENT}\n",
        f"00-{TRACE}-{SPAN}-０１",
    ],
)
def test_an_invalid_parent_is_ignored_with_its_state(text: str | None) -> None:
    assert parse(text, "a=1") is None


def test_two_parents_are_invalid_and_states_are_joined() -> None:
    assert from_headers([]) is None
    assert from_headers([PARENT, PARENT]) is None
    joined = from_headers([PARENT], ["a=1", "b=2"])
    assert joined is not None
    assert joined.state == "a=1,b=2"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a=1", "a=1"),
        (" a=1 ,\tb=2 ,, ", "a=1,b=2"),
        ("tenant@vendor=x y", "tenant@vendor=x y"),
        ("0a_-*/z=!~", "0a_-*/z=!~"),
        ("a", ""),
        ("a=", ""),
        ("A=1", ""),
        ("a=1,a=2", ""),
        ("a=1=2", ""),
        ("a=\u00e9", ""),
        ("a=1\n", ""),
        ("a=1,b", ""),  # one invalid member makes all invalid
        (",".join(f"k{n}=1" for n in range(STATE_MEMBERS)), None),
        (",".join(f"k{n}=1" for n in range(STATE_MEMBERS + 1)), ""),
        (f"{'k' * 256}={'v' * 256}", ""),  # longer than all that is passed on
        (f"{'k' * 257}=v", ""),
        ("," * 9000, ""),
    ],
)
def test_a_state_is_kept_if_it_is_valid(text: str, kept: str | None) -> None:
    assert kept_state(text) == (text if kept is None else kept)


def test_of_a_long_state_large_members_go_first_and_then_the_last_ones() -> None:
    large, small = f"large={'v' * 200}", [f"k{n}={'v' * 90}" for n in range(6)]

    assert kept_state(",".join([large, *small])) == ",".join(small[:5])
    assert kept_state(",".join([small[0], large, small[1]])) == f"{small[0]},{large},{small[1]}"


hexes = st.text(string.digits + "abcdef", min_size=16, max_size=32)
hostile = st.one_of(
    st.text(max_size=600),
    st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}.{0,20}", fullmatch=True),
    st.from_regex(r"([a-z@/]{1,300}=[ -~]{0,300},?){1,40}", fullmatch=True),
)


@given(parent=hostile, state=hostile)
def test_no_header_raises_and_what_is_passed_on_is_valid(parent: str, state: str) -> None:
    found = parse(parent, state)

    if found is not None:
        assert len(found.header()) == 55
        assert len(found.state) <= STATE_CHARACTERS
        assert found.header().isascii()
        assert "\n" not in found.header() + found.state
        assert parse(found.header(), found.state) == found
        assert from_env(env_of(found)) == found
        assert of_metadata({"annotations": annotations_of(found)}) == found


@given(parent=hostile)
def test_the_library_reads_the_same_parents(parent: str) -> None:
    """Apart from spaces, which only some readers remove from the ends."""
    found = parse(parent)
    context = TraceContextTextMapPropagator().extract({"traceparent": parent.strip()})
    theirs = get_current_span(context).get_span_context()

    if found is not None:
        assert (f"{theirs.trace_id:032x}", f"{theirs.span_id:016x}") == (
            found.trace_id,
            found.span_id,
        )


def test_a_context_goes_by_headers_variables_and_annotations() -> None:
    context = TraceContext(trace_id=TRACE, span_id=SPAN, flags=SAMPLED, state="a=1")

    assert headers_of(context) == {"traceparent": PARENT, "tracestate": "a=1"}
    assert env_of(context) == {"TRACEPARENT": PARENT, "TRACESTATE": "a=1"}
    assert annotations_of(KNOWN) == {names.ANNOTATION_TRACEPARENT: PARENT}
    assert headers_of(None) == env_of(None) == annotations_of(None) == {}
    assert of_metadata({}) is None
    assert of_metadata({"annotations": {names.ANNOTATION_TRACEPARENT: "no"}}) is None


def test_derived_ids_are_fixed_and_differ() -> None:
    """A change of the rule would break the traces of jobs that run during an upgrade."""
    uid = "7e0b3a52-61f4-4c36-8f5c-2a4ab4f2d1c0"
    assert derived_trace_id(uid) == derived_trace_id(uid)
    assert len(derived_trace_id(uid)) == 32
    ids = {derived_span_id(uid, str(n), s) for n in range(5) for s in ("sync", "execution")}
    assert len(ids | {derived_span_id("other", "0", "sync")}) == 11
    assert all(len(one) == 16 for one in ids)
    assert parse(f"00-{derived_trace_id(uid)}-{derived_span_id(uid, 'job')}-01") is not None
