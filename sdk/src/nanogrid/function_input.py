"""The input of a function: JSON on standard input, or in a file from S3."""

import json
from typing import Any, Final

# Limit in bytes of the input in the pod's environment: JSON text, quoted again as a JSON string.
STDIN_BYTES: Final = 60 * 1024


def input_text(value: Any) -> str:
    """The input as compact JSON that is valid UTF-8.

    Raises:
        TypeError, ValueError: ``value`` is not a JSON value.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair; only an escape can express it
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text


def fits_stdin(text: str) -> bool:
    """Whether the input fits on standard input; otherwise it becomes a file from S3."""
    return len(json.dumps(text, ensure_ascii=False).encode()) <= STDIN_BYTES
