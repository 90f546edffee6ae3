"""The audit counts only if the advisory service answers for every package."""

from typing import Any

import pytest

from scripts import audit
from scripts.audit import CONTROL, NotAuditedError, vulnerabilities

pytestmark = pytest.mark.security

FLASK = {"name": "flask", "version": "3.1.3", "vulns": []}
JINJA = {
    "name": "jinja2",
    "version": "3.1.6",
    "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["3.1.7", "4.0"]}],
}
UNFIXED = {"name": "six", "version": "1.17.0", "vulns": [{"id": "PYSEC-2", "fix_versions": []}]}
SKIPPED = {"name": "flask", "skip_reason": "not found on PyPI"}
KNOWN = [{"name": "jinja2", "version": "2.10", "vulns": [{"id": "PYSEC-2019-217"}]}]


def answers(lock: list[Any], control: list[Any] = KNOWN) -> audit.Audit:
    return lambda requirements: control if requirements == CONTROL else lock


def test_packages_without_advisories_are_clean() -> None:
    assert vulnerabilities(answers([FLASK]), "the lock") == []


def test_each_vulnerability_is_one_line_with_its_fix() -> None:
    assert vulnerabilities(answers([FLASK, JINJA, UNFIXED]), "the lock") == [
        "jinja2 3.1.6: PYSEC-1 CVE-1, fixed in 3.1.7 or 4.0",
        "six 1.17.0: PYSEC-2 , fixed in no version",
    ]


@pytest.mark.parametrize(
    ("lock", "control", "message"),
    [
        ([FLASK], [{"name": "jinja2", "skip_reason": "not found on PyPI"}], "not found on PyPI"),
        ([FLASK], [{"name": "jinja2", "version": "2.10", "vulns": []}], "no advisory"),
        ([FLASK], [], "no advisory"),
        ([JINJA, SKIPPED], KNOWN, "no answer for 1 packages: flask"),
        ([], KNOWN, "no answer"),
    ],
    ids=["control skipped", "no advisories", "no control", "package skipped", "nothing"],
)
def test_an_answer_that_is_not_complete_is_no_audit(
    lock: list[Any], control: list[Any], message: str
) -> None:
    with pytest.raises(NotAuditedError, match=message):
        vulnerabilities(answers(lock, control), "the lock")


@pytest.mark.parametrize(
    ("report", "arguments", "code", "output"),
    [
        ([FLASK], [], 0, "0 known vulnerabilities"),
        ([JINJA], [], 1, "1 known vulnerabilities"),
        ([SKIPPED], [], 2, "NOT AUDITED"),
        ([SKIPPED], ["--allow-unaudited"], 0, "NOT AUDITED, which --allow-unaudited accepts"),
        ([JINJA], ["--allow-unaudited"], 1, "1 known vulnerabilities"),
    ],
)
def test_the_exit_code_tells_clean_vulnerable_and_not_audited_apart(
    report: list[Any],
    arguments: list[str],
    code: int,
    output: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(audit, "locked_requirements", lambda: "the lock")
    monkeypatch.setattr(audit, "run_pip_audit", lambda _, text: answers(report)(text))

    assert audit.main(arguments) == code

    printed = capsys.readouterr()
    assert output in printed.out + printed.err
