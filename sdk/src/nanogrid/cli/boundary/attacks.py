"""Jobs that must be refused before they have a pod: foreign keys and rights of the platform."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nanogrid.cli.app.progress import Progress
from nanogrid.cli.boundary.installation import Installation
from nanogrid.cli.boundary.jobs import TemporaryJobs
from nanogrid.cli.finding import Finding
from nanogrid.reasons import Reason
from nanogrid.types import Json

if TYPE_CHECKING:
    from nanogrid.client import Run

REFUSE_SECONDS: Final = 30.0  # for all jobs together; one takes about a second
CODE: Final[Json] = {"code": {"inline": "print('this job should have been refused')\n"}}
FOREIGN: Final = "kube-system/"  # the root of a namespace that can have no jobs
NO_BUCKET: Final = "nanogrid-doctor-no-such-bucket"
NO_NAME: Final = "nanogrid-doctor-no-such-name"
METADATA: Final = "169.254.169.254/32"
KEYS_HINT: Final = (
    "Look at root and allow.buckets of the NanoGridTenant, and at the version of the operator."
)
VALUES_HINT: Final = "Look at allow of the NanoGridTenant and at tenancy.defaults in the chart."


@dataclass(frozen=True, slots=True)
class Attack:
    """A job that must be refused.

    Attributes:
        name: part of the job's name.
        what: for people.
        spec: fields of the job.
        hint: if it is not refused.
    """

    name: str
    what: str
    spec: Json
    hint: str


def attacks(root: str | None, installation: Installation | None) -> list[Attack]:
    """The jobs to try.

    Args:
        root: of the namespace; None if the user cannot read it.
        installation: None if the user cannot read it.
    """
    return [*_key_attacks(root), *_value_attacks(installation)]


def _key_attacks(root: str | None) -> Iterator[Attack]:
    own = root or ""
    # Under an unknown root this is either outside of it, or a reserved folder.
    yield _reading("results", "input from results/ of the own root", prefix=f"{own}results/")
    yield _writing("to-results", "outputs to results/ of the own root", f"{own}results/")
    yield _reading("bucket", "input from another bucket", bucket=NO_BUCKET, prefix="data/")
    yield _reading("dots", "input with ../ in its key", prefix=f"{own}a/../../{FOREIGN}data/")
    yield _reading("encoded", "input with %2e%2e/ in its key", prefix=f"{own}%2e%2e/{FOREIGN}data/")
    if root == "":
        return  # it contains other roots; the operator refuses only those that it knows
    yield _reading("foreign", "input from another namespace's root", prefix=f"{FOREIGN}data/")
    yield _writing("to-foreign", "outputs to another namespace's root", f"{FOREIGN}data/")
    code = {"code": {"s3": {"key": f"{FOREIGN}code/a.zip"}}}
    yield Attack("code", "code from another namespace's root", code, KEYS_HINT)


def _value_attacks(installation: Installation | None) -> Iterator[Attack]:
    secret = {"name": "X", "valueFrom": {"secretKeyRef": {"name": "nanogrid-s3", "key": "x"}}}
    network = {"egress": "Allowlist", "cidrs": [METADATA]}
    values: list[tuple[str, str, Json]] = [
        ("priority", "PriorityClass", {"priorityClassName": "system-node-critical"}),
        ("account", "service account", {"serviceAccountName": NO_NAME}),
        ("class", "RuntimeClass", {"runtime": {"runtimeClassName": NO_NAME}}),
        ("secret", "Secret with the S3 keys", {"env": [secret]}),
        ("metadata", "access to the metadata address", {"network": network}),
    ]
    if installation and installation.image:
        values.append(("image", "operator's image", {"runtime": {"image": installation.image}}))
    for name, what, spec in values:
        yield Attack(name, what, CODE | spec, VALUES_HINT)


def _reading(name: str, what: str, **s3: str) -> Attack:
    return Attack(name, what, CODE | {"inputs": [{"name": "a", "s3": s3}]}, KEYS_HINT)


def _writing(name: str, what: str, prefix: str) -> Attack:
    return Attack(name, what, CODE | {"outputs": {"s3": {"prefix": prefix}}}, KEYS_HINT)


def run(jobs: TemporaryJobs, wanted: list[Attack], progress: Progress) -> Iterator[Finding]:
    """Create all jobs, then wait for their ends together.

    Raises:
        ApiError: the API server does not respond.
    """
    from nanogrid.client import errors

    progress.note(f"creating {len(wanted)} jobs that must be refused")
    created: list[tuple[Attack, Run]] = []
    for attack in wanted:
        try:
            created.append((attack, jobs.create(attack.name, attack.spec)))
        except errors.Invalid as error:
            yield Finding(_check(attack), "ok", f"refused by the API server: {error.message}")
        except errors.Forbidden as error:
            hint = "An admission policy or a quota prevents this test."
            yield Finding(_check(attack), "skip", error.message, hint)
    end = jobs.now() + REFUSE_SECONDS
    for attack, job in created:
        yield _outcome(attack, job, max(0.1, end - jobs.now()))


def _check(attack: Attack) -> str:
    return f"job: {attack.what}"


def _outcome(attack: Attack, job: "Run", seconds: float) -> Finding:
    from nanogrid.client import errors

    check = _check(attack)
    try:
        reason = job.wait(seconds).reason
    except errors.WaitTimeout:
        state = f"{job.phase} {job.reason}".rstrip()
        return Finding(check, "fail", f"not refused, it is {state}", attack.hint)
    except errors.JobDeleted:
        return Finding(check, "skip", "another user deleted the job", "Run doctor again.")
    if reason == Reason.INVALID_SPEC:
        return Finding(check, "ok", "refused")
    return Finding(check, "fail", f"not refused, it ended with {reason}", attack.hint)
