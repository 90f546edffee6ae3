"""Errors in a job's spec that the API server does not detect."""


class InvalidSpecError(ValueError):
    """The spec matches the CRD schema but cannot run; the message says why."""
