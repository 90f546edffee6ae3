"""JSON texts that others wrote: tenants, their images, or who can write to Redis and S3."""

import json
from typing import Any


def parse(text: str | bytes) -> Any:
    """Any JSON.

    Raises:
        ValueError: the text is not JSON, or it is nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None
