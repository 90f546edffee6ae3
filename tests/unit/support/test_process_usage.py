"""CPU time and memory of a process, from the text of its files in /proc."""

import pytest

from support.process_usage import Usage, cpu_millis, parse_usage

# user 55 and system 20 ticks of its own; 7 and 9 of children that it waited for.
STAT = "1 ({name}) S 0 1 1 0 -1 4194560 27656 672 0 0 55 20 7 9 20 0 4 0 1383255 341348352 25811\n"
STATUS = "Name:\tpython3\nVmPeak:\t  333348 kB\nVmHWM:\t  103364 kB\nVmRSS:\t  100000 kB\n"


@pytest.mark.parametrize("name", ["python3", "a b", "x) S 9 9 9", "(("])
def test_usage_of_a_process_with_any_name(name: str) -> None:
    found = parse_usage(STAT.format(name=name) + STATUS)

    assert found == Usage(cpu_seconds=0.75, resident=100000 * 1024, peak=103364 * 1024)


@pytest.mark.parametrize(
    "text",
    [
        "",  # the process is gone
        STATUS,
        STAT.format(name="python3"),
        STAT.format(name="python3") + "Name:\tpython3\n",  # a kernel thread has no memory
        "1 (python3) S 0 1\n" + STATUS,
    ],
)
def test_text_without_the_fields_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not the stat and status of a process"):
        parse_usage(text)


def test_cpu_of_each_request_without_that_of_the_idle_process() -> None:
    before, after = Usage(10.0, 1, 1), Usage(10.5, 1, 1)

    assert cpu_millis(before, after, 100) == pytest.approx(5.0)
    assert cpu_millis(before, after, 100, idle_seconds=0.1) == pytest.approx(4.0)


def test_cpu_is_never_negative() -> None:
    # A process that is idle for less than it was before the requests.
    assert cpu_millis(Usage(1.0, 1, 1), Usage(1.01, 1, 1), 10, idle_seconds=0.2) == 0.0
