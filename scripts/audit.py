"""Look for known vulnerabilities in the locked dependencies, with pip-audit.

A run only counts if the advisory service answers for every package, and if it knows a vulnerability
that is public since 2019: pip-audit reports success for packages that it has skipped, for example
behind a mirror of PyPI without advisories. Exit codes: 0 no vulnerability, 1 vulnerabilities, 2 the
dependencies are not audited.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
UV = [sys.executable, str(ROOT / "scripts/uv.py")]
PIP_AUDIT = "pip-audit>=2.10,<3"
CONTROL = "jinja2==2.10"  # CVE-2019-10906
SECONDS = 600
REQUEST_SECONDS = 15

Json = dict[str, Any]
Audit = Callable[[str], list[Json]]  # requirements → the dependencies of pip-audit's report


class NotAuditedError(Exception):
    """The advisory service does not answer, or not for all packages."""


def vulnerabilities(audit: Audit, requirements: str) -> list[str]:
    """The known vulnerabilities, one line each.

    Raises:
        NotAuditedError: The answer does not show that there are no others.
    """
    (control,) = audit(CONTROL) or [{}]
    if not control.get("vulns"):
        reason = control.get("skip_reason", "it has no advisory for this package")
        raise NotAuditedError(f"the service does not know that {CONTROL} is vulnerable: {reason}")
    found = audit(requirements)
    skipped = sorted(d["name"] for d in found if "skip_reason" in d)
    if skipped or not found:
        raise NotAuditedError(f"no answer for {len(skipped)} packages: {', '.join(skipped)}")
    return [
        f"{d['name']} {d['version']}: {v['id']} {' '.join(v.get('aliases', []))}, fixed in "
        f"{' or '.join(v['fix_versions']) or 'no version'}"
        for d in found
        for v in d["vulns"]
    ]


def run_pip_audit(service: str, requirements: str) -> list[Json]:
    """The dependencies of pip-audit's report.

    Raises:
        NotAuditedError: It wrote no report.
    """
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "requirements.txt"
        listed.write_text(requirements)
        command = [
            *UV, "tool", "run", "--quiet", PIP_AUDIT, "--disable-pip", "--no-deps",
            "--requirement", str(listed), "--format", "json", "--vulnerability-service", service,
            "--timeout", str(REQUEST_SECONDS), "--progress-spinner", "off",
        ]  # fmt: skip
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    try:
        report: list[Json] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise NotAuditedError(f"pip-audit failed with {done.returncode}: {last}") from None
    return report


def locked_requirements() -> str:
    """All packages of the lock file, with their hashes."""
    command = [
        *UV, "export", "--frozen", "--quiet", "--all-packages", "--all-groups", "--all-extras",
        "--no-emit-workspace", "--no-header", "--no-annotate",
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=True
    )
    return done.stdout


def main(arguments: Sequence[str] | None = None) -> int:
    """Audit the lock file and print the result; returns the exit code."""
    parser = argparse.ArgumentParser(
        description="Look for known vulnerabilities in the locked dependencies."
    )
    parser.add_argument(
        "--service", choices=("pypi", "osv"), default="pypi", help="advisory service"
    )
    parser.add_argument(
        "--allow-unaudited",
        action="store_true",
        help="exit with 0 if the service does not answer; the message stays",
    )
    options = parser.parse_args(arguments)
    requirements = locked_requirements()
    try:
        found = vulnerabilities(lambda text: run_pip_audit(options.service, text), requirements)
    except NotAuditedError as e:
        print(f"audit: NOT AUDITED with {options.service}: {e}", file=sys.stderr)
        print("audit: run it where the advisory service can be reached", file=sys.stderr)
        if options.allow_unaudited:
            print("audit: NOT AUDITED, which --allow-unaudited accepts", file=sys.stderr)
            return 0
        return 2
    for line in found:
        print(f"audit: {line}")
    print(f"audit: {len(found)} known vulnerabilities in the packages of uv.lock")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
