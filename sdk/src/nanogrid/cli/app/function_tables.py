"""Tables of functions, from the API server or the gateway. Pure."""

from collections.abc import Sequence
from typing import Final

from nanogrid import names
from nanogrid.cli.app.formatting import age, amount, cell, duration
from nanogrid.cli.app.output import columns, with_namespaces
from nanogrid.plurals import counted
from nanogrid.types import Json

DIGEST_SHOWN: Final = 12
RECENT_SHOWN: Final = 5


def common_fields(function: Json) -> Json:
    """The same keys for a Function object and for a function of the gateway; None if unknown."""
    if "spec" not in function:
        kept = ("memory", "timeout", "runs", "lastRun", "recommendation", "runtime")
        shown = {key: function.get(key) for key in kept}
        head = {
            "namespace": "",
            "name": function["functionId"],
            "created": function.get("createdAt"),
        }
        newest = function.get("version")
        return head | shown | {"versions": newest, "newest": newest, "recent": []}
    spec, status = function["spec"], function.get("status") or {}
    metadata = function["metadata"]
    image = (spec.get("runtime") or {}).get("image")
    annotated = (metadata.get("annotations") or {}).get(names.ANNOTATION_RUNTIME)
    return {
        "namespace": metadata.get("namespace", ""),
        "name": metadata["name"],
        "created": metadata.get("creationTimestamp"),
        "memory": ((spec.get("resources") or {}).get("limits") or {}).get("memory"),
        "timeout": (spec.get("timeouts") or {}).get("executionSeconds"),
        "runs": status.get("runs", 0),
        "lastRun": status.get("lastRun"),
        "recommendation": status.get("recommendation"),
        "runtime": image or annotated,
        "versions": len(spec["versions"]),
        "newest": max(int(one["version"]) for one in spec["versions"]),
        "recent": status.get("recent") or [],
    }


def function_name(function: Json) -> str:
    """The name that -o name shows; kubectl accepts it."""
    return f"{names.FUNCTION_SINGULAR}.{names.GROUP}/{common_fields(function)['name']}"


def functions_table(
    functions: Sequence[Json], now: float, wide: bool = False, all_namespaces: bool = False
) -> str:
    """A table of functions; ``wide`` adds newest version, limits and runtime."""
    head = ["NAME", "VERSIONS", "RUNS", "LAST", "RECOMMENDED", "AGE"]
    rows = [head + (["NEWEST", "MEMORY", "TIMEOUT", "RUNTIME"] if wide else [])]
    for one in map(common_fields, functions):
        last, advice = one["lastRun"] or {}, one["recommendation"] or {}
        row = [
            one["name"],
            cell(one["versions"]),
            cell(one["runs"]),
            str(last.get("status") or ""),
            str(advice.get("memory") or ""),
            age(one["created"], now),
        ]
        timeout = "" if one["timeout"] is None else f"{one['timeout']}s"
        more = [cell(one["newest"]), cell(one["memory"]), timeout, cell(one["runtime"])]
        rows.append(row + (more if wide else []))
    if all_namespaces:
        rows = with_namespaces(rows, [str(common_fields(one)["namespace"]) for one in functions])
    return columns(rows)


def function_card(function: Json, now: float) -> str:
    """The details of one function, one a line, and its newest runs."""
    one = common_fields(function)
    last, advice = one["lastRun"] or {}, one["recommendation"] or {}
    last_run = (
        f"{last.get('status', '')} {last.get('reason', '')}, {age(last.get('time'), now)} ago"
    )
    runs = counted(advice.get("basedOn") or 0, "run")
    based_on = f"{advice.get('memory')}, based on {runs} with a p95 peak of "
    fields = [
        ("name", "/".join(part for part in (one["namespace"], one["name"]) if part)),
        ("versions", cell(one["versions"])),
        ("newest", cell(one["newest"])),
        ("runtime", cell(one["runtime"])),
        ("memory", cell(one["memory"])),
        ("timeout", "" if one["timeout"] is None else f"{one['timeout']}s"),
        ("runs", cell(one["runs"])),
        ("last run", f"{last_run} ({last.get('requestId', '')})" if last else ""),
        ("recommended", based_on + amount(advice.get("p95PeakBytes")) if advice else ""),
        ("age", age(one["created"], now)),
    ]
    card = "".join(f"{key:<11} {value}\n" for key, value in fields if value)
    recent = one["recent"][:RECENT_SHOWN]
    return card + ("\n" + _recent_table(recent, now) if recent else "")


def _recent_table(recent: Sequence[Json], now: float) -> str:
    rows = [["JOB", "VERSION", "STATUS", "REASON", "DURATION", "PEAK", "LIMIT", "AGE"]]
    for one in recent:
        rows.append(
            [
                str(one.get("job") or one.get("requestId") or ""),
                cell(one.get("version")),
                str(one.get("status") or ""),
                str(one.get("reason") or ""),
                duration(one.get("durationMillis")),
                amount(one.get("peakMemoryBytes")),
                amount(one.get("memoryLimitBytes")),
                age(one.get("time"), now),
            ]
        )
    return columns(rows)


def versions_of(function: Json) -> list[Json]:
    """The versions of a Function object in the format of the gateway, newest first."""
    shown = []
    for one in sorted(function["spec"]["versions"], key=lambda one: -int(one["version"])):
        bucket = one["s3"].get("bucket")
        line = {
            "version": one["version"],
            "s3Key": one["s3"]["key"],
            "sha256": one["s3"]["sha256"],
            "createdAt": one.get("createdAt"),
        }
        line |= {"bucket": bucket} if bucket else {}
        shown.append(line | ({"command": one["command"]} if one.get("command") else {}))
    return shown


def versions_table(versions: Sequence[Json], now: float, wide: bool = False) -> str:
    """A table of versions; ``wide`` shows the whole checksum."""
    rows = [["VERSION", "AGE", "SHA256", "KEY", "COMMAND"]]
    for one in versions:
        rows.append(
            [
                cell(one["version"]),
                age(one.get("createdAt"), now),
                str(one["sha256"])[: None if wide else DIGEST_SHOWN],
                str(one["s3Key"]),
                " ".join(one.get("command") or []),
            ]
        )
    return columns(rows)
