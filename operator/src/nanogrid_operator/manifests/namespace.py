"""Which namespaces may have jobs at all. Pure."""

from nanogrid_operator.model.facts import Job
from nanogrid_operator.settings import Settings


def refusal(job: Job, settings: Settings) -> str:
    """Why this installation runs no job in the job's namespace; empty if it does."""
    if job.namespace not in settings.denied_namespaces:
        return ""
    return (
        f"namespace {job.namespace} takes no ExecutionJobs: create the job in another namespace, "
        f"or ask the platform team to remove {job.namespace} from tenancy.deniedNamespaces in the "
        "chart's values"
    )
