"""The credentials of an assumed role, for boto3: fetched at the first request, refreshed in time.

botocore asks for new ones before the old ones expire, and uses the old ones while STS does not
answer. It can assume a role by itself only from a profile in a file.
"""

from typing import Any, Final

import botocore.session
from botocore.config import Config
from botocore.credentials import CredentialProvider, DeferredRefreshableCredentials
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from nanogrid.assumed_role import AssumedRole, first_line
from nanogrid.s3.errors import S3Error
from nanogrid.storage_causes import assume_cause

OPERATION: Final = "AssumeRole"


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
    session.get_component("credential_provider").providers.insert(0, _Provider(role, base))
    return session


class _Provider(CredentialProvider):
    """Stands before all other sources of credentials, which are those that assume the role."""

    METHOD = "nanogrid-assume-role"
    CANONICAL_NAME = "NanoGridAssumeRole"

    def __init__(self, role: AssumedRole, base: botocore.session.Session) -> None:
        super().__init__(base)
        self._role = role
        self._base = base

    def load(self) -> DeferredRefreshableCredentials:
        return DeferredRefreshableCredentials(refresh_using=self._fetch, method=self.METHOD)

    def _fetch(self) -> dict[str, Any]:
        """New credentials, in botocore's form.

        Raises:
            S3Error: STS refused or did not answer, or there is nothing to assume the role with.
        """
        try:
            given = self._assume()
        except ClientError as e:
            raise self._refused(e) from e
        except BotoCoreError as e:
            code = type(e).__name__
            raise self._failed(str(e), 0, code) from e
        return {
            "access_key": given["AccessKeyId"],
            "secret_key": given["SecretAccessKey"],
            "token": given["SessionToken"],
            "expiry_time": given["Expiration"].isoformat(),
        }

    def _assume(self) -> dict[str, Any]:
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
        try:
            answer: dict[str, Any] = sts.assume_role(**self._role.request())
        finally:
            sts.close()
        return dict(answer["Credentials"])

    def _refused(self, error: ClientError) -> S3Error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        given = error.response.get("Error", {})
        code = given.get("Code", "")
        # Only the first line: those below it can repeat the signed request, with its token.
        message = f"{code}: {first_line(given.get('Message', ''))}"
        if error.operation_name != OPERATION:  # the role of the service account, before this one
            return S3Error(message, self._where, status, code)
        return self._failed(message, status, code)

    def _failed(self, message: str, status: int, code: str) -> S3Error:
        return S3Error(message, self._where, status, code, assume_cause(status, code, message))

    @property
    def _where(self) -> str:
        return f"cannot assume {self._role.arn}"
