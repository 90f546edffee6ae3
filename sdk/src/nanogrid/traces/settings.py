"""Settings of traces, with the standard variables of OpenTelemetry, and the sampler."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from nanogrid.settings import SettingsError, env, values
from nanogrid.traces.context import SAMPLED, TraceContext

ALWAYS_ON: Final = "parentbased_always_on"
SAMPLERS: Final = (
    "always_on",
    "always_off",
    "traceidratio",
    ALWAYS_ON,
    "parentbased_always_off",
    "parentbased_traceidratio",
)
_PARENT_BASED: Final = "parentbased_"
_LOW_BITS: Final = 64  # of a trace id, which the ratio of OpenTelemetry's SDKs compares


@dataclass(frozen=True, slots=True)
class Sampler:
    """Decides whether a trace is recorded: by its parent's decision, else by its id."""

    name: str = ALWAYS_ON
    ratio: float = 1.0

    def samples(self, trace_id: str, parent: TraceContext | None) -> bool:
        """Whether the spans of this trace are recorded."""
        if parent is not None and self.name.startswith(_PARENT_BASED):
            return parent.sampled
        match self.name.removeprefix(_PARENT_BASED):
            case "always_on":
                return True
            case "always_off":
                return False
            case _:
                low = int(trace_id, 16) % (1 << _LOW_BITS)
                return low < round(self.ratio * (1 << _LOW_BITS))

    def flags(self, trace_id: str, parent: TraceContext | None) -> int:
        """The flags of the trace's spans: the parent's, with this decision."""
        kept = parent.flags & ~SAMPLED if parent is not None else 0
        return kept | (SAMPLED if self.samples(trace_id, parent) else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceSettings:
    """Read once at start. The exporter reads further variables itself: OTEL_EXPORTER_OTLP_…."""

    wanted: bool = env(
        "NANOGRID_TRACING", False, "send traces to an OpenTelemetry collector, by OTLP over HTTP"
    )
    sdk_disabled: bool = env("OTEL_SDK_DISABLED", False, "send no traces all the same")
    sampler_name: str = env(
        "OTEL_TRACES_SAMPLER", ALWAYS_ON, "which traces are recorded", choices=SAMPLERS
    )
    sampler_ratio: str = env(
        "OTEL_TRACES_SAMPLER_ARG", "", "of the samplers with a ratio, from 0 to 1; empty: 1"
    )
    protocol: str = env(
        "OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf", "of OTLP", choices=("http/protobuf",)
    )
    exporter: str = env("OTEL_TRACES_EXPORTER", "otlp", "none: no traces", choices=("otlp", "none"))
    endpoint: str = env(
        "OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318", "URL of the collector"
    )
    traces_endpoint: str = env(
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "", "the same for traces, with its path"
    )

    @property
    def enabled(self) -> bool:
        """Whether spans are recorded and sent."""
        return self.wanted and not self.sdk_disabled and self.exporter != "none"

    @property
    def sampler(self) -> Sampler:
        """Which traces are recorded.

        Raises:
            SettingsError: the ratio is not a number from 0 to 1.
        """
        try:
            ratio = float(self.sampler_ratio or 1)
        except ValueError:
            ratio = -1.0
        if not 0 <= ratio <= 1:
            raise SettingsError(
                f"OTEL_TRACES_SAMPLER_ARG is {self.sampler_ratio!r}: expected a number from 0 to 1"
            )
        return Sampler(self.sampler_name, ratio)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> "TraceSettings":
        """Read the environment. Without NANOGRID_TRACING no other variable counts.

        Raises:
            SettingsError: a value has the wrong type or form; the message repeats no URL.
        """
        if not cls(**values(cls, {"NANOGRID_TRACING": environ.get("NANOGRID_TRACING", "")})).wanted:
            return cls()
        settings = cls(**values(cls, environ))
        _ = settings.sampler
        for name, url in (
            ("OTEL_EXPORTER_OTLP_ENDPOINT", settings.endpoint),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", settings.traces_endpoint),
        ):
            if url and not url.startswith(("http://", "https://")):
                raise SettingsError(f"{name}: expected http://HOST:PORT or https://HOST:PORT")
        return settings
