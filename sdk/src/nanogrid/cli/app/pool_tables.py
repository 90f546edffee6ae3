"""Tables of pools. Pure."""

from collections.abc import Sequence

from nanogrid import names
from nanogrid.cli.app.formatting import age, cell, duration
from nanogrid.cli.app.output import columns, with_namespaces
from nanogrid.hints import Surface, reworded
from nanogrid.types import Json
from nanogrid.visible_text import printable_lines

READY = "Ready"


def pool_name(pool: Json) -> str:
    """The name that -o name shows; kubectl accepts it."""
    return f"{names.POOL_SINGULAR}.{names.GROUP}/{pool['metadata']['name']}"


def ready_condition(pool: Json) -> Json:
    """The condition that says whether pods wait; empty before the operator has seen the pool."""
    conditions = (pool.get("status") or {}).get("conditions") or []
    return next((one for one in conditions if one["type"] == READY), {})


def pools_table(
    pools: Sequence[Json], now: float, wide: bool = False, all_namespaces: bool = False
) -> str:
    """A table of pools; ``wide`` adds the reason of Ready, the image, and the preloaded modules."""
    head = ["NAME", "READY", "TARGET", "STARTING", "CLAIMED", "CLAIMS", "MISSES", "P50", "AGE"]
    rows = [head + (["REASON", "IMAGE", "PRELOAD"] if wide else [])]
    for pool in pools:
        spec, status = pool.get("spec") or {}, pool.get("status") or {}
        row = [
            pool["metadata"]["name"],
            *(cell(status.get(key)) for key in ("ready", "target", "starting", "claimed")),
            *(cell(status.get(key)) for key in ("claims", "misses")),
            duration(status.get("claimP50Millis")),
            age(pool["metadata"].get("creationTimestamp"), now),
        ]
        more = [
            str(ready_condition(pool).get("reason") or ""),
            _image(spec),
            ",".join(spec.get("preload") or []),
        ]
        rows.append(row + (more if wide else []))
    if all_namespaces:
        rows = with_namespaces(rows, [str(pool["metadata"]["namespace"]) for pool in pools])
    return columns(rows)


def pool_card(pool: Json, now: float) -> str:
    """The details of one pool, one a line."""
    spec, status, ready = pool.get("spec") or {}, pool.get("status") or {}, ready_condition(pool)
    bounds = [spec[key] for key in ("minReady", "maxReady") if key in spec]
    seconds = spec.get("maxAgeSeconds")
    fields = [
        ("name", f"{pool['metadata'].get('namespace', '')}/{pool['metadata']['name']}"),
        ("mode", cell(spec.get("mode"))),
        ("state", str(ready.get("reason") or "not processed yet")),
        ("message", reworded(str(ready.get("message") or ""), Surface.CLI)),
        ("ready", _of(status.get("ready"), status.get("target"))),
        ("starting", cell(status.get("starting"))),
        ("claimed", cell(status.get("claimed"))),
        ("claims", cell(status.get("claims"))),
        ("misses", cell(status.get("misses"))),
        ("claim p50", duration(status.get("claimP50Millis"))),
        ("size", " to ".join(map(str, bounds))),
        ("image", _image(spec)),
        ("limits", _amounts(spec)),
        ("preload", ", ".join(spec.get("preload") or [])),
        ("jobs", _selector(spec.get("jobSelector"))),
        ("max age", "" if seconds is None else duration(1000 * seconds)),
        ("age", age(pool["metadata"].get("creationTimestamp"), now)),
    ]
    return printable_lines("".join(f"{key:<11} {value}\n" for key, value in fields if value))


def _image(spec: Json) -> str:
    return str((spec.get("runtime") or {}).get("image") or "")


def _of(ready: int | None, target: int | None) -> str:
    return "" if ready is None else f"{ready} of {target}"


def _amounts(spec: Json) -> str:
    limits = (spec.get("resources") or {}).get("limits") or {}
    return ", ".join(f"{key} {value}" for key, value in limits.items())


def _selector(selector: Json | None) -> str:
    """The jobs that a selector matches, in the form of kubectl."""
    if selector is None:
        return ""
    found = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    for one in selector.get("matchExpressions") or []:
        values = f" ({','.join(one['values'])})" if one.get("values") else ""
        found.append(f"{one['key']} {one['operator']}{values}")
    return ", ".join(found) or "all"
