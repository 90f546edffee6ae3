"""The advice on memory that goes with each result: text only, no measuring."""

from typing import Final

MEGABYTE: Final = 1024 * 1024
HEADROOM: Final = 1.3
NEAR: Final = 0.85
FAR: Final = 0.5
SMALLEST_MB: Final = 16


def recommended_mb(peak: int) -> int:
    """A limit in MB with 30 % of room above the peak, rounded up to a size people write."""
    return nice_mb(peak * HEADROOM)


def nice_mb(count: float) -> int:
    """Bytes as megabytes, rounded up to a multiple of 16 (32, 64, ... for larger sizes)."""
    wanted = max(count / MEGABYTE, SMALLEST_MB)
    step = 16
    while step * 16 < wanted:  # steps grow with the size: 16 MB up to 256, 32 up to 512, ...
        step *= 2
    return int(-(-wanted // step) * step)


def optimization_tip(limit: int | None, peak: int | None, *, oom_killed: bool = False) -> str:
    """One sentence on the memory limit: what was used of it, and what it could be."""
    if oom_killed:
        return _after_oom(limit)
    if peak is None:
        return "Peak memory is unknown, so there is no advice on the memory limit."
    used = _mb(peak)
    advice = recommended_mb(peak)
    if limit is None:
        return f"no memory limit, used {used} MB: set a limit of {advice} MB."
    head = f"limit {_mb(limit)} MB, used {used} MB"
    if peak > limit * NEAR:
        return f"{head}: close to the limit; raise it to {advice} MB to be safe from OOM kills."
    if peak < limit * FAR and advice * MEGABYTE < limit:
        return f"{head}: a limit of {advice} MB is enough and leaves room for more jobs."
    return f"{head}: the limit fits."


def _after_oom(limit: int | None) -> str:
    # The peak of a killed process is its limit, not its need: doubling is the honest next try.
    if limit is None:
        return "The node ran out of memory: set a memory limit, or read the input in pieces."
    return (
        f"limit {_mb(limit)} MB, reached: the kernel killed the code; raise the limit to "
        f"{nice_mb(limit * 2)} MB, or read the input in pieces."
    )


def _mb(count: int) -> int:
    """Megabytes, rounded up: 1 byte is not 0 MB."""
    return -(-count // MEGABYTE)
