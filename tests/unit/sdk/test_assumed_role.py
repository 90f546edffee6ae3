"""The defaults of a role that is assumed for S3."""

import re
from typing import NamedTuple

import pytest

from nanogrid import names
from nanogrid.assumed_role import ENDPOINT, AssumedRole, first_line

ARN = "arn:aws:iam::222222222222:role/nanogrid-team-a"
VPC_ENDPOINT = "https://vpce-0a-b.sts.eu-west-1.vpce.amazonaws.com"


@pytest.mark.parametrize(
    ("arn", "endpoint", "region", "url", "signed"),
    [
        (ARN, "", "", "https://sts.us-east-1.amazonaws.com", "us-east-1"),
        (ARN, "", "eu-west-1", "https://sts.eu-west-1.amazonaws.com", "eu-west-1"),
        (
            "arn:aws-cn:iam::2:role/a",
            "",
            "cn-north-1",
            "https://sts.cn-north-1.amazonaws.com.cn",
            "cn-north-1",
        ),
        (
            ARN,
            "https://sts.ap-northeast-2.amazonaws.com/",
            "us-east-1",
            "https://sts.ap-northeast-2.amazonaws.com",
            "ap-northeast-2",
        ),
        (ARN, VPC_ENDPOINT, "us-east-1", VPC_ENDPOINT, "eu-west-1"),
        (
            ARN,
            "https://sts-fips.us-gov-west-1.amazonaws.com",
            "us-east-1",
            "https://sts-fips.us-gov-west-1.amazonaws.com",
            "us-gov-west-1",
        ),
        (ARN, "https://sts.eu-west-1.api.aws", "x", "https://sts.eu-west-1.api.aws", "eu-west-1"),
        (ARN, "http://minio.storage:9000", "", "http://minio.storage:9000", "us-east-1"),
        (ARN, "http://[fd00::1]:9000", "eu-west-1", "http://[fd00::1]:9000", "eu-west-1"),
    ],
)
def test_the_endpoint_and_the_region_that_it_expects(
    arn: str, endpoint: str, region: str, url: str, signed: str
) -> None:
    role = AssumedRole.of(arn, "s1", endpoint=endpoint, region=region)
    assert (role.endpoint, role.region) == (url, signed)
    assert not endpoint or re.fullmatch(ENDPOINT, endpoint)


def test_the_session_has_a_name_that_sts_accepts() -> None:
    role = AssumedRole.of(ARN, f"team-a.{'x' * 80}/ü")
    assert re.fullmatch(r"team-a\.x+", role.session)
    assert len(role.session) == 64
    assert AssumedRole.of(ARN, "a b/c").session == "a-b-c"


def test_the_environment_of_a_pod() -> None:
    environ = {names.ENV_S3_ROLE_ARN: ARN, names.ENV_S3_ROLE_SESSION: "team-a.hello"}
    asked = {"RoleArn": ARN, "RoleSessionName": "team-a.hello"}
    assert AssumedRole.of_pod(environ).request() == asked
    environ[names.ENV_S3_ROLE_EXTERNAL_ID] = "id-1"
    assert AssumedRole.of_pod(environ).request() == asked | {"ExternalId": "id-1"}


class Given(NamedTuple):
    """The settings of operator and gateway."""

    s3_role_arn: str
    s3_role_external_id: str = ""
    sts_endpoint: str = ""
    s3_region: str = ""


def test_operator_and_gateway_without_a_role() -> None:
    assert AssumedRole.of_component(Given(""), "operator") is None
    role = AssumedRole.of_component(Given(ARN), "operator")
    assert role is not None
    assert role.session == "nanogrid-operator"


def test_only_the_first_line_of_a_message_is_shown() -> None:
    assert first_line("  wrong.\n\nx-amz-security-token:secret") == "wrong."
    assert first_line("") == ""
    assert len(first_line("x" * 9000)) == 500
