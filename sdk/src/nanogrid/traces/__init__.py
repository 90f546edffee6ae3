"""Distributed traces: W3C Trace Context, spans, and their export with OpenTelemetry."""
