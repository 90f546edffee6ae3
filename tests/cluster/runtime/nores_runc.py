"""runc for a host that lacks CAP_SYS_RESOURCE.

`docker run --privileged`, which kind uses, requests every capability that Docker knows. runc fails
with "unable to apply caps" if the host cannot give one. This wrapper removes that capability, and
negative oom scores (which need it), from the request and then runs runc. It only removes rights.
"""

import json
import os
import sys
from typing import Any

RUNC = "/usr/sbin/runc"
CAPABILITY = "CAP_SYS_RESOURCE"


def reduce_process(process: dict[str, Any]) -> None:
    """Removes the capability and a negative oom score from a process description."""
    for names in (process.get("capabilities") or {}).values():
        if CAPABILITY in names:
            names.remove(CAPABILITY)
    if process.get("oomScoreAdj", 0) < 0:
        process["oomScoreAdj"] = 0


def rewrite(path: str, part: str | None) -> None:
    """Reduces the process description in a file: the whole file, or one part of it."""
    with open(path) as file:
        content = json.load(file)
    reduce_process(content[part] if part else content)
    with open(path, "w") as file:
        json.dump(content, file)


def value_of(args: list[str], *options: str) -> str | None:
    """The value of an option given as `--name value` or `--name=value`."""
    for index, arg in enumerate(args):
        name, equals, value = arg.partition("=")
        if name in options:
            return value if equals else args[index + 1]
    return None


def main(args: list[str]) -> None:
    """Edits the file that this call of runc reads, then executes runc."""
    if "create" in args or "run" in args:
        bundle = value_of(args, "--bundle", "-b") or "."
        rewrite(os.path.join(bundle, "config.json"), "process")
    if "exec" in args:
        process = value_of(args, "--process", "-p")
        if process:
            rewrite(process, None)
    os.execv(RUNC, [RUNC, *args])


if __name__ == "__main__":
    main(sys.argv[1:])
