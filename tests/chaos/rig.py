"""What most tests in the laboratory use together: a namespace, its ledger, a counter of starts."""

from collections.abc import Mapping
from dataclasses import dataclass

from chaos.lab.laboratory import Laboratory
from chaos.ledger import Ledger
from chaos.scenarios import Scenario
from chaos.starts import Starts
from support.job_record import JobRecord
from support.kubectl import Namespace

FINISH_SECONDS = 200.0


def verify_jobs(ledger: Ledger, lab: Laboratory, starts: Starts | None = None) -> None:
    """Check the guarantees for all jobs of the ledger, delete them, and wait for leftovers."""
    redis, s3 = lab.redis.client(), lab.s3_server.client
    ledger.check(redis, s3, lab.area, starts.pods if starts else ())
    seconds = ledger.delete_jobs(redis, s3, lab.bucket)
    print(f"{len(ledger.jobs)} jobs correct; no leftovers {seconds:.1f} s after their deletion")


@dataclass(frozen=True)
class Rig:
    """A laboratory's namespace with its ledger and its counter of starts."""

    lab: Laboratory
    ledger: Ledger
    starts: Starts
    namespace: Namespace

    def run_all(
        self, jobs: Mapping[str, Scenario], seconds: float = FINISH_SECONDS
    ) -> list[JobRecord]:
        """Apply the jobs, wait until all have ended, and compare their reasons."""
        self.namespace.apply(*(kind.manifest(name, self.starts) for name, kind in jobs.items()))
        records = self.ledger.wait_finished(jobs, seconds)
        for record in records:
            assert record.reason == jobs[record.name].reason, record
        return records

    def verify(self) -> None:
        """Check the guarantees for all jobs; see :func:`verify_jobs`."""
        verify_jobs(self.ledger, self.lab, self.starts)
