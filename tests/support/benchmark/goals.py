"""The goals of docs/performance.md: each one is a figure of the JSON and a bound. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from nanogrid.types import Json
from support.benchmark import data
from support.benchmark import subjects as s
from support.figures import Interval, Ratio, median_interval, paired_ratio, percentile

# The warm claim and the execution of agent-sandbox on such a cluster, measured before, in ms.
AGENT_SANDBOX_MILLIS: Final = 41 + 23
OURS, THEIRS = "sync", "s5cmd"
SMALL, LARGE, PART = "small", "large", "part"
FULL_BURST: Final = 60
POOL_BURST: Final = 50
SUSTAINED: Final = 20.0  # jobs/s
SMALLER: Final = "a quick run measures smaller numbers"
NO_FIGURE: Final = "no figure in this run"

Measure = Callable[[Json], Interval | Ratio | None]


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound of a figure; ``needs`` are the parts or subjects without which there is no figure."""

    key: str
    text: str
    bound: float
    measure: Measure
    needs: tuple[str, ...]
    unit: str = ""
    at_least: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """A goal and what was measured; without a figure ``why`` is the reason."""

    goal: Goal
    found: Interval | Ratio | None
    why: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the median is within the bound; None without a figure."""
        return None if self.found is None else self._within(self.found.median)

    @property
    def certain(self) -> bool:
        """Whether the whole interval of several values is on one side of the bound."""
        if self.found is None or _count(self.found) < 2:
            return False
        return self._within(self.found.low) == self._within(self.found.high)

    def _within(self, value: float) -> bool:
        return value >= self.goal.bound if self.goal.at_least else value <= self.goal.bound


def _count(found: Interval | Ratio) -> int:
    return found.pairs if isinstance(found, Ratio) else found.count


def _ratio(values: Sequence[float], others: Sequence[float]) -> Ratio | None:
    return paired_ratio(values, others) if values else None


def _median(values: Sequence[float]) -> Interval | None:
    return median_interval(values) if values else None


def _pair(ours: data.Cell, theirs: data.Cell) -> Measure:
    return lambda document: _ratio(*data.pairs(document, ours, theirs))


def _column(cell: data.Cell, scale: float = 1.0) -> Measure:
    return lambda document: _median([value / scale for value in data.column(document, cell)])


def _warm(document: Json) -> list[float]:
    """The results of jobs on a full pool: in a series, and in the rounds."""
    series: list[float] = document.get("series", [])
    return series + data.column(document, (s.WARM, s.RESULT))


def _p99(document: Json) -> Interval | None:
    values = _warm(document)
    if not values:
        return None
    high = percentile(values, 0.99)
    return Interval(high, high, high, 1)


def _last_result(document: Json) -> Interval | None:
    found = data.bursts(document, s.BURST_POOL, POOL_BURST)
    return _median([max(one["results"]) / 1000 for one in found])


def _sustained(document: Json) -> Interval | None:
    found = document.get("sustained")
    return _median([found["jobs"] / found["seconds"]]) if found else None


def _burst(ours: s.Subject, theirs: s.Subject, jobs: int) -> Measure:
    return lambda document: _ratio(*data.burst_pairs(document, ours, theirs, jobs))


def _requests(kinds: Sequence[str], *verbs: str) -> Measure:
    return lambda document: _median(
        [data.per_job(one, *verbs) for kind in kinds for one in data.windows(document, kind)]
    )


def _cpu(kind: str) -> Measure:
    return lambda document: _median(
        [one["cpuMillis"] / one["jobs"] for one in data.windows(document, kind)]
    )


def _throughput(files: str) -> Measure:
    def measure(document: Json) -> Ratio | None:
        ours, theirs = (data.syncs(document, files, client, "seconds") for client in (OURS, THEIRS))
        both = sorted(ours.keys() & theirs.keys())
        return _ratio([theirs[n] for n in both], [ours[n] for n in both])

    return measure


def _memory(document: Json) -> Ratio | None:
    large, part = (data.syncs(document, f, OURS, "peakMebibytes") for f in (LARGE, PART))
    both = sorted(large.keys() & part.keys())
    return _ratio([large[n] for n in both], [part[n] for n in both])


def _rates(jobs: int, ours: str, theirs: str) -> Measure:
    def measure(document: Json) -> Ratio | None:
        run = data.control_plane(document, jobs)
        rates = run["perSecond"] if run else {}
        return _ratio(rates[ours], rates[theirs]) if {ours, theirs} <= rates.keys() else None

    return measure


def _run(jobs: int, figure: Callable[[Json], float | None]) -> Measure:
    def measure(document: Json) -> Interval | None:
        run = data.control_plane(document, jobs)
        value = figure(run) if run else None
        return None if value is None else _median([value])

    return measure


def _tenths(run: Json) -> float | None:
    first, last = run.get("firstTenthP99Millis"), run.get("lastTenthP99Millis")
    return last / first if first and last else None


def _memory_of(run: Json) -> float | None:
    return run.get("operatorMebibytes")


def _control_plane(jobs: int) -> tuple[Goal, ...]:
    needs, keys = (s.CONTROL_PLANE_PART,), (s.INLINE.key, s.POD.key, s.BATCH.key)
    ours, pods, batch = keys
    many = f"{jobs:,} jobs on kwok nodes"
    return (
        Goal("e", f"{many}: jobs/s / bare pods/s", 0.6, _rates(jobs, ours, pods), needs, "",
             at_least=True),
        Goal("e", f"{many}: jobs/s / batch/v1 Jobs/s at default limits", 8.0,
             _rates(jobs, ours, batch), needs, "", at_least=True),
        Goal("e", f"{many}: p99 of the last tenth / of the first", 1.5, _run(jobs, _tenths),
             needs),
        Goal("e", f"{many}: memory of the operator", 300.0, _run(jobs, _memory_of), needs, "MiB"),
    )  # fmt: skip


_VOLUME_END = (s.POD_VOLUME, s.TERMINAL)
_POOL = (s.POOL_PART,)
_BURST = (s.BURST_PART,)
_SYNC = (s.SYNC_PART,)

GOALS: Final[tuple[Goal, ...]] = (
    Goal("a", "warm job: result, p50", 80.0, lambda d: _median(_warm(d)), (s.WARM.key,), "ms"),
    Goal("a", "warm job: result, p99", 250.0, _p99, (s.WARM.key,), "ms"),
    Goal("a", f"warm job: result / agent-sandbox's {AGENT_SANDBOX_MILLIS} ms (claim and exec, of "
         "an earlier run)", 1.0,
         lambda d: _median([value / AGENT_SANDBOX_MILLIS for value in _warm(d)]), (s.WARM.key,)),
    Goal("a", "warm job with 10 small S3 inputs: result, p50", 120.0,
         _column((s.WARM_S3, s.RESULT)), (s.WARM_S3.key,), "ms"),
    Goal("b", "inline job: result / terminal state of the bare pod + emptyDir", 0.36,
         _pair((s.INLINE, s.RESULT), _VOLUME_END), (s.INLINE.key, s.POD_VOLUME.key)),
    Goal("b", "inline job: first instruction / that of the bare pod + emptyDir", 1.25,
         _pair((s.INLINE, s.FIRST), (s.POD_VOLUME, s.FIRST)), (s.INLINE.key, s.POD_VOLUME.key)),
    Goal("b", "S3 input by the init container: first instruction / that of the bare pod with the "
         "same init container and volumes", 1.08,
         _pair((s.S3_INIT, s.FIRST), (s.POD_SYNC, s.FIRST)), (s.S3_INIT.key, s.POD_SYNC.key)),
    Goal("b", "S3 input by the init container: first instruction / that of the bare pod with an "
         "init container that does nothing", 1.08,
         _pair((s.S3_INIT, s.FIRST), (s.POD_INIT, s.FIRST)), (s.S3_INIT.key, s.POD_INIT.key)),
    Goal("b", "S3 input by the agent: result / terminal state of the bare pod with the same init "
         "container and volumes", 0.30,
         _pair((s.S3_AGENT, s.RESULT), (s.POD_SYNC, s.TERMINAL)),
         (s.S3_AGENT.key, s.POD_SYNC.key)),
    Goal("b", "S3 input by the agent: result / terminal state of the bare pod with an init "
         "container that does nothing", 0.30,
         _pair((s.S3_AGENT, s.RESULT), (s.POD_INIT, s.TERMINAL)),
         (s.S3_AGENT.key, s.POD_INIT.key)),
    Goal("c", "burst of 50 on a pool of 50: the last result", 1.5, _last_result, _POOL, "s"),
    Goal("c", "20 jobs/s offered on a pool: results/s", 0.95 * SUSTAINED, _sustained, _POOL, "/s",
         at_least=True),
    Goal("d", "operator's writes per warm job", 2.0, _requests(("warm",), *data.WRITES), _POOL),
    Goal("d", "operator's writes per cold job", 3.0, _requests(("cold",), *data.WRITES), _BURST),
    Goal("d", "operator's reads per job", 0.0, _requests(("cold", "warm"), *data.READS), _BURST),
    Goal("d", "operator's CPU per warm job", 10.0, _cpu("warm"), _POOL, "ms"),
    Goal("d", "operator's CPU per cold job", 10.0, _cpu("cold"), _BURST, "ms"),
    *_control_plane(1000),
    *_control_plane(10_000),
    Goal("f", "60 cold jobs at once / 60 bare pods of the same two containers and volumes", 1.05,
         _burst(s.BURST_JOBS, s.BURST_PODS, FULL_BURST), _BURST),
    Goal("f", "60 jobs at once on a pool / 60 batch/v1 Jobs", 0.25,
         _burst(s.BURST_POOL, s.BURST_BATCH, FULL_BURST), _POOL),
    Goal("g", "throughput of many small files / s5cmd", 0.8, _throughput(SMALL), _SYNC,
         at_least=True),
    Goal("g", "throughput of one large file / s5cmd", 0.8, _throughput(LARGE), _SYNC,
         at_least=True),
    Goal("g", "peak memory with the large file / with one of an eighth", 1.25, _memory, _SYNC),
)  # fmt: skip


def verdicts(document: Json) -> list[Verdict]:
    """All goals, with their figures or the reasons why there are none."""
    skipped: dict[str, str] = document.get("skipped", {})
    found = []
    for goal in GOALS:
        figure = goal.measure(document)
        why = ""
        if figure is None:
            other = SMALLER if document["meta"]["quick"] else NO_FIGURE
            why = next((skipped[need] for need in goal.needs if need in skipped), other)
        found.append(Verdict(goal, figure, why))
    return found
