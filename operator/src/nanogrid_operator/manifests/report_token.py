"""The token that proves which job an agent reports for: where the agent finds it. Pure.

By default the kubelet projects a token of the service account, and the API server reviews it.
Reviews need a cluster-wide right. An installation without it has ``NANOGRID_REPORT_KEY``: then the
token is derived from this key and the job's uid, and a Secret of the job contains it.
"""

import base64

from nanogrid import names
from nanogrid.controller_class import labels
from nanogrid.types import Json
from nanogrid_operator.kube.objects import owner_reference
from nanogrid_operator.model.facts import Job
from nanogrid_operator.settings import Settings

FILE = "token"


def owned_objects(job: Job, settings: Settings) -> list[tuple[str, str, Json]]:
    """What a job needs before its pod, as in :func:`.session.owned_objects`."""
    if not settings.report_key:
        return []
    token = names.report_token(settings.report_key.encode(), job.uid)
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": names.report_secret(job.name, job.uid),
            "namespace": job.namespace,
            "labels": {
                "app.kubernetes.io/name": "nanogrid-report",
                "app.kubernetes.io/managed-by": names.MANAGED_BY,
                names.LABEL_JOB: job.name,
                names.LABEL_JOB_UID: job.uid,
                **names.NOT_IN_BACKUPS,
                **labels(job.controller_class),
            },
            "ownerReferences": [owner_reference(job.name, job.uid)],
        },
        "immutable": True,
        "data": {FILE: base64.b64encode(token.encode()).decode()},
    }
    return [("/api/v1", "secrets", secret)]


def volume(name: str, job_name: str, uid: str, settings: Settings) -> Json:
    """The volume with the token; only the agent mounts it."""
    if settings.report_key:
        return {"name": name, "secret": {"secretName": names.report_secret(job_name, uid)}}
    token = {"audience": names.RESULTS_AUDIENCE, "expirationSeconds": 3600, "path": FILE}
    return {"name": name, "projected": {"sources": [{"serviceAccountToken": token}]}}
