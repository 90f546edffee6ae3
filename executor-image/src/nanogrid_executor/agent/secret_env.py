"""The code's variables with values from Secrets.

The kubelet puts them into the agent's environment. They are not in the task, which the pod's
manifest shows, and not in another container. They go to the launcher with each execution, and must
go nowhere else.
"""

from collections.abc import MutableMapping

from nanogrid import names, wire
from nanogrid.record import replace


def with_secrets(task: wire.PodTask, environ: MutableMapping[str, str]) -> wire.PodTask:
    """The task with these variables in its environment; they are removed from ``environ``.

    An optional Secret that does not exist leaves the variable of the installation, if it has one.
    """
    prefix = names.SECRET_ENV_PREFIX
    given = [name for name in environ if name.startswith(prefix)]
    secrets = {name.removeprefix(prefix): environ.pop(name) for name in given}
    return replace(task, env=task.env | secrets)
