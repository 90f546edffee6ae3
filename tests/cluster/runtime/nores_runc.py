"""runc for a host that lacks CAP_SYS_RESOURCE.

`docker run --privileged`, which kind uses, asks for every capability Docker knows, and
runc stops with "unable to apply caps" when the host cannot give one. This stands in
front of runc and takes that capability, and negative oom scores (which need it), out of
what is asked for. It removes rights and adds none.
"""

import json
import os
import sys
from typing import Any

RUNC = "/usr/sbin/runc"
CAPABILITY = "CAP_SYS_RESOURCE"


def reduce_process(process: dict[str, Any]) -> None:
    """Takes the capability and a negative oom score out of a process description."""
    for names in (process.get("capabilities") or {}).values():
        if CAPABILITY in names:
            names.remove(CAPABILITY)
    if process.get("oomScoreAdj", 0) < 0:
        process["oomScoreAdj"] = 0


def rewrite(path: str, part: str | None) -> None:
    """Reduces the process description in a file: all of it, or one part of it."""
    with open(path) as file:
        content = json.load(file)
    reduce_process(content[part] if part else content)
    with open(path, "w") as file:
        json.dump(content, file)


def value_of(words: list[str], *options: str) -> str | None:
    """The value of an option given as `--name value` or `--name=value`."""
    for index, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in options:
            return value if equals else words[index + 1]
    return None


def main(words: list[str]) -> None:
    """Edits what this call of runc would read, then becomes runc."""
    if "create" in words or "run" in words:
        bundle = value_of(words, "--bundle", "-b") or "."
        rewrite(os.path.join(bundle, "config.json"), "process")
    if "exec" in words:
        process = value_of(words, "--process", "-p")
        if process:
            rewrite(process, None)
    os.execv(RUNC, [RUNC, *words])


if __name__ == "__main__":
    main(sys.argv[1:])
