"""A role that is assumed for S3: ``s3.assumeRole`` in the chart's values.

The credentials of a pod may then do nothing but assume it. Pure, standard library only.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from nanogrid import names

NAMESPACE: Final = "{namespace}"  # in an ARN: the namespace of the job
# Printable ASCII without braces: servers other than AWS have ARNs of other forms.
ARN: Final = r"arn:[!-z|~]{16,1000}"
SANDBOX_ARN: Final = r"arn:(?:[!-z|~]|\{namespace\}){16,1000}"
EXTERNAL_ID: Final = r"[A-Za-z0-9_+=,.@:/-]{2,1000}"
ENDPOINT: Final = (
    r"https?://([A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*\.?|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?/?"
)
SESSION_MOST: Final = 64  # characters of a session's name
MESSAGE_MOST: Final = 500  # characters of a message that are shown
DEFAULT_REGION: Final = "us-east-1"
_NOT_IN_SESSION: Final = re.compile(r"[^\w+=,.@-]", re.ASCII)
# sts.REGION.amazonaws.com, also with FIPS, of a VPC endpoint, of China, and with IPv6 (api.aws).
_REGIONAL: Final = re.compile(
    r"\bsts(?:-fips)?\.([a-z]{2,}(?:-[a-z]+)+-\d+)\.(?:vpce\.amazonaws|amazonaws|api\.aws)\b"
)


class RoleSettings(Protocol):
    """The fields of operator and gateway; :meth:`AssumedRole.of` explains them."""

    @property
    def s3_role_arn(self) -> str:
        """Of the role; empty: none."""

    @property
    def s3_role_external_id(self) -> str:
        """Empty: none."""

    @property
    def sts_endpoint(self) -> str:
        """Empty: that of AWS in the region."""

    @property
    def s3_region(self) -> str:
        """Of the bucket."""


@dataclass(frozen=True, slots=True)
class AssumedRole:
    """A role, and how it is asked for.

    Attributes:
        arn: of the role.
        session: name of the session, which logs of AWS show.
        external_id: what the role's trust policy asks for; empty: nothing.
        endpoint: URL of STS.
        region: that requests to STS are signed for.
    """

    arn: str
    session: str
    external_id: str
    endpoint: str
    region: str

    @classmethod
    def of(
        cls, arn: str, session: str, *, external_id: str = "", endpoint: str = "", region: str = ""
    ) -> "AssumedRole":
        """A role with the defaults of AWS.

        Args:
            arn: of the role.
            session: name of the session; other characters than STS accepts become hyphens.
            external_id: of the trust policy; empty: none.
            endpoint: URL of STS; empty: that of AWS in the region.
            region: of the bucket; an endpoint that names another one decides.
        """
        region = region or DEFAULT_REGION
        found = _REGIONAL.search(endpoint)
        return cls(
            arn=arn,
            session=_NOT_IN_SESSION.sub("-", session)[:SESSION_MOST],
            external_id=external_id,
            endpoint=(endpoint or _of_aws(arn, region)).rstrip("/"),
            region=found.group(1) if found else region,
        )

    @classmethod
    def of_component(cls, settings: RoleSettings, component: str) -> "AssumedRole | None":
        """The role of operator or gateway; None: it assumes none."""
        if not settings.s3_role_arn:
            return None
        return cls.of(
            settings.s3_role_arn,
            f"nanogrid-{component}",
            external_id=settings.s3_role_external_id,
            endpoint=settings.sts_endpoint,
            region=settings.s3_region,
        )

    @classmethod
    def of_pod(cls, environ: Mapping[str, str]) -> "AssumedRole":
        """The role in the environment of a sandbox pod's own containers, which names one."""
        return cls.of(
            environ[names.ENV_S3_ROLE_ARN],
            environ.get(names.ENV_S3_ROLE_SESSION) or "nanogrid",
            external_id=environ.get(names.ENV_S3_ROLE_EXTERNAL_ID) or "",
            endpoint=environ.get(names.ENV_STS_ENDPOINT) or "",
            region=environ.get(names.ENV_S3_REGION) or "",
        )

    def request(self) -> dict[str, str]:
        """The parameters of AssumeRole."""
        asked = {"RoleArn": self.arn, "RoleSessionName": self.session}
        return asked | ({"ExternalId": self.external_id} if self.external_id else {})


def first_line(message: str) -> str:
    """What people may read of a message of STS; below it the signed request can follow."""
    return (message.strip().splitlines() or [""])[0][:MESSAGE_MOST].strip()


def _of_aws(arn: str, region: str) -> str:
    suffix = ".cn" if arn.startswith("arn:aws-cn:") else ""
    return f"https://sts.{region}.amazonaws.com{suffix}"
