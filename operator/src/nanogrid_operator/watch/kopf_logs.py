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
    """

    def __init__(self, of_job: Callable[[str], Mapping[str, Any]]) -> None:
        super().__init__()
        self._of_job = of_job

    def filter(self, record: logging.LogRecord) -> bool:
        """Always true."""
        subject = getattr(record, "k8s_ref", None)
        if isinstance(subject, dict):
            setattr(record, FIELDS, {**getattr(record, FIELDS, {}), **self._fields(subject)})
        return True

    def _fields(self, subject: Mapping[str, Any]) -> dict[str, Any]:
        uid = str(subject.get("uid") or "")
        found = {"kind": subject.get("kind"), "name": subject.get("name")}
        job = self._of_job(uid) if subject.get("kind") == names.KIND else {}
        return {**found, "namespace": subject.get("namespace"), **job}
