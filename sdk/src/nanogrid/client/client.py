"""The client: run code on a cluster, and find jobs, functions and sessions."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from nanogrid import names
from nanogrid.client.callbacks import OutputCallbacks, TextCallback
from nanogrid.client.errors import InvalidRequest
from nanogrid.client.jobs.newest import newest
from nanogrid.client.jobs.run import Run
from nanogrid.client.jobs.selection import Selection, phase_named
from nanogrid.client.kube.cluster import Cluster
from nanogrid.client.kube.paths import jobs, named
from nanogrid.client.resources import Resources
from nanogrid.client.s3_uri import Uploaded
from nanogrid.controller_class import ENV, NO_CLASS
from nanogrid.types import Json

# What only some calls need is imported by them: `list` and `get` start in half the time.
if TYPE_CHECKING:
    from nanogrid.client.functions import Functions
    from nanogrid.client.jobs.prepare import JobPreparer
    from nanogrid.client.jobs.result import Result
    from nanogrid.client.sessions.session import Session
    from nanogrid.client.storage import Storage

Runs = list[Run]
READY_SECONDS: Final = 300.0
LONGEST_SECONDS: Final = 7 * 86_400.0  # the longest time limit of a run


class Client(Resources):
    """Jobs of one namespace. Safe for threads; close it, or use it as a context manager.

    The client opens a connection when a call needs it.

    Args:
        namespace: default is $NANOGRID_NAMESPACE, then the namespace of the kubeconfig.
        context: of the kubeconfig.
        kubeconfig: its path.
        gateway_url: of the gateway, for ``invoke``; default is $NANOGRID_URL.
        s3: default is the S3 of the environment (see Storage.find).
        cluster: connection to the API server, instead of the first three arguments.
        controller_class: of the installation that runs the jobs that this client creates; default
            is $NANOGRID_CONTROLLER_CLASS, then the installation without a class. See
            docs/two-installations.md.
    """

    def __init__(
        self,
        namespace: str | None = None,
        context: str | None = None,
        kubeconfig: str | None = None,
        gateway_url: str | None = None,
        s3: "Storage | None" = None,
        *,
        cluster: Cluster | None = None,
        controller_class: str | None = None,
    ) -> None:
        super().__init__(context, kubeconfig, namespace, s3, cluster)
        chosen = os.environ.get(ENV, NO_CLASS) if controller_class is None else controller_class
        self.controller_class = chosen
        self._gateway_url = gateway_url
        self._sessions: WeakSet[Session] = WeakSet()

    @property
    def _preparer(self) -> "JobPreparer":
        from nanogrid.client.jobs.prepare import JobPreparer

        return JobPreparer(lambda: self.storage)

    def run(
        self,
        code: str | None = None,
        *,
        wait_timeout: float | None = None,
        on_change: Callable[[Run], None] | None = None,
        check: bool = False,
        on_stdout: TextCallback | None = None,
        on_stderr: TextCallback | None = None,
        on_output: TextCallback | None = None,
        on_note: TextCallback | None = None,
        **keywords: Any,
    ) -> "Result":
        """Submit a job, wait until it ends, and return its result, also that of a failed job.

        Args:
            code: see submit. ``function`` runs a Function instead: through the gateway if the
                client has a gateway_url (with the keywords ``input``, ``version``,
                ``pool`` and ``request_id``), otherwise through the API server.
            wait_timeout: seconds; None waits without limit. After it the job continues.
            on_change: called with the run after each change of the job.
            check: raise an error if the job failed.
            on_stdout: called with text while the code prints it; see Run.wait.
            on_stderr: the same for stderr.
            on_output: the same for both streams together.
            on_note: called with a sentence about missing text.
            **keywords: see submit.

        Raises:
            JobFailed: the job failed, and ``check`` is set; the subclass follows from the reason.
            WaitTimeout: the job has not ended.
            NanoGridError: see :mod:`nanogrid.client.errors`.
        """
        if self.by_gateway(keywords):
            result = self._invoked(keywords, wait_timeout)
            callbacks = OutputCallbacks(on_stdout, on_stderr, on_output)
            callbacks.write("stdout", result.stdout)
            callbacks.write("stderr", result.stderr)
            return result.raise_for_status() if check else result
        result = self.submit(code, **keywords).wait(
            wait_timeout,
            on_change,
            on_stdout=on_stdout,
            on_stderr=on_stderr,
            on_output=on_output,
            on_note=on_note,
        )
        return result.raise_for_status() if check else result

    def submit(self, code: str | Json | None = None, **keywords: Any) -> Run:
        """Create a job and return at once.

        Args:
            code: Python source text; or a whole manifest, then without keywords.
            **keywords: see docs/python.md, "Keywords". Instead of ``code``: ``file`` (path of a
                script), ``directory`` (path; zipped and uploaded), or ``function`` (name of a
                Function) with ``input`` (any JSON; the function reads it from the path in
                $FUNCTION_INPUT). A pathlib.Path in ``inputs`` is a local file or folder and is
                uploaded first.

        Raises:
            InvalidRequest: the job is not valid; nothing was created.
            Conflict: another job has the name or requestId.
            ApiError: the API server refuses the job.
        """
        from nanogrid.client.jobs.manifest import build_job, stamped, validate

        if isinstance(code, dict):
            if keywords:
                raise InvalidRequest("a manifest does not accept keywords.", "Put them into it.")
            validate(code.get("spec") or {})
            return self._submit(stamped(code))
        return self._submit(build_job(**self._preparer.keywords(code, keywords)))

    def get(self, name: str, namespace: str | None = None) -> Run:
        """An existing job.

        Raises:
            NotFound: the job does not exist.
            InvalidRequest: no job can have this name.
        """
        job = self.cluster.get(named(jobs(namespace or self.namespace), name))
        return self._run(job)

    def list(
        self,
        phase: str | None = None,
        all_namespaces: bool = False,
        labels: str = "",
        *,
        function: str | None = None,
        since: float | None = None,
        limit: int | None = None,
    ) -> Runs:
        """Jobs, the newest first.

        Args:
            phase: for example Failed, in upper or lower case.
            all_namespaces: the jobs of all namespaces.
            labels: a label selector.
            function: only runs of this function.
            since: only jobs created in the last number of seconds.
            limit: only this number of jobs. A small one, without phase and function, reads the
                metadata of all jobs and then these jobs only.

        Raises:
            InvalidRequest: there is no such phase.
        """
        wanted = None if phase is None else phase_named(phase)
        selection = Selection(phase=wanted, function=function, since=since)
        namespace = None if all_namespaces else self.namespace
        found = newest(self.cluster, namespace, labels, selection, limit)
        return [self._run(job) for job in found]

    def upload(self, path: str | Path, key: str | None = None) -> Uploaded:
        """Store a file in the bucket, or a folder as a ZIP; the default key has its checksum.

        Use the return value in ``inputs``, where a folder becomes a folder again. For a folder with
        main.py it is also a value of ``archive``.
        """
        return self._preparer.upload(Path(path), key)

    @property
    def functions(self) -> "Functions":
        """The Functions of the namespace."""
        from nanogrid.client.functions import Functions

        return Functions(self.cluster, self._preparer.archive)

    def invoke(
        self,
        function_id: str,
        input_data: Any = None,
        *,
        request_id: str | None = None,
        version: int | None = None,
        timeout: float = READY_SECONDS,
        pool: str | None = None,
    ) -> "Result":
        """Run a function of the gateway and wait for its result.

        Args:
            function_id: of the function.
            input_data: any JSON.
            request_id: makes the call repeatable; default is a new id.
            version: default is the newest version.
            timeout: seconds.
            pool: the ExecutionPool that gives the run a waiting pod; default is the function's.

        Raises:
            NotConfigured: there is no gateway_url and no $NANOGRID_URL.
            WaitTimeout: the run has not ended.
            ApiError: the gateway refuses the request.
        """
        from nanogrid.client.gateway import Gateway
        from nanogrid.client.jobs.result import Result

        gateway = Gateway.connect(self._gateway_url)
        found = gateway.run(function_id, input_data, request_id, version, timeout, pool)
        return Result(found, lambda: self.storage)

    def session(self, *, ready_timeout: float = READY_SECONDS, **keywords: Any) -> "Session":
        """Start a session; as a context manager it is ready inside and ends at the end.

        Without a context manager, its first request waits until it is ready. Call its ``end``;
        otherwise it ends after its idle timeout.

        Args:
            ready_timeout: seconds to wait until the session accepts requests.
            **keywords: see submit; ``session`` is spec.session, for example
                {"idleTimeoutSeconds": 600}.
        """
        from nanogrid.client.jobs.manifest import build_job, job_name

        code = keywords.pop("code", None)
        rules = keywords.pop("session", None) or {}
        made = self._preparer.keywords(code, keywords | {"session": rules})
        made["name"] = made.get("name") or job_name(made.get("request_id"), "session")
        return self._session(self._submit(build_job(**made)), ready_timeout, owned=True)

    def attach(self, name: str, *, ready_timeout: float = READY_SECONDS) -> "Session":
        """An existing session; the end of the context manager does not end it.

        Raises:
            NotFound: the job does not exist.
            InvalidRequest: the job is not a session.
        """
        run = self.get(name)
        if run.job["spec"].get("mode") != names.MODE_SESSION:
            raise InvalidRequest(f"job {name} is not a session.", "Use get().")
        return self._session(run, ready_timeout, owned=False)

    def by_gateway(self, keywords: Mapping[str, Any]) -> bool:
        """Whether run() uses the gateway for these keywords, and not the API server."""
        return keywords.get("function") is not None and self._gateway_url is not None

    def _invoked(self, keywords: Mapping[str, Any], wait_timeout: float | None) -> "Result":
        known = {"function", "input", "version", "request_id", "pool"}
        if unknown := sorted(set(keywords) - known):
            message = f"the gateway does not accept {', '.join(unknown)}."
            hint = "Leave them out, or create the client without gateway_url."
            raise InvalidRequest(message, hint)
        return self.invoke(
            keywords["function"],
            keywords.get("input"),
            request_id=keywords.get("request_id"),
            version=keywords.get("version"),
            pool=keywords.get("pool"),
            timeout=LONGEST_SECONDS if wait_timeout is None else wait_timeout,
        )

    def close(self) -> None:
        """Close port-forwards and connections of this client; sessions continue."""
        for session in list(self._sessions):
            session.close()
        self._close_storage()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, job: Json) -> Run:
        return Run(self.cluster, job, lambda: self.storage)

    def _session(self, run: Run, ready_timeout: float, owned: bool) -> "Session":
        from nanogrid.client.sessions.session import Session

        made = Session(self.cluster, run, ready_timeout, owned)
        self._sessions.add(made)
        return made

    def _submit(self, manifest: Json) -> Run:
        from nanogrid.client.jobs.manifest import in_class
        from nanogrid.client.jobs.submit import submit
        from nanogrid.client.tracing import submitting, traced

        manifest = in_class(manifest, self.controller_class)
        metadata = {"namespace": self.namespace} | manifest["metadata"]
        with submitting("nanogrid.submit"):
            body = traced(manifest | {"metadata": metadata})
            return self._run(submit(self.cluster, body))
