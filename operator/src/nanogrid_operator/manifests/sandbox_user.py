"""The user that all containers of a sandbox pod run as. Pure.

The kernel counts inotify instances, pages of pipes, keys, message queues and processes per user
ID, on the whole node. So each job has its own one: see decision record 017. The containers of a
pod share it, so that the agent can read what user code wrote with mode 0600.
"""

import hashlib
from typing import Final

from nanogrid.api.job import Spec
from nanogrid_operator.settings import Settings

NAME: Final = "nanogrid"
HOME: Final = "/tmp"  # noqa: S108 a volume of the sandbox
# A user namespace has the IDs 0 to 65535. Those of system users and of platform pods are left out.
MAPPED_START: Final = 10_000
MAPPED_COUNT: Final = 50_000


def has_user_namespace(spec: Spec, settings: Settings) -> bool:
    """Whether the pod has a user namespace of its own.

    The platform team's choice is about the installation's own RuntimeClass: another one may lack
    user namespaces, and the kubelet would refuse the pod.
    """
    own = spec.runtime.runtime_class_name if spec.runtime else None
    return not settings.host_users and own in (None, settings.runtime_class)


def user_id(job_uid: str, spec: Spec, settings: Settings) -> int:
    """The user ID of the job's pods: the same for all attempts, different for other jobs.

    The digest is of the job's uid, which the API server makes. So no one can choose it.
    """
    start, count = settings.uid_start, settings.uid_count
    if has_user_namespace(spec, settings):
        # Jobs still differ if an older API server drops hostUsers from the pod.
        start, count = MAPPED_START, MAPPED_COUNT
    digest = hashlib.sha256(job_uid.encode()).digest()
    return start + int.from_bytes(digest[:8], "big") % count


def passwd(uid: int) -> str:
    """The sandbox's /etc/passwd: libraries look up the name and the home of their user."""
    return (
        "root:x:0:0:root:/root:/usr/sbin/nologin\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
        f"{NAME}:x:{uid}:{uid}::{HOME}:/bin/sh\n"
    )
