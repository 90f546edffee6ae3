"""Settings of traces, and which traces are recorded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

from nanogrid.settings import SettingsError
from nanogrid.traces.context import RANDOM, SAMPLED, TraceContext
from nanogrid.traces.export import NoTracing, open_tracing
from nanogrid.traces.settings import SAMPLERS, Sampler, TraceSettings

ON = {"NANOGRID_TRACING": "true"}
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def parent(flags: int) -> TraceContext:
    return TraceContext(trace_id=TRACE, span_id="00f067aa0ba902b7", flags=flags)


def test_traces_are_off_unless_they_are_wanted() -> None:
    assert not TraceSettings.from_env({}).enabled
    assert not TraceSettings.from_env({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}).enabled
    assert TraceSettings.from_env(ON).enabled
    assert isinstance(open_tracing("x", TraceSettings.from_env({})), NoTracing)


@pytest.mark.parametrize("off", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}])
def test_the_standard_variables_turn_them_off(off: dict[str, str]) -> None:
    assert not TraceSettings.from_env(ON | off).enabled


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_TRACES_SAMPLER_ARG", "2"),
        ("OTEL_TRACES_SAMPLER_ARG", "-0.1"),
        ("OTEL_TRACES_SAMPLER_ARG", "nan"),
        ("OTEL_TRACES_SAMPLER_ARG", "half"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_SDK_DISABLED", "maybe"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "ftp://collector"),
    ],
)
def test_a_wrong_variable_is_named_and_counts_only_with_traces(name: str, text: str) -> None:
    with pytest.raises(SettingsError, match=name):
        TraceSettings.from_env(ON | {name: text})
    assert not TraceSettings.from_env({name: text}).enabled


def test_the_password_of_an_endpoint_is_in_no_message() -> None:
    with pytest.raises(SettingsError) as caught:
        TraceSettings.from_env(ON | {"OTEL_EXPORTER_OTLP_ENDPOINT": "u:secret@host"})
    assert "secret" not in str(caught.value)
    good = TraceSettings.from_env(ON | {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://u:secret@host"})
    assert "secret" not in repr(good)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_decision_of_a_parent_is_kept_by_the_samplers_that_say_so(name: str) -> None:
    sampler = Sampler(name, 0.0)
    kept = name.startswith("parentbased_")

    assert sampler.samples(TRACE, parent(SAMPLED)) == (kept or name == "always_on")
    assert sampler.samples(TRACE, parent(0)) == (name == "always_on")
    assert sampler.samples(TRACE, None) == name.endswith("always_on")


@given(
    trace=st.integers(1, (1 << 128) - 1),
    ratio=st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1)),
)
def test_a_ratio_decides_as_the_library_does(trace: int, ratio: float) -> None:
    theirs = TraceIdRatioBased(ratio).should_sample(None, trace, "x").decision.is_sampled()

    assert Sampler("traceidratio", ratio).samples(f"{trace:032x}", None) == theirs


def test_flags_have_the_decision_and_keep_the_others() -> None:
    assert Sampler("always_off").flags(TRACE, parent(SAMPLED | RANDOM)) == RANDOM
    assert Sampler("always_on").flags(TRACE, parent(0)) == SAMPLED
    assert Sampler().flags(TRACE, None) == SAMPLED


@pytest.mark.parametrize(
    ("name", "value"),
    [("OTEL_BSP_MAX_QUEUE_SIZE", "-1"), ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many")],
)
def test_a_wrong_variable_of_the_sdk_is_a_clear_error(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError, match="a variable OTEL_… of traces is wrong: "):
        open_tracing("nanogrid-test", TraceSettings.from_env(ON))
