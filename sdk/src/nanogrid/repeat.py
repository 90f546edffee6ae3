"""What a job that runs again has of the job that it repeats. Pure, standard library only."""

from typing import Final

from nanogrid import names
from nanogrid.types import Json

# The new job has an id of its own and starts at once, whatever stopped the old one.
NOT_REPEATED: Final = ("requestId", "cancel", "suspend")

# Labels by which a tool finds the objects that it has applied. It deletes those that it does not
# find in its source, so a copy of these labels would let it delete the new job.
OWNER_LABELS: Final = frozenset({"app.kubernetes.io/instance", "app.kubernetes.io/managed-by"})
# The same for all labels of a domain and its subdomains: Argo CD, Flux, Helm, ApplySets of kubectl,
# Fleet and other users of Wrangler, kapp, Config Sync.
OWNER_DOMAINS: Final = (
    "argoproj.io",
    "fluxcd.io",
    "helm.sh",
    "applyset.kubernetes.io",
    "cattle.io",
    "k14s.io",
    "configsync.gke.io",
)
# All other annotations describe the old object, such as last-applied-configuration.
ANNOTATIONS: Final = (
    names.ANNOTATION_KEEP,
    names.ANNOTATION_REQUEST_DIGEST,
    names.ANNOTATION_FUNCTION_VERSION,
)


def repeated(job: Json, name: str) -> Json:
    """A new job of this name that runs the same as another one, in its namespace.

    Its labels are those of the old job, without those of tools that applied or restored it.
    """
    old = job["metadata"]
    labels, annotations = old.get("labels") or {}, old.get("annotations") or {}
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {
            "name": name,
            "namespace": old["namespace"],
            "labels": {key: value for key, value in labels.items() if _copied(key)},
            "annotations": {key: annotations[key] for key in ANNOTATIONS if key in annotations},
        },
        "spec": {key: value for key, value in job["spec"].items() if key not in NOT_REPEATED},
    }


def _copied(label: str) -> bool:
    """Whether the new job has a label too. It does not come from the backup of the old one."""
    return label not in names.RESTORE_LABELS and not of_owner(label)


def of_owner(label: str) -> bool:
    """Whether a tool finds its objects by this label."""
    domain = label.partition("/")[0] if "/" in label else ""
    own = (domain == owner or domain.endswith(f".{owner}") for owner in OWNER_DOMAINS)
    return label in OWNER_LABELS or any(own)
