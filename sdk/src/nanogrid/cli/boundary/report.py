"""From the probe's report to findings. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal

from pydantic import BaseModel, ValidationError

from nanogrid.cli.boundary.installation import POD_IDENTITY, Installation, Target
from nanogrid.cli.finding import Finding

PLATFORM_UID: Final = 65532  # of the platform's own pods, and of sandboxes without uidRange
CONTROL_HINT: Final = (
    "A sandbox must reach this; without it the denials below prove little. See network.dns and the "
    "policy nanogrid-sandbox-egress."
)
NETWORK_HINT: Final = (
    "Set network.policies in the chart's values, use a network plugin that enforces "
    "NetworkPolicies, and look for other policies in the namespace: each one only allows more."
)
LATE_HINT: Final = (
    "The network plugin applies policies after the pod has started. Use one that starts closed."
)
POD_IDENTITY_HINT: Final = (
    "network.podIdentity opens it for agents, which share their pod's network with the code. It "
    "gives credentials only for a token, which the code does not have."
)
VARIABLES_HINT: Final = (
    "Remove it from sandbox.env in the chart's values, and look for webhooks that change pods."
)
SANDBOX_HINT: Final = "The pod is not as NanoGrid creates it: look for webhooks that change pods."


class Reached(BaseModel):
    """The outcome of one connection."""

    outcome: Literal["open", "timeout", "refused", "unreachable", "unresolved"]
    first: str = ""
    address: str = ""
    detail: str = ""


class Processes(BaseModel):
    """What other processes of the sandbox show."""

    readable: list[int]
    variables: list[str]
    traceable: list[int]


class Report(BaseModel):
    """What the probe prints."""

    network: dict[str, Reached]
    uid: int
    groups: list[int]
    privileges: dict[str, str]
    variables: list[str]
    secrets: list[str]
    writable: list[str]
    processes: Processes


def parse(text: str) -> Report | None:
    """The report; None if the text is not one."""
    try:
        return Report.model_validate_json(text)
    except ValidationError:
        return None


def findings(
    report: Report, targets: Sequence[Target], installation: Installation | None
) -> Iterator[Finding]:
    """One finding per target, controls first, and those of the sandbox itself."""
    for target in sorted(targets, key=lambda one: not one.open):
        yield _reached(target, report.network.get(target.name), installation)
    yield _user(report)
    runtime_class = installation.env("NANOGRID_RUNTIME_CLASS") if installation else ""
    yield from _privileges(report.privileges, runtime_class)
    yield _empty("root file system", report.writable, "is read-only", "writable")
    yield _empty("token files", report.secrets, "none", "readable")
    yield _empty("variables", report.variables, "no credential", "set", VARIABLES_HINT)
    yield _processes(report.processes)


def _reached(target: Target, reached: Reached | None, installation: Installation | None) -> Finding:
    check = f"to {target.name}"
    if reached is None:
        return Finding(check, "skip", "the probe did not try it", "Run doctor again.")
    where = reached.address or target.host
    where += f":{target.port}" if target.port else ""
    detail = f"{where} {reached.outcome}"
    if target.open:
        return (
            Finding(check, "ok", detail)
            if reached.outcome == "open"
            else Finding(check, "fail", f"{detail} {reached.detail}".rstrip(), CONTROL_HINT)
        )
    if reached.outcome == "unresolved":
        return Finding(check, "skip", f"not tried: {reached.detail}", "Check the DNS of sandboxes.")
    if reached.outcome == "open":
        return _opened(check, detail, target, installation)
    if reached.first == "open":
        return Finding(check, "warn", f"{where} open at first, then {reached.outcome}", LATE_HINT)
    return Finding(check, "ok", detail)


def _opened(check: str, detail: str, target: Target, installation: Installation | None) -> Finding:
    egress = installation.env("NANOGRID_SANDBOX_EGRESS") if installation else ""
    length = 128 if ":" in target.host else 32
    if target.name.startswith(POD_IDENTITY) and f'"{target.host}/{length}"' in egress:
        return Finding(check, "warn", detail, POD_IDENTITY_HINT)
    return Finding(check, "fail", detail, NETWORK_HINT)


def _user(report: Report) -> Finding:
    detail = f"user {report.uid}, groups {_listed(report.groups)}"
    if report.uid == 0 or 0 in report.groups:
        return Finding("user", "fail", f"{detail}: root", SANDBOX_HINT)
    if report.uid == PLATFORM_UID:
        hint = "Set sandbox.uidRange in the chart's values: each job then has its own user ID."
        return Finding("user", "fail", f"{detail}: the user of the platform's pods", hint)
    return Finding("user", "ok", detail)


def _privileges(status: dict[str, str], runtime_class: str) -> Iterator[Finding]:
    held = [name for name in status if name.startswith("Cap") and int(status[name], 16)]
    yield _empty("capabilities", held, "none", "not empty")
    for name, wanted in (("NoNewPrivs", "1"), ("Seccomp", "2")):
        value = status.get(name)
        if value == wanted:
            yield Finding(name, "ok", value)
        elif value is None or runtime_class:
            detail = f"{value or 'unknown'}; the RuntimeClass is {runtime_class or 'the default'}"
            hint = "A RuntimeClass with its own kernel may not report it; see its documentation."
            yield Finding(name, "warn", detail, hint)
        else:
            yield Finding(name, "fail", f"{value}, not {wanted}", SANDBOX_HINT)


def _processes(found: Processes) -> Finding:
    problems = []
    if found.readable:
        names = f" ({_listed(found.variables)})" if found.variables else ""
        problems.append(f"variables of process {_listed(found.readable)} are readable{names}")
    if found.traceable:
        problems.append(f"process {_listed(found.traceable)} can be traced")
    if problems:
        return Finding("other processes", "fail", "; ".join(problems), SANDBOX_HINT)
    return Finding("other processes", "ok", "cannot be traced; their variables cannot be read")


def _empty(
    check: str, found: Sequence[str], good: str, bad: str, hint: str = SANDBOX_HINT
) -> Finding:
    if found:
        return Finding(check, "fail", f"{bad}: {_listed(found)}", hint)
    return Finding(check, "ok", good)


def _listed(items: Iterable[object]) -> str:
    return ", ".join(map(str, items))
