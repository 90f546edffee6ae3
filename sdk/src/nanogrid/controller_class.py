"""Which installation serves a job, where several installations share a cluster. Pure.

A job names its controller class in ``spec.controllerClass``, which cannot be changed. An
installation serves the jobs of its own class only; one without a class serves the jobs without one.
Objects of a job have its class as a label, so that the API server selects them.
"""

import re
from typing import Final

from nanogrid import names
from nanogrid.types import Json

FIELD: Final = "controllerClass"  # of the spec
PATTERN: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
MAX_CHARACTERS: Final = 63  # the most of a label's value
ENV: Final = "NANOGRID_CONTROLLER_CLASS"
NO_CLASS: Final = ""  # of jobs and installations without a class


def problem(name: str) -> str:
    """Why a text cannot be a controller class; empty if it can, and for no class."""
    if not name or (len(name) <= MAX_CHARACTERS and re.fullmatch(PATTERN, name)):
        return ""
    return (
        f"expected at most {MAX_CHARACTERS} of a-z, 0-9 and -, with a letter or digit at both ends"
    )


def class_of(job: Json) -> str:
    """The controller class of a job; empty: none."""
    return str((job.get("spec") or {}).get(FIELD) or NO_CLASS)


def serves(controller_class: str, job: Json) -> bool:
    """Whether an installation of this class serves a job."""
    return class_of(job) == controller_class


def class_name(controller_class: str) -> str:
    """A controller class, for people."""
    return f"controller class {controller_class}" if controller_class else "no controller class"


def job_fields(controller_class: str) -> str:
    """The field selector of the jobs of a class; the API server knows it from Kubernetes 1.31."""
    return f"spec.{FIELD}={controller_class}"


def labels(controller_class: str) -> dict[str, str]:
    """The labels of objects that belong to a job of a class."""
    return {names.LABEL_CONTROLLER_CLASS: controller_class} if controller_class else {}


def label_selector(controller_class: str) -> str:
    """The label selector of objects of jobs of a class."""
    label = names.LABEL_CONTROLLER_CLASS
    return f"{label}={controller_class}" if controller_class else f"!{label}"


def pod_selector(controller_class: str) -> list[Json]:
    """The same selector, as matchExpressions."""
    label = names.LABEL_CONTROLLER_CLASS
    if controller_class:
        return [{"key": label, "operator": "In", "values": [controller_class]}]
    return [{"key": label, "operator": "DoesNotExist"}]


def policy_name(name: str, controller_class: str) -> str:
    """The name of a NetworkPolicy for sandbox pods: each installation has its own in a namespace.

    Args:
        name: what the policy is about, for example ingress.
        controller_class: of the installation.
    """
    return f"nanogrid-sandbox-{name}" + (f".{controller_class}" if controller_class else "")
