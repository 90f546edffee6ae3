"""The signature of a request to STS, compared with botocore's."""

import calendar
import time

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from nanogrid_executor.storage.signature import FORM, Keys, signed_headers

BODY = b"Action=AssumeRole&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fx&ExternalId=a%2Fb%3D"


@pytest.mark.parametrize("token", ["", "a/session+token=="])
@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("sts.ap-northeast-2.amazonaws.com", "ap-northeast-2"),
        ("sts.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("127.0.0.1:8333", "us-east-1"),
        ("[fd00::1]:8333", "us-east-1"),
    ],
)
def test_it_is_that_of_botocore(host: str, region: str, token: str) -> None:
    request = AWSRequest("POST", f"http://{host}/", data=BODY, headers={"content-type": FORM})
    SigV4Auth(Credentials("AKIA", "sec/ret+", token or None), "sts", region).add_auth(request)
    moment = request.headers["X-Amz-Date"]
    now = calendar.timegm(time.strptime(moment, "%Y%m%dT%H%M%SZ"))

    keys = Keys("AKIA", "sec/ret+", token)
    headers = signed_headers(host, BODY, keys, region=region, service="sts", now=now)

    assert headers["authorization"] == request.headers["Authorization"]
    assert headers["x-amz-date"] == moment
    assert headers.get("x-amz-security-token", "") == token
