"""Types that all packages share."""

from typing import Any

Json = dict[str, Any]  # a JSON object of the Kubernetes API or of a wire message
