"""What keeps the containers of a pod from starting, and whether trying again can help. Pure.

The kubelet tries again for ever, except with a container of a batch job that the runtime created
but could not start. The kubelet's words are in the state of the container, or in Events.
"""

from typing import Final, NamedTuple

from nanogrid.lifecycle import NOT_STARTED
from nanogrid.reasons import Reason
from nanogrid_operator.model.pod_facts import Container, Ended, Pod

# The kubelet's reasons: https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/container/sync_result.go
# and pkg/kubelet/images/types.go
PULL_REASONS: Final = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "ImageInspectError",
        "InvalidImageName",
        "ErrImageNeverPull",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)
CONFIG_REASONS: Final = frozenset({"CreateContainerConfigError"})
START_REASONS: Final = frozenset(
    {
        "CreateContainerError",
        "RunContainerError",
        "PreCreateHookError",
        "PreStartHookError",
        "PostStartHookError",
    }
)
INVALID_NAME: Final = "InvalidImageName"
RESTARTING: Final = "CrashLoopBackOff"
# A memory limit that is too small: of runc, of runc with cgroup v1, of crun.
_MEMORY: Final = ("memory limit too low", "memory.limit_in_bytes", "memory limit could be too low")
# What the runtime refuses for what the container is: its command, devices, mounts, profiles. And a
# RuntimeClass whose handler the node does not have.
_REFUSALS: Final = (
    "oci runtime",
    "container create failed",
    "unable to set memory limit",
    "failed to generate",
    "no command specified",
    "executable file",
    "no runtime for",
    "unknown runtime handler",
)
# What can be over at the next try, whoever says it.
_TRANSIENT: Final = (
    "deadline exceeded",
    "deadlineexceeded",
    "eof",
    "timeout",
    "timed out",
    "cancel",
    "temporarily",
    "try again",
    "busy",
    "no space left",
    "too many open files",
    "cannot allocate memory",
    "unavailable",
    "connection",
    "is reserved for",
    "already exists",
)


class Obstacle(NamedTuple):
    """What keeps a pod from starting; ``lasting``: trying again does not help."""

    reason: Reason
    detail: str
    lasting: bool


def is_lasting(text: str) -> bool:
    """Whether the words of kubelet or runtime name something that does not change by itself."""
    text = text.lower()
    if any(sign in text for sign in _MEMORY):
        return True
    if any(sign in text for sign in _TRANSIENT):
        return False
    return any(sign in text for sign in _REFUSALS)


def not_started(container: Container) -> Ended | None:
    """How the runtime failed to start a container, also while the kubelet waits to try again."""
    ended = container.ended
    if container.waiting_reason == RESTARTING:
        ended = container.last
    return ended if ended is not None and ended.reason in NOT_STARTED else None


def end_text(name: str, ended: Ended) -> str:
    """How a container ended, in the words of kubelet and runtime."""
    return f"container {name}: {ended.reason} (exit code {ended.exit_code}): {ended.message}"


def image_refused(ended: Ended) -> bool:
    """Whether the runtime could not start a container for what its image is or lacks."""
    text = ended.message.lower()
    return ended.reason in NOT_STARTED and not any(sign in text for sign in _MEMORY + _TRANSIENT)


def start_failed(container: Container) -> bool:
    """Whether a container does not run because it could not be started."""
    return container.waiting_reason in START_REASONS or not_started(container) is not None


def obstacle(pod: Pod) -> Obstacle | None:
    """What keeps the containers of a pod from starting, according to its status."""
    found = [o for name, c in pod.containers.items() if (o := _of_container(pod, name, c))]
    return next((o for o in found if o.lasting), found[0] if found else None)


def _of_container(pod: Pod, name: str, container: Container) -> Obstacle | None:
    reason = container.waiting_reason
    failed = not_started(container)
    if failed is not None:
        lasting = not pod.restarts or is_lasting(failed.message)
        return Obstacle(Reason.START_FAILED, end_text(name, failed), lasting)
    detail = f"container {name}: {reason} {container.waiting_message}"
    if reason in START_REASONS:
        return Obstacle(Reason.START_FAILED, detail, is_lasting(container.waiting_message))
    if reason in PULL_REASONS:
        return Obstacle(Reason.IMAGE_PULL_FAILED, detail, reason == INVALID_NAME)
    if reason in CONFIG_REASONS:
        return Obstacle(Reason.CONFIG_ERROR, detail, lasting=False)
    return None
