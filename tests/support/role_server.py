"""A real S3 server with its own STS: the base keys may only assume a role, which has the data."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from support.fake_sts import BASE_KEY, BASE_SECRET
from support.s3_server import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server, running_server

ROLE: Final = "arn:aws:iam::role/data-of-team-a"
FOLDER: Final = "team-a/"  # the only one that the role reaches


def _allow(action: str, *resources: str) -> dict[str, Any]:
    statement = {"Effect": "Allow", "Action": [action], "Resource": list(resources)}
    return {"Version": "2012-10-17", "Statement": [statement]}


IDENTITIES: Final = [
    {
        "name": "admin",
        "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
        "actions": ["Admin", "Read", "Write", "List"],
    },
    {
        "name": "base",
        "credentials": [{"accessKey": BASE_KEY, "secretKey": BASE_SECRET}],
        "actions": [f"sts:AssumeRole:{ROLE}"],
    },
]
TRUST: Final = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"AWS": ["arn:aws:iam::user/base", "arn:aws:iam::000000000000:user/base"]},
            "Action": ["sts:AssumeRole"],
        }
    ],
}
IAM: Final = {
    "sts": {
        "tokenDuration": "15m",
        "maxSessionLength": "12h",
        "issuer": "test",
        "signingKey": "dGVzdC1zaWduaW5nLWtleS0zMi1jaGFyYWN0ZXJzLWxvbmc=",
    },
    "policy": {"defaultEffect": "Deny", "storeType": "memory"},
    "policies": [
        {
            "name": "Data",
            "document": _allow(
                "s3:*", f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/{FOLDER}*"
            ),
        }
    ],
    "roles": [
        {
            "roleName": ROLE.rpartition("/")[2],
            "roleArn": ROLE,
            "attachedPolicies": ["Data"],
            "trustPolicy": TRUST,
        }
    ],
}


@contextmanager
def running_role_server() -> Iterator[S3Server]:
    """The server; its client is the administrator's."""
    with tempfile.TemporaryDirectory(prefix="iam") as directory:
        files = {"s3.json": {"identities": IDENTITIES}, "iam.json": IAM}
        for name, content in files.items():
            Path(directory, name).write_text(json.dumps(content))
        options = (f"-s3.config={directory}/s3.json", f"-s3.iam.config={directory}/iam.json")
        with running_server(*options) as server:
            yield server
