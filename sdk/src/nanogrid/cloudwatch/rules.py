"""The metrics of a job in CloudWatch, and what CloudWatch accepts. Pure, standard library only.

Its rules are those of
https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricData.html and of
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

import re
from collections.abc import Mapping
from typing import Final

NAMESPACE: Final = "Namespace"  # dimensions of the metrics of a job
FUNCTION: Final = "Function"
UNITS: Final[Mapping[str, str]] = {  # of the metrics of a job
    "Duration": "Milliseconds",
    "PeakMemory": "Bytes",
    "Succeeded": "Count",
    "Failed": "Count",
}

# A request of PutMetricData.
MAX_REQUEST_METRICS: Final = 1000
MAX_REQUEST_BYTES: Final = 1_000_000
MAX_VALUES: Final = 150  # different values of one metric in a request
# A document of the Embedded Metric Format.
MAX_EMF_VALUES: Final = 100  # of one metric
# Container runtimes split longer lines, and a part of a document is no document.
MAX_EMF_BYTES: Final = 16 * 1024

MAX_OWN_DIMENSIONS: Final = 10  # that an installation adds; each repeats in each document
MAX_OWN_VALUE: Final = 255  # characters of their values

_NAMESPACE: Final = re.compile(r"[A-Za-z0-9._#/-][A-Za-z0-9._#/:-]{0,254}")
_OWN_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_OWN_VALUE: Final = re.compile(r"[!-9;-~][ -~]{0,254}")  # printable ASCII, and no colon first


def namespace_problem(namespace: str) -> str:
    """Why a text is no namespace for metrics; empty if it is one."""
    if not _NAMESPACE.fullmatch(namespace):
        return "expected 1 to 255 letters, digits and characters of ._-/#:, and no colon first"
    if namespace.startswith("AWS/"):
        return "namespaces that begin with AWS/ are those of AWS services"
    return ""


def dimensions_problem(dimensions: Mapping[str, str]) -> str:
    """Why these values by name cannot be an installation's own dimensions; empty if they can."""
    if len(dimensions) > MAX_OWN_DIMENSIONS:
        return f"it has {len(dimensions)} dimensions: give at most {MAX_OWN_DIMENSIONS}"
    for name, value in dimensions.items():
        if not _OWN_NAME.fullmatch(name):
            return f"{name!r} is no name of a dimension: expected letters and digits, at most 64"
        if name in (NAMESPACE, FUNCTION, *UNITS):
            return f"{name} is set for each job: choose another name"
        if not _OWN_VALUE.fullmatch(value):
            return f"{name}: expected 1 to {MAX_OWN_VALUE} characters of ASCII, and no colon first"
    return ""
