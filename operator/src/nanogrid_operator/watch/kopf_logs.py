"""Gives Kopf's log lines about an object the fields that the operator's own lines have."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from nanogrid import names
from nanogrid.logs import FIELDS

LOGGER: Final = "kopf.objects"


class KopfFields(logging.Filter):
    """Adds the fields; drops no line.

    Args:
        of_job: the fields of a job's uid.
        of_pod: the fields of a pod's uid.
    """

    def __init__(
        self,
        of_job: Callable[[str], Mapping[str, Any]],
        of_pod: Callable[[str], Mapping[str, Any]],
    ) -> None:
        super().__init__()
        self._of_job = of_job
        self._of_pod = of_pod

    def filter(self, record: logging.LogRecord) -> bool:
        """Always true."""
        subject = getattr(record, "k8s_ref", None)
        if isinstance(subject, dict):
            setattr(record, FIELDS, {**getattr(record, FIELDS, {}), **self._fields(subject)})
        return True

    def _fields(self, subject: Mapping[str, Any]) -> dict[str, Any]:
        uid = str(subject.get("uid") or "")
        found = {"kind": subject.get("kind"), "name": subject.get("name")}
        of = self._of_job if subject.get("kind") == names.KIND else self._of_pod
        return {**found, "namespace": subject.get("namespace"), **of(uid)}
