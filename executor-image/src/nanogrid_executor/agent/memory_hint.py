"""The advice on the memory limit in each result. Text only; nothing is measured here."""

from typing import Final

from nanogrid.rightsizing import limit_after_oom, recommended_limit
from nanogrid.sizes import size_text

NEAR: Final = 0.85
FAR: Final = 0.5


def optimization_tip(limit: int | None, peak: int | None, *, oom_killed: bool = False) -> str:
    """One sentence about the memory limit: how much was used, and a better limit.

    Args:
        limit: the memory limit in bytes.
        peak: peak memory in bytes.
        oom_killed: whether the kernel killed the code for its memory.
    """
    if oom_killed:
        return _after_oom(limit)
    if peak is None:
        return "Peak memory is unknown, so there is no advice on the memory limit."
    used = size_text(peak)
    advised = recommended_limit(peak)
    advice = size_text(advised)
    if limit is None:
        return f"no memory limit, used {used}: set a limit of {advice}."
    head = f"limit {size_text(limit)}, used {used}"
    if peak > limit * NEAR:
        return f"{head}: close to the limit; raise it to {advice} to be safe from OOM kills."
    if peak < limit * FAR and advised < limit:
        return f"{head}: a limit of {advice} is enough and leaves room for more jobs."
    return f"{head}: the limit fits."


def _after_oom(limit: int | None) -> str:
    if limit is None:
        return "The node ran out of memory: set a memory limit, or read the input in pieces."
    return (
        f"limit {size_text(limit)}, reached: the kernel killed the code; raise the limit to "
        f"{size_text(limit_after_oom(limit))}, or read the input in pieces."
    )
