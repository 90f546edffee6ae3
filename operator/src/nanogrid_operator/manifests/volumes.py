"""The volumes of a sandbox pod, and the room on the node's disk that its containers get. Pure.

docs/limits.md lists every path that user code can write, with its bound.
"""

from typing import Any, Final

from nanogrid import names
from nanogrid.api.job import ExecutionJob, Spec
from nanogrid.quantity import quantity
from nanogrid_operator.manifests import report_token
from nanogrid_operator.settings import Settings

MIB: Final = 1 << 20
RUN_MIB: Final = 96
# The launcher forwards 1 MiB of each stream; the kubelet keeps 5 files of 10 MiB per container.
LOG_MIB: Final = 64
TRUSTED_REQUEST: Final = "16Mi"
EPHEMERAL: Final = "ephemeral-storage"

# The kubelet makes a file for each container's termination message: on the node's disk, writable
# for all, and counted by no limit. Only trusted containers have something to write there. For the
# others it is below a directory that the container runtime masks before their first process.
TERMINATION_DIR: Final = "/sys/firmware"
TERMINATION_FILE: Final = f"{TERMINATION_DIR}/termination-log"

# What the sandbox reads and no process writes: its /etc/passwd, and the place of its termination
# message. sysfs has no file that the runtime could mount the message on, and it can make none in a
# volume that is read-only, so this volume has one. No credential may ever be in it.
FIXED: Final = "fixed"
_USERS: Final = "passwd"
_FIXED_FILES: Final = {
    _USERS: f"metadata.annotations['{names.ANNOTATION_PASSWD}']",
    "termination-log": "metadata.name",  # any text: it is never seen
}


def volumes(job: ExecutionJob, settings: Settings) -> list[dict[str, Any]]:
    """All volumes of the pod, each with a limit of its size."""
    name, uid = job.metadata["name"], job.metadata["uid"]
    return [
        _empty_dir("workspace", workspace_size(job.spec, settings), settings.storage_medium),
        _empty_dir("run", f"{RUN_MIB}Mi"),
        _empty_dir("tmp", settings.tmp_size, settings.storage_medium),
        {
            "name": FIXED,
            "downwardAPI": {
                "items": [
                    {"path": path, "fieldRef": {"fieldPath": field}}
                    for path, field in _FIXED_FILES.items()
                ]
            },
        },
        report_token.volume("token", name, uid, settings),
    ]


def workspace_size(spec: Spec, settings: Settings) -> str:
    """The size of /app."""
    limits = spec.resources.limits if spec.resources else None
    given = limits.ephemeral_storage if limits else None
    return settings.workspace_size if given is None else str(given)


def _empty_dir(name: str, size: str, medium: str = "") -> dict[str, Any]:
    source = {"sizeLimit": size} | ({"medium": medium} if medium else {})
    return {"name": name, "emptyDir": source}


def mount(name: str, path: str, read_only: bool = False) -> dict[str, Any]:
    """A mount of one volume."""
    found: dict[str, Any] = {"name": name, "mountPath": path}
    if read_only:
        found["readOnly"] = True
    return found


def passwd_mount() -> dict[str, Any]:
    """The mount of the sandbox's /etc/passwd."""
    return {**mount(FIXED, "/etc/passwd", read_only=True), "subPath": _USERS}


def termination_mount() -> dict[str, Any]:
    """The mount of the directory with the termination message of a container of foreign code."""
    return mount(FIXED, TERMINATION_DIR, read_only=True)


def trusted_storage() -> tuple[str, str]:
    """Limit and request of ephemeral storage of a container of NanoGrid."""
    return f"{RUN_MIB + LOG_MIB}Mi", TRUSTED_REQUEST


def sandbox_storage(spec: Spec, settings: Settings) -> tuple[str, str]:
    """Limit and request of ephemeral storage of the sandbox container.

    The limit is above the sum of its volumes: so the volume that is full ends the pod, and the
    kubelet's message names it. A larger request is cut to the limit.
    """
    sizes = (workspace_size(spec, settings), settings.tmp_size)
    on_disk = sizes if not settings.storage_medium else ()
    size = sum(quantity(text) for text in on_disk)
    limit = f"{-(-int(size) // MIB) + LOG_MIB}Mi"
    requests = spec.resources.requests if spec.resources else None
    given = requests.ephemeral_storage if requests else None
    request = settings.ephemeral_request if given is None else str(given)
    return limit, min(request, limit, key=quantity)
