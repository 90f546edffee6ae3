"""The short copy of a result in ``status.result``, and the test whether S3 may have more."""

import json
from typing import Final

from nanogrid.types import Json

STREAM_CAP_BYTES: Final = 12 * 1024  # of stdout and of stderr, as JSON
OUTPUTS_CAP_BYTES: Final = 12 * 1024  # of the list of output files, as JSON


def json_bytes(value: object) -> int:
    """The size of a value as JSON in UTF-8, in bytes."""
    return len(json.dumps(value, ensure_ascii=False).encode())


def shortened(result: Json) -> bool:
    """Whether the copy in the status may lack data that S3 has.

    The copy does not say whether outputs were left out. So a list of more than half of
    ``OUTPUTS_CAP_BYTES`` counts as shortened.
    """
    if result.get("stdoutTruncated") or result.get("stderrTruncated"):
        return True
    return 2 * json_bytes(result.get("outputs") or []) > OUTPUTS_CAP_BYTES
