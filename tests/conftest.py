"""A second try in `make test` for tests of real servers and clusters, and its record.

A machine that is busy for a moment can fail a right product. A test that passes only at its second
try is unsteady: the run prints its name with the first failure. More than :data:`MOST_UNSTEADY`
of them fail the run, since then the product is at fault.
"""

from typing import Final

import pytest

MOST_UNSTEADY: Final = 3


class SecondTries:
    """Collect the failures after which a test was tried again."""

    def __init__(self) -> None:
        self.first_failures: dict[str, str] = {}
        self.passed: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.outcome == "rerun":  # type: ignore[comparison-overlap]
            self.first_failures[report.nodeid] = report.longreprtext
        elif report.when == "call" and report.passed:
            self.passed.add(report.nodeid)

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


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(SecondTries())
