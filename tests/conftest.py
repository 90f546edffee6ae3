"""A second try in `make test` for tests of real servers and clusters, and its record.

A machine that is busy for a moment can fail a right product. A test that passes only at its second
try is unsteady: the run prints its name with the first failure. More than :data:`MOST_UNSTEADY`
of them fail the run, since then the product is at fault.

The end of each failure is printed at once: a run that is stopped has no summary.

A suite runs in two processes, except for its tests with the marker ``alone``: ``--alone`` selects.

Tests that need Linux are skipped elsewhere, with the reason.
"""

import os
import sys
from typing import Final

import pytest

from support import linux

MOST_UNSTEADY: Final = 3
SHOWN_LINES: Final = 12


class SecondTries:
    """Collect the failures after which a test was tried again."""

    def __init__(self, terminal: pytest.TerminalReporter | None) -> None:
        self.terminal = terminal
        self.first_failures: dict[str, str] = {}
        self.passed: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.outcome == "rerun":  # type: ignore[comparison-overlap]
            self.first_failures[report.nodeid] = report.longreprtext
        elif report.when == "call" and report.passed:
            self.passed.add(report.nodeid)
        if report.outcome in ("rerun", "failed"):
            self._show(report)

    def _show(self, report: pytest.TestReport) -> None:
        if not self.terminal:
            return
        what = "failed" if report.failed else "failed, tried again"
        self.terminal.ensure_newline()
        self.terminal.write_line(
            f"{report.nodeid}: {what} in {report.when} after {report.duration:.0f} s, "
            f"load {os.getloadavg()[0]:.1f}"
        )
        for line in report.longreprtext.splitlines()[-SHOWN_LINES:]:
            self.terminal.write_line(f"    {line}")

    def unsteady(self) -> list[str]:
        """The tests that failed and then passed."""
        return [test for test in self.first_failures if test in self.passed]

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if len(self.unsteady()) > MOST_UNSTEADY:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for test in self.unsteady():
            terminalreporter.section(f"UNSTEADY {test}: passed at the second try")
            terminalreporter.write_line(self.first_failures[test])
        if len(self.unsteady()) > MOST_UNSTEADY:
            terminalreporter.write_line(
                f"FAILED: {len(self.unsteady())} unsteady tests; at most {MOST_UNSTEADY} may be."
            )


@pytest.hookimpl(trylast=True)  # the terminal's reporter is registered by then
def pytest_configure(config: pytest.Config) -> None:
    tried_again = config.getoption("reruns", None)
    terminal = config.pluginmanager.get_plugin("terminalreporter") if tried_again else None
    config.pluginmanager.register(SecondTries(terminal))


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "select tests that no other test may run with: 'only' these, or 'none' of them"
    parser.addoption("--alone", choices=("only", "none"), help=text)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        why = linux.skip_reason(sys.platform, item.nodeid, getattr(item, "fixturenames", ()))
        if why is not None:
            item.add_marker(pytest.mark.skip(reason=why))
    if chosen := config.getoption("alone"):
        groups: dict[str, list[pytest.Item]] = {"only": [], "none": []}
        for item in items:
            groups["only" if item.get_closest_marker("alone") else "none"].append(item)
        items[:] = groups.pop(chosen)
        config.hook.pytest_deselected(items=[item for rest in groups.values() for item in rest])
