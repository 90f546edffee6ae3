"""What S3 answers instead of a success. Pure, so that callers need no boto3 to catch it."""

from typing import Final

from nanogrid.storage_causes import UNSUITABLE, Cause, cause

MISSING: Final = frozenset({"NoSuchKey", "404", "NotFound"})
DENIED: Final = frozenset({"AccessDenied", "403"})
EXISTS: Final = frozenset({"PreconditionFailed", "412"})
UNSUPPORTED: Final = frozenset({"NotImplemented", "501"})


def unanswered(error: Exception) -> tuple[str, str]:
    """Message and code for an error of boto3 without an answer of S3."""
    if isinstance(getattr(error, "kwargs", {}).get("error"), ValueError):
        # The text of such an error repeats a header, which can be a token.
        return UNSUITABLE, "InvalidAccessKeyId"
    return str(error), type(error).__name__


class S3Error(Exception):
    """S3 did not answer, or refused.

    Attributes:
        message: what boto3 says.
        where: the object or bucket, for example s3://bucket/key.
        status: the HTTP status; 0 when there was no answer.
        code: of S3, for example NoSuchKey; without an answer the type of the error; STS.CODE if
            there are no credentials of an assumed role.
        cause: the reason and a hint, which the text of the error has too.
    """

    def __init__(
        self,
        message: str,
        where: str = "",
        status: int = 0,
        code: str = "",
        known: Cause | None = None,
    ) -> None:
        self.cause = known or cause(status, code, message)
        text = f"{where}: {message}" if where else message
        super().__init__(f"{text} ({self.cause.hint})" if self.cause.hint else text)
        self.message = message
        self.where = where
        self.status = status
        self.code = code

    @property
    def missing(self) -> bool:
        """There is no such object."""
        return self.code in MISSING

    @property
    def unseen(self) -> bool:
        """There is no such object, as far as these credentials can see.

        Without the right to list, S3 answers 403 for a key that does not exist.
        """
        return self.missing or self.code in DENIED

    @property
    def exists(self) -> bool:
        """A conditional put found an object of that key."""
        return self.code in EXISTS

    @property
    def unsupported(self) -> bool:
        """The server does not know the operation, or its condition."""
        return self.code in UNSUPPORTED
