"""The sessions and pods that the router knows, as the watches told it. No I/O."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from nanogrid_gateway.router.objects import Address, Job, Json, Pod, job_from, pod_from
from nanogrid_gateway.router.route import Route, pod_address, route

T = TypeVar("T")


class Table:
    """Jobs and pods by namespace and name; a pod that goes is told to ``pod_gone``."""

    def __init__(self, pod_gone: Callable[[Pod], None]) -> None:
        self._jobs: dict[Address, Job] = {}
        self._pods: dict[Address, Pod] = {}
        self._pod_gone = pod_gone

    def job(self, address: Address) -> Job | None:
        """The session of that namespace and name."""
        return self._jobs.get(address)

    def route(self, job: Job) -> Route:
        """Where a session is now."""
        address = pod_address(job)
        return route(job, self._pods.get(address) if address else None)

    def counts(self) -> tuple[int, int]:
        """How many sessions and pods there are."""
        return len(self._jobs), len(self._pods)

    def put_job(self, body: Json) -> None:
        """A job was added or changed."""
        job = job_from(body)
        if job is not None:
            self._jobs[job.address] = job

    def drop_job(self, body: Json) -> None:
        """A job was deleted."""
        self._jobs.pop(_address(body), None)

    def replace_jobs(self, namespace: str, bodies: Iterable[Json]) -> None:
        """Take in a LIST of one namespace, or of all when it is empty."""
        found = [job for body in bodies if (job := job_from(body)) is not None]
        self._jobs = _outside(self._jobs, namespace) | {job.address: job for job in found}

    def put_pod(self, body: Json) -> None:
        """A pod was added or changed; a new uid or IP under its name means the old one is gone."""
        pod = pod_from(body)
        self._replaced(self._pods.get(pod.address), pod)
        self._pods[pod.address] = pod

    def drop_pod(self, body: Json) -> None:
        """A pod was deleted."""
        self._replaced(self._pods.pop(_address(body), None), None)

    def replace_pods(self, namespace: str, bodies: Iterable[Json]) -> None:
        """Take in a LIST of one namespace, or of all when it is empty."""
        found = {pod.address: pod for pod in map(pod_from, bodies)}
        known, kept = self._pods, _outside(self._pods, namespace)
        self._pods = kept | found
        for address in known.keys() - kept.keys():
            self._replaced(known[address], found.get(address))

    def _replaced(self, old: Pod | None, new: Pod | None) -> None:
        if old is not None and (new is None or (new.uid, new.ip) != (old.uid, old.ip)):
            self._pod_gone(old)


def _address(body: Json) -> Address:
    return Address(body["metadata"]["namespace"], body["metadata"]["name"])


def _outside(known: dict[Address, T], namespace: str) -> dict[Address, T]:
    """What a LIST of that namespace says nothing about."""
    return {a: v for a, v in known.items() if namespace and a.namespace != namespace}
