"""The rules of the Embedded Metric Format, as a reader of CloudWatch Logs applies them.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

import json
from typing import Any

import jsonschema

from nanogrid.types import Json

UNITS = [
    "Seconds",
    "Microseconds",
    "Milliseconds",
    "Bytes",
    "Kilobytes",
    "Megabytes",
    "Gigabytes",
    "Terabytes",
    "Bits",
    "Kilobits",
    "Megabits",
    "Gigabits",
    "Terabits",
    "Percent",
    "Count",
    "Bytes/Second",
    "Count/Second",
    "None",
]
TEXT: Json = {"type": "string", "minLength": 1}
METRIC: Json = {
    "type": "object",
    "required": ["Name"],
    "additionalProperties": False,
    "properties": {
        "Name": {**TEXT, "maxLength": 255},
        "Unit": {"enum": UNITS},
        "StorageResolution": {"enum": [1, 60]},
    },
}
DIRECTIVE: Json = {
    "type": "object",
    "required": ["Namespace", "Dimensions", "Metrics"],
    "additionalProperties": False,
    "properties": {
        "Namespace": {**TEXT, "maxLength": 255, "pattern": r"^[0-9A-Za-z._\-/#: ]+$"},
        "Dimensions": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "array",
                "maxItems": 30,
                "uniqueItems": True,
                "items": {**TEXT, "maxLength": 250, "pattern": "^[!-9;-~][ -~]*$"},
            },
        },
        "Metrics": {"type": "array", "minItems": 1, "maxItems": 100, "items": METRIC},
    },
}
ROOT: Json = {
    "type": "object",
    "required": ["_aws"],
    "properties": {
        "_aws": {
            "type": "object",
            "required": ["Timestamp", "CloudWatchMetrics"],
            "properties": {
                # In milliseconds: in seconds it would be a day of 1970.
                "Timestamp": {"type": "integer", "minimum": 1_000_000_000_000},
                "CloudWatchMetrics": {"type": "array", "minItems": 1, "items": DIRECTIVE},
            },
        }
    },
}
NUMBER: Json = {"type": "number", "minimum": -(2**360), "maximum": 2**360}
TARGET: Json = {"anyOf": [NUMBER, {"type": "array", "maxItems": 100, "items": NUMBER}]}
VALUE: Json = {**TEXT, "maxLength": 1024, "pattern": r"^(?!:)[ -~]*[!-~][ -~]*$"}
MAX_EVENT_BYTES = 256 * 1024
MAX_LINE_BYTES = 16 * 1024  # of containerd: it splits longer lines


def documents(text: bytes) -> list[Json]:
    """The documents of these lines.

    Raises:
        AssertionError, ValueError, jsonschema.ValidationError: A line is no document.
    """
    assert text.endswith(b"\n") or not text
    return [document(line) for line in text.split(b"\n")[:-1]]


def document(line: bytes) -> Json:
    """The document of a line; see :func:`documents`."""
    assert len(line) < min(MAX_LINE_BYTES, MAX_EVENT_BYTES)
    found: Json = json.loads(line, object_pairs_hook=_unique)
    _validate(found, ROOT)
    for directive in found["_aws"]["CloudWatchMetrics"]:
        for names in directive["Dimensions"]:
            for name in names:
                _validate(found[name], VALUE)
        for metric in directive["Metrics"]:
            _validate(found[metric["Name"]], TARGET)
    return found


def _validate(value: Any, schema: Json) -> None:
    # Not jsonschema.validate, which checks the schema each time.
    jsonschema.Draft202012Validator(schema).validate(value)


def _unique(pairs: list[tuple[str, Any]]) -> Json:
    assert len({name for name, _ in pairs}) == len(pairs), "a member is there twice"
    return dict(pairs)
