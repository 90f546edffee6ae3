"""Functions as rows of text, as the API server and the gateway show them. Pure."""

from collections.abc import Sequence
from typing import Any, Final

from nanogrid import names
from nanogrid.cli.output import columns
from nanogrid.cli.times import age, amount, duration

Json = dict[str, Any]
DIGEST_SHOWN: Final = 12
RECENT_SHOWN: Final = 5


def view(found: Json) -> Json:
    """The same keys for a Function object and for a function of the gateway; None: not known."""
    if "spec" not in found:
        kept = ("memory", "timeout", "runs", "lastRun", "recommendation", "runtime")
        shown = {key: found.get(key) for key in kept}
        head = {"namespace": "", "name": found["functionId"], "created": found.get("createdAt")}
        newest = found.get("version")
        return head | shown | {"versions": newest, "newest": newest, "recent": []}
    spec, status = found["spec"], found.get("status") or {}
    metadata = found["metadata"]
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


def function_name(found: Json) -> str:
    """What -o name shows, fit for kubectl."""
    return f"{names.FUNCTION_SINGULAR}.{names.GROUP}/{view(found)['name']}"


def functions_table(
    found: Sequence[Json], now: float, wide: bool = False, all_namespaces: bool = False
) -> str:
    """Functions; ``wide`` adds limits and runtime."""
    head = ["NAME", "VERSIONS", "RUNS", "LAST", "RECOMMENDED", "AGE"]
    rows = [head + (["NEWEST", "MEMORY", "TIMEOUT", "RUNTIME"] if wide else [])]
    for one in map(view, found):
        last, advice = one["lastRun"] or {}, one["recommendation"] or {}
        row = [
            one["name"],
            _text(one["versions"]),
            _text(one["runs"]),
            str(last.get("status") or ""),
            str(advice.get("memory") or ""),
            age(one["created"], now),
        ]
        timeout = "" if one["timeout"] is None else f"{one['timeout']}s"
        more = [_text(one["newest"]), _text(one["memory"]), timeout, _text(one["runtime"])]
        rows.append(row + (more if wide else []))
    if all_namespaces:
        spaces = ["NAMESPACE", *(str(view(one)["namespace"]) for one in found)]
        rows = [[space, *row] for space, row in zip(spaces, rows, strict=True)]
    return columns(rows)


def function_card(found: Json, now: float) -> str:
    """One function, a fact a line, and its newest runs."""
    one = view(found)
    last, advice = one["lastRun"] or {}, one["recommendation"] or {}
    said = f"{last.get('status', '')} {last.get('reason', '')}, {age(last.get('time'), now)} ago"
    based = f"{advice.get('memory')}, from {advice.get('basedOn')} runs with a p95 peak of "
    facts = [
        ("name", "/".join(part for part in (one["namespace"], one["name"]) if part)),
        ("versions", _text(one["versions"])),
        ("newest", _text(one["newest"])),
        ("runtime", _text(one["runtime"])),
        ("memory", _text(one["memory"])),
        ("timeout", "" if one["timeout"] is None else f"{one['timeout']}s"),
        ("runs", _text(one["runs"])),
        ("last run", f"{said} ({last.get('requestId', '')})" if last else ""),
        ("recommended", based + amount(advice.get("p95PeakBytes")) if advice else ""),
        ("age", age(one["created"], now)),
    ]
    text = "".join(f"{key:<11} {value}\n" for key, value in facts if value)
    recent = one["recent"][:RECENT_SHOWN]
    return text + ("\n" + _recent_table(recent, now) if recent else "")


def _recent_table(recent: Sequence[Json], now: float) -> str:
    rows = [["JOB", "VERSION", "STATUS", "REASON", "DURATION", "PEAK", "LIMIT", "AGE"]]
    for one in recent:
        rows.append(
            [
                str(one.get("job") or one.get("requestId") or ""),
                _text(one.get("version")),
                str(one.get("status") or ""),
                str(one.get("reason") or ""),
                duration(one.get("durationMillis")),
                amount(one.get("peakMemoryBytes")),
                amount(one.get("memoryLimitBytes")),
                age(one.get("time"), now),
            ]
        )
    return columns(rows)


def versions_of(found: Json) -> list[Json]:
    """The versions of a Function object as the gateway shows them, the newest first."""
    shown = []
    for one in sorted(found["spec"]["versions"], key=lambda one: -int(one["version"])):
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


def versions_table(versions: Sequence[Json], now: float) -> str:
    """Versions, the newest first."""
    rows = [["VERSION", "AGE", "SHA256", "KEY", "COMMAND"]]
    for one in versions:
        rows.append(
            [
                _text(one["version"]),
                age(one.get("createdAt"), now),
                str(one["sha256"])[:DIGEST_SHOWN],
                str(one["s3Key"]),
                " ".join(one.get("command") or []),
            ]
        )
    return columns(rows)


def _text(value: Any) -> str:
    return "" if value is None else str(value)
