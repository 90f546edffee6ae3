"""What the EKS identity webhook does to a pod whose service account has a role (IRSA).

The webhook adds the role to every container, init containers included, except those that the
annotation names: https://github.com/aws/amazon-eks-pod-identity-webhook
"""

import copy
import csv

from nanogrid.types import Json

SKIP = "eks.amazonaws.com/skip-containers"
ROLE_ARN = "arn:aws:iam::123456789012:role/nanogrid-sandbox"
TOKEN_VOLUME = "aws-iam-token"
TOKEN_DIR = "/var/run/secrets/eks.amazonaws.com/serviceaccount"


def mutate(pod: Json) -> Json:
    """A copy of the pod as the API server stores it."""
    found = copy.deepcopy(pod)
    spec = found["spec"]
    text = found["metadata"].get("annotations", {}).get(SKIP, "")
    skipped = {name for row in csv.reader([text], skipinitialspace=True) for name in row}
    for container in spec.get("initContainers", []) + spec["containers"]:
        if container["name"] not in skipped:
            _add_role(container)
    token = {"audience": "sts.amazonaws.com", "expirationSeconds": 86400, "path": "token"}
    source = {"projected": {"sources": [{"serviceAccountToken": token}]}}
    spec["volumes"].append({"name": TOKEN_VOLUME, **source})
    return found


def _add_role(container: Json) -> None:
    container.setdefault("env", []).extend(
        [
            {"name": "AWS_STS_REGIONAL_ENDPOINTS", "value": "regional"},
            {"name": "AWS_ROLE_ARN", "value": ROLE_ARN},
            {"name": "AWS_WEB_IDENTITY_TOKEN_FILE", "value": f"{TOKEN_DIR}/token"},
        ]
    )
    mount = {"name": TOKEN_VOLUME, "readOnly": True, "mountPath": TOKEN_DIR}
    container.setdefault("volumeMounts", []).append(mount)


def holders(pod: Json) -> list[str]:
    """The containers that have the role: its variables, or the mount of its token."""
    spec = pod["spec"]
    return [
        container["name"]
        for container in spec.get("initContainers", []) + spec["containers"]
        if any(e["name"] == "AWS_ROLE_ARN" for e in container.get("env", []))
        or any(m["name"] == TOKEN_VOLUME for m in container.get("volumeMounts", []))
    ]
