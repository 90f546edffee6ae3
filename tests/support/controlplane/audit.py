"""API requests by client, verb and resource, from the audit log of the API server."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from nanogrid.types import Json

Key = tuple[str, str, str]
# Of the time, not of jobs: nodes, leases, and what the servers ask for at their start.
NOT_OF_JOBS: Final = frozenset({"nodes", "leases"})
# Fewer per job are not of a job: the watch of this benchmark, the checks of the operator.
LEAST: Final = 0.05
WRITES: Final = frozenset({"create", "update", "patch", "delete", "deletecollection"})


def lines_after(log: Path, offset: int) -> tuple[list[bytes], int]:
    """The whole lines of a file from an offset on, and the offset after them."""
    with log.open("rb") as file:
        file.seek(offset)
        data = file.read()
    end = data.rfind(b"\n") + 1
    return data[:end].splitlines(), offset + end


def requests(lines: Iterable[bytes]) -> Counter[Key]:
    """How often which user sent which verb to which resource."""
    found: Counter[Key] = Counter()
    for line in lines:
        event: Json = json.loads(line)
        reference = event.get("objectRef") or {}
        resource = reference.get("resource", "")
        if not resource or resource in NOT_OF_JOBS:
            continue
        if subresource := reference.get("subresource"):
            resource += f"/{subresource}"
        found[_client(event), event["verb"], resource] += 1
    return found


def _client(event: Json) -> str:
    name: str = event["user"]["username"]
    return name if not name.startswith("system:") else "kube-apiserver"


def per_job(counted: Mapping[Key, int], jobs: int) -> list[Json]:
    """The same per job, the most frequent first; without what is too rare to be a job's."""
    return [
        {"client": client, "verb": verb, "resource": resource, "perJob": round(count / jobs, 3)}
        for (client, verb, resource), count in sorted(counted.items(), key=lambda item: -item[1])
        if count / jobs >= LEAST
    ]


def writes(rows: Iterable[Json], client: str = "") -> float:
    """The writes per job of one client, or of all."""
    found: float = sum(
        r["perJob"] for r in rows if r["verb"] in WRITES and client in ("", r["client"])
    )
    return round(found, 3)
