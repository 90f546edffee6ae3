"""Which jobs and pods of the API server are this installation's. No I/O.

Two operators in one cluster have different controller classes. Neither sees the jobs and pods of
the other one, so no part of it can touch them.
"""

from dataclasses import dataclass, field

from nanogrid import controller_class, names
from nanogrid.types import Json


@dataclass(slots=True)
class Selection:
    """The selectors for one controller class.

    Attributes:
        controller_class: Of the installation; empty: none.
        job_fields: The field selector of LISTs and watches of jobs. It is empty after
            :meth:`without_fields`: then all jobs come, and :meth:`serves` decides alone.
    """

    controller_class: str
    job_fields: str = field(init=False)

    def __post_init__(self) -> None:
        self.job_fields = controller_class.job_fields(self.controller_class)

    @property
    def pod_labels(self) -> str:
        """The label selector of sandbox pods."""
        own = controller_class.label_selector(self.controller_class)
        return f"{names.LABEL_JOB_UID},{own}"

    def serves(self, job: Json) -> bool:
        """Whether a job is this installation's."""
        return controller_class.serves(self.controller_class, job)

    def without_fields(self) -> None:
        """The API server cannot select jobs by their class."""
        self.job_fields = ""
