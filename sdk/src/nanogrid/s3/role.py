"""The credentials of an assumed role, for boto3: fetched at the first request, refreshed in time.

botocore asks for new ones 15 minutes before the old ones end, and gives up 10 minutes before. So
this module gives it the old ones until their end, while STS does not answer. botocore can assume a
role by itself only from a profile in a file.
"""

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import botocore.session
from botocore.config import Config
from botocore.credentials import CredentialProvider, DeferredRefreshableCredentials
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from botocore.parsers import ResponseParserError

from nanogrid.assumed_role import AssumedRole, first_line
from nanogrid.s3.errors import S3Error, unanswered
from nanogrid.storage_causes import Cause, assume_cause, cause

log = logging.getLogger("nanogrid.s3")

OPERATION: Final = "AssumeRole"
AGAIN_SECONDS: Final = 5.0  # after a failure; threads that wait for one request share its failure
# What botocore raises for an answer that is none of STS, and for a URL that is none.
NO_ANSWER: Final = (ResponseParserError, KeyError, TypeError, ValueError, RuntimeError)


def session_with_role(
    role: AssumedRole, config: Config, ca_file: str | None
) -> botocore.session.Session:
    """A session whose clients use the role.

    Args:
        role: the role.
        config: timeouts, tries and proxies of requests to STS.
        ca_file: CAs of STS; None: botocore's own.
    """
    base = botocore.session.get_session()
    # Also for the request that botocore makes itself, with the token of a service account.
    base.set_default_client_config(config)
    base.set_config_variable("region", role.region)
    if ca_file:
        base.set_config_variable("ca_bundle", ca_file)
    session = botocore.session.get_session()
    fetch = _RoleRequest(role, base).credentials
    provider = _Provider(base, KeptCredentials(fetch).get)
    session.get_component("credential_provider").providers.insert(0, provider)
    return session


class _Provider(CredentialProvider):
    """Stands before all other sources of credentials, which are those that assume the role."""

    METHOD = "nanogrid-assume-role"
    CANONICAL_NAME = "NanoGridAssumeRole"

    def __init__(self, base: botocore.session.Session, get: Callable[[], dict[str, Any]]) -> None:
        super().__init__(base)
        self._get = get

    def load(self) -> DeferredRefreshableCredentials:
        return DeferredRefreshableCredentials(refresh_using=self._get, method=self.METHOD)


class KeptCredentials:
    """What botocore calls for credentials, in one thread at a time.

    Args:
        fetch: gets new ones, in botocore's form.
        clock: monotonic seconds.
    """

    def __init__(
        self, fetch: Callable[[], dict[str, Any]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._kept: dict[str, Any] | None = None
        self._failure: S3Error | None = None
        self._again = 0.0

    def get(self) -> dict[str, Any]:
        """New credentials; the old ones if there are no new ones and the old ones are valid.

        Raises:
            S3Error: there are none.
        """
        if self._failure is None or self._clock() >= self._again:
            try:
                self._kept, self._failure = self._fetch(), None
            except S3Error as failure:
                self._failure, self._again = failure, self._clock() + AGAIN_SECONDS
                log.warning("no new credentials for S3: %s", failure)
        if self._failure is not None and (self._kept is None or _ended(self._kept)):
            raise self._failure.with_traceback(None)
        assert self._kept is not None  # noqa: S101 there is no failure
        return self._kept


def _ended(given: dict[str, Any]) -> bool:
    return datetime.fromisoformat(given["expiry_time"]) <= datetime.now(UTC)


class _RoleRequest:
    """Asks STS for the credentials of a role, with those of ``base``."""

    def __init__(self, role: AssumedRole, base: botocore.session.Session) -> None:
        self._role = role
        self._base = base

    def credentials(self) -> dict[str, Any]:
        """New credentials, in botocore's form.

        Raises:
            S3Error: STS refused or did not answer, or there is nothing to assume the role with.
        """
        statuses: list[int] = []
        # Without causes: botocore logs what this raises, and the text of a cause can have the
        # signed request with its token, or all of an answer that is cut in its middle.
        try:
            return self._form(self._assume(statuses))
        except ClientError as e:
            raise self._refused(e) from None
        except BotoCoreError as e:
            message, code = unanswered(e)
            raise self._failed(message, 0, code) from None
        except OSError as e:
            message = f"{e.filename} cannot be read: {e.strerror}"
            raise self._failed(message, 0, NoCredentialsError.__name__) from None
        except NO_ANSWER:
            status = statuses[-1] if statuses else 0
            code = "" if status >= 300 else "NotImplemented"
            message = (
                f"the answer of {self._role.endpoint} has no credentials, HTTP status {status}"
            )
            raise self._failed(message, status, code) from None

    def _form(self, given: dict[str, Any]) -> dict[str, Any]:
        ends: datetime = given["Expiration"]
        ends = ends if ends.tzinfo else ends.replace(tzinfo=UTC)
        if ends <= datetime.now(UTC):
            message = f"the credentials of {self._role.endpoint} ended at {ends.isoformat()}"
            raise self._failed(message, 200, "RequestExpired")
        return {
            "access_key": given["AccessKeyId"],
            "secret_key": given["SecretAccessKey"],
            "token": given["SessionToken"],
            "expiry_time": ends.isoformat(),
        }

    def _assume(self, statuses: list[int]) -> dict[str, Any]:
        """The answer; ``statuses`` gets the HTTP status of each."""
        found = self._base.get_credentials()
        if found is None:
            raise NoCredentialsError
        keys = found.get_frozen_credentials()
        sts: Any = self._base.create_client(
            "sts",
            endpoint_url=self._role.endpoint,
            aws_access_key_id=keys.access_key,
            aws_secret_access_key=keys.secret_key,
            aws_session_token=keys.token,
        )

        def note(response_dict: dict[str, Any], **_: Any) -> None:
            statuses.append(response_dict["status_code"])

        sts.meta.events.register(f"before-parse.sts.{OPERATION}", note)
        try:
            answer: dict[str, Any] = sts.assume_role(**self._role.request())
        finally:
            sts.close()
        return dict(answer["Credentials"])

    def _refused(self, error: ClientError) -> S3Error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        given = error.response.get("Error", {})
        code = given.get("Code") or ""
        # Only the first line: those below it can repeat the signed request, with its token.
        message = f"{code}: {first_line(given.get('Message') or '')}"
        if error.operation_name != OPERATION:  # the role of the service account, before this one
            return self._error(message, status, code, cause(status, code, message))
        return self._failed(message, status, code)

    def _failed(self, message: str, status: int, code: str) -> S3Error:
        return self._error(message, status, code, assume_cause(status, code, message))

    def _error(self, message: str, status: int, code: str, known: Cause) -> S3Error:
        # A code of STS says nothing about an object: AccessDenied is no missing result.
        where = f"cannot assume {self._role.arn}"
        return S3Error(message, where, status, f"STS.{code}", known)
