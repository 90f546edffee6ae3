"""Why a job has no status: no operator has processed it. Pure."""

from collections.abc import Collection
from typing import Final

from nanogrid.controller_class import class_name

NOT_PROCESSED: Final = "The operator has not processed the job yet."
NOT_PROCESSED_HINT: Final = (
    "If this does not change, run `nanogrid doctor{flags}`: it checks that the operator is ready "
    "and watches this namespace."
)
NO_OPERATOR: Final = "No operator has processed the job, and none in the cluster runs jobs of {}."
NO_OPERATOR_HINT: Final = (
    "spec.controllerClass cannot be changed: create the job again with {}, or ask the platform "
    "team for an installation of the class."
)


def not_processed(own: str, classes: Collection[str] | None) -> tuple[str, str]:
    """Cause and hint of a job without a status, from its controller class."""
    if classes and own not in classes:
        others = " or ".join(
            f"controllerClass: {one}" if one else "no controllerClass" for one in sorted(classes)
        )
        return NO_OPERATOR.format(class_name(own)), NO_OPERATOR_HINT.format(others)
    flags = f" --controller-class {own}" if own else ""
    return NOT_PROCESSED, NOT_PROCESSED_HINT.format(flags=flags)
