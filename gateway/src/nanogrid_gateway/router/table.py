"""The sessions and pods that the router knows from its watches. No I/O."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from nanogrid.controller_class import NO_CLASS, serves
from nanogrid.types import Json
from nanogrid_gateway.router.route import Route, pod_address, route
from nanogrid_gateway.router.sessions import Address, Job, Pod, address_of, job_from, pod_from

T = TypeVar("T")


class SessionTable:
    """Jobs and pods by namespace and name; calls ``pod_gone`` for each pod that disappears."""

    def __init__(self, pod_gone: Callable[[Pod], None], controller_class: str = NO_CLASS) -> None:
        self._controller_class = controller_class
        self._jobs: dict[Address, Job] = {}
        self._pods: dict[Address, Pod] = {}
        self._pod_gone = pod_gone

    def job(self, address: Address) -> Job | None:
        """The session with that namespace and name."""
        return self._jobs.get(address)

    def route(self, job: Job) -> Route:
        """The current route to a session."""
        address = pod_address(job)
        return route(job, self._pods.get(address) if address else None)

    def counts(self) -> tuple[int, int]:
        """The numbers of sessions and of pods."""
        return len(self._jobs), len(self._pods)

    def put_job(self, body: Json) -> None:
        """Add or update a job."""
        job = self._own(body)
        if job is not None:
            self._jobs[job.address] = job

    def drop_job(self, body: Json) -> None:
        """Remove a deleted job."""
        self._jobs.pop(address_of(body), None)

    def replace_jobs(self, namespace: str, bodies: Iterable[Json]) -> None:
        """Replace all jobs by a LIST of one namespace, or of all namespaces if it is empty."""
        listed = [job for body in bodies if (job := self._own(body)) is not None]
        self._jobs = _outside(self._jobs, namespace) | {job.address: job for job in listed}

    def _own(self, body: Json) -> Job | None:
        """The session of a job of this installation; an old API server cannot select."""
        return job_from(body) if serves(self._controller_class, body) else None

    def put_pod(self, body: Json) -> None:
        """Add or update a pod; a new uid or IP means that the pod of that name was replaced."""
        pod = pod_from(body)
        self._report_gone(self._pods.get(pod.address), pod)
        self._pods[pod.address] = pod

    def drop_pod(self, body: Json) -> None:
        """Remove a deleted pod."""
        self._report_gone(self._pods.pop(address_of(body), None), None)

    def replace_pods(self, namespace: str, bodies: Iterable[Json]) -> None:
        """Replace all pods by a LIST of one namespace, or of all namespaces if it is empty."""
        listed = {pod.address: pod for pod in map(pod_from, bodies)}
        known, kept = self._pods, _outside(self._pods, namespace)
        self._pods = kept | listed
        for address in known.keys() - kept.keys():
            self._report_gone(known[address], listed.get(address))

    def _report_gone(self, old: Pod | None, new: Pod | None) -> None:
        if old is not None and (new is None or (new.uid, new.ip) != (old.uid, old.ip)):
            self._pod_gone(old)


def _outside(known: dict[Address, T], namespace: str) -> dict[Address, T]:
    """The objects that a LIST of that namespace does not cover."""
    return {a: v for a, v in known.items() if namespace and a.namespace != namespace}
