"""A small document of `make bench`, of two rounds."""

import pytest

from nanogrid.types import Json


def a_round(factor: float, **rows: Json) -> Json:
    """A round in which all times are longer by a factor: load of the machine."""
    longer = {
        key.replace("_", "-"): {name: value * factor for name, value in row.items()}
        for key, row in rows.items()
    }
    return {
        "rows": longer, "busy": 0.1, "steal": 0.0, "load": 2.0, "foreign": factor > 1,
        "failed": {}, "seconds": 30.0,
    }  # fmt: skip


@pytest.fixture
def document() -> Json:
    """Two rounds, of which the second one took twice as long; one burst; copies."""
    rows = {
        "pod": {"first": 300.0, "terminal": 1800.0},
        "pod_volume": {"first": 600.0, "terminal": 2000.0},
        "pod_init": {"first": 1400.0, "terminal": 3400.0},
        "pod_sync": {"first": 1600.0, "terminal": 3500.0},
        "batch": {"first": 300.0, "terminal": 2800.0},
        "inline": {"first": 660.0, "result": 700.0, "terminal": 710.0},
        "s3_init": {"first": 2000.0, "result": 2050.0, "terminal": 2060.0},
    }
    machine = {"cpu": "a processor", "cores": 2, "memoryGib": 8.0, "kernel": "6.1"}
    meta = {"date": "2026-12-01 09:00 UTC", "commit": "abc1234", "quick": True, "seconds": 170}
    meta |= {"kubernetes": "v1.34.4", "nodes": 3, "machine": machine}
    burst = {"round": 0, "cold": 0}
    window = {"jobs": 60, "cpuMillis": 900.0, "tokenReviews": 60.0, "peakMebibytes": 150.0}
    window |= {"requests": {"POST": 121.0, "PATCH": 61.0, "GET": 0.4, "STREAM": 3.0}}
    copies = [
        {"files": files, "title": title, "client": client, "round": 0, "seconds": seconds,
         "cpuSeconds": 1.0, "peakMebibytes": peak, "bytes": 10**8}
        for files, title, client, seconds, peak in (
            ("small", "5,000 × 20 KiB", "sync", 5.0, 50.0),
            ("small", "5,000 × 20 KiB", "s5cmd", 4.5, 60.0),
            ("large", "1 × 1,024 MiB", "sync", 4.0, 80.0),
            ("large", "1 × 1,024 MiB", "s5cmd", 2.0, 60.0),
            ("part", "1 × 128 MiB", "sync", 1.0, 78.0),
        )
    ]  # fmt: skip
    return {
        "meta": meta,
        "skipped": {"warm": "no pools here", "pools": "no pools here"},
        "latency": {"rounds": [a_round(1.0, **rows), a_round(2.0, **rows)]},
        "bursts": [
            burst | {"subject": "burst-pods", "jobs": 60, "terminal": [9e3, 2e4], "results": []},
            burst | {"subject": "burst-jobs", "jobs": 60, "terminal": [1e4, 2.4e4],
                     "results": [9.9e3, 2.3e4]},
        ],
        "operator": {"cold": [window]},
        "sync": copies,
    }  # fmt: skip
