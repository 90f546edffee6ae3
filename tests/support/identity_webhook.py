"""What the EKS identity webhook does to a pod whose service account has a role.

The webhook knows two methods: IRSA (a role in an annotation of the service account) and EKS Pod
Identity (an association in EKS). Both leave out the containers that the annotation names, init
containers included: https://github.com/aws/amazon-eks-pod-identity-webhook
"""

import copy
import csv
from dataclasses import dataclass

from nanogrid.types import Json

SKIP = "eks.amazonaws.com/skip-containers"


@dataclass(frozen=True)
class Method:
    """What a container gets: variables, and the mount of a token for an audience."""

    variables: dict[str, str]
    volume: str
    directory: str
    audience: str


_IRSA_DIR = "/var/run/secrets/eks.amazonaws.com/serviceaccount"
_AGENT_DIR = "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount"
IRSA = Method(
    {
        "AWS_STS_REGIONAL_ENDPOINTS": "regional",
        "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/nanogrid-sandbox",
        "AWS_WEB_IDENTITY_TOKEN_FILE": f"{_IRSA_DIR}/token",
    },
    "aws-iam-token",
    _IRSA_DIR,
    "sts.amazonaws.com",
)
POD_IDENTITY = Method(
    {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1/credentials",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": f"{_AGENT_DIR}/eks-pod-identity-token",
    },
    "eks-pod-identity-token",
    _AGENT_DIR,
    "pods.eks.amazonaws.com",
)
METHODS = {"IRSA": IRSA, "Pod Identity": POD_IDENTITY}


def mutate(pod: Json, method: Method = IRSA) -> Json:
    """A copy of the pod as the API server stores it."""
    found = copy.deepcopy(pod)
    spec = found["spec"]
    # As in the webhook: one line of CSV, and blanks count.
    text = found["metadata"].get("annotations", {}).get(SKIP, "")
    skipped = {name for row in csv.reader([text]) for name in row}
    for container in spec.get("initContainers", []) + spec["containers"]:
        if container["name"] not in skipped:
            _add(container, method)
    token = {"audience": method.audience, "expirationSeconds": 86400, "path": "token"}
    source = {"projected": {"sources": [{"serviceAccountToken": token}]}}
    spec["volumes"].append({"name": method.volume, **source})
    return found


def _add(container: Json, method: Method) -> None:
    variables = [{"name": name, "value": value} for name, value in method.variables.items()]
    container.setdefault("env", []).extend(variables)
    mount = {"name": method.volume, "readOnly": True, "mountPath": method.directory}
    container.setdefault("volumeMounts", []).append(mount)


def holders(pod: Json, method: Method = IRSA) -> list[str]:
    """The containers that have the role: one of its variables, or the mount of its token."""
    spec = pod["spec"]
    names = method.variables.keys() - {"AWS_STS_REGIONAL_ENDPOINTS"}
    return [
        container["name"]
        for container in spec.get("initContainers", []) + spec["containers"]
        if any(e["name"] in names for e in container.get("env", []))
        or any(m["name"] == method.volume for m in container.get("volumeMounts", []))
    ]
