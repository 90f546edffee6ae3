"""The client: run code on a cluster, and get at jobs, files and sessions that are there."""

from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from typing import Any, Final
from weakref import WeakSet

from nanogrid import names
from nanogrid.client.cluster import Cluster, jobs
from nanogrid.client.errors import InvalidRequest
from nanogrid.client.functions import Functions
from nanogrid.client.gateway import Gateway
from nanogrid.client.live import Heard
from nanogrid.client.manifest import (
    Uploaded,
    build_job,
    job_name,
    stamped,
    validate,
)
from nanogrid.client.preparing import Preparing
from nanogrid.client.result import Result
from nanogrid.client.run import Run
from nanogrid.client.session import Session
from nanogrid.client.storage import Storage
from nanogrid.client.submitting import submit

Json = dict[str, Any]
Runs = list[Run]
READY_SECONDS: Final = 300.0
LONGEST_SECONDS: Final = 7 * 86_400.0  # no run takes longer


class Client:
    """Jobs of one namespace. Safe for threads; close it, or use it as a context manager.

    Nothing is connected before it is needed.

    Args:
        namespace: default is $NANOGRID_NAMESPACE, then the kubeconfig's.
        context: of the kubeconfig.
        kubeconfig: path of it.
        gateway_url: of the gateway, for ``invoke``; default is $NANOGRID_URL.
        s3: default is the environment's (see Storage.find).
    """

    def __init__(
        self,
        namespace: str | None = None,
        context: str | None = None,
        kubeconfig: str | None = None,
        gateway_url: str | None = None,
        s3: Storage | None = None,
    ) -> None:
        self._asked = (context, kubeconfig, namespace)
        self._gateway_url = gateway_url
        self._cluster: Cluster | None = None
        self._own_storage: Storage | None = None
        self._storage = s3
        # Not one: finding the storage asks for the cluster.
        self._cluster_lock, self._storage_lock = Lock(), Lock()
        self._sessions: WeakSet[Session] = WeakSet()
        self._prepare = Preparing(lambda: self.storage)

    @property
    def cluster(self) -> Cluster:
        """The API server.

        Raises:
            NotConfigured: there are no credentials.
        """
        with self._cluster_lock:
            if self._cluster is None:
                self._cluster = Cluster.connect(*self._asked)
            return self._cluster

    @property
    def namespace(self) -> str:
        """The namespace that is meant when none is named."""
        return self.cluster.namespace

    @property
    def storage(self) -> Storage:
        """S3, for uploads and outputs.

        Raises:
            NotConfigured: there is none.
        """
        with self._storage_lock:
            if self._storage is None:
                self._storage = self._own_storage = Storage.find(self.cluster)
            return self._storage

    def run(
        self,
        code: str | None = None,
        *,
        wait_timeout: float | None = None,
        on_change: Callable[[Run], None] | None = None,
        check: bool = False,
        on_stdout: Heard | None = None,
        on_stderr: Heard | None = None,
        on_output: Heard | None = None,
        on_note: Heard | None = None,
        **keywords: Any,
    ) -> Result:
        """Submit a job and wait for its end; a failed job is a result too, unless ``check``.

        Args:
            code: see submit. ``function`` instead runs a Function: through the gateway when
                this client was made with a gateway_url, which is asked by its keywords ``input``,
                ``version`` and ``request_id``; else through the API server.
            wait_timeout: seconds to wait; None waits for ever. The job goes on.
            on_change: called with the run whenever the job has changed.
            check: raise the job's error when it failed.
            on_stdout: called with what the code prints, while it runs; see Run.wait.
            on_stderr: the same for stderr.
            on_output: the same for both together.
            on_note: called with what is missing of it.
            **keywords: see submit.

        Raises:
            JobFailed: with ``check``; or the subclass of the reason.
            WaitTimeout: the job has not ended.
            NanoGridError: see :mod:`nanogrid.client.errors`.
        """
        if self.by_gateway(keywords):
            result = self._invoked(keywords, wait_timeout)
            for heard, text in ((on_stdout, result.stdout), (on_stderr, result.stderr)):
                if (listener := on_output or heard) is not None:
                    listener(text)
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
            **keywords: those of :func:`nanogrid.client.manifest.build_job`, and instead of code:
                ``file`` (path of a script), ``directory`` (path; zipped and uploaded), or
                ``function`` (name of a Function) with ``input`` (any JSON, which it reads from the
                path in $FUNCTION_INPUT). Values of ``inputs`` may be pathlib.Path: files and
                folders of this machine, uploaded first.

        Raises:
            InvalidRequest: the job is not valid; nothing was created.
            Conflict: another job has the name or requestId.
            ApiError: the API server refuses the job.
        """
        if isinstance(code, dict):
            if keywords:
                raise InvalidRequest("a manifest takes no keywords.", "Put them into the manifest.")
            validate(code.get("spec") or {})
            return self._submit(stamped(code))
        return self._submit(build_job(**self._prepare.keywords(code, keywords)))

    def get(self, name: str, namespace: str | None = None) -> Run:
        """A job that exists.

        Raises:
            NotFound: there is none of that name.
        """
        job = self.cluster.get(f"{jobs(namespace or self.namespace)}/{name}")
        return self._run(job)

    def list(
        self, phase: str | None = None, all_namespaces: bool = False, labels: str = ""
    ) -> Runs:
        """Jobs, the newest first; ``phase`` for example Failed, ``labels`` a selector."""
        found = self.cluster.list(jobs(None if all_namespaces else self.namespace), labels)
        found.sort(key=lambda job: str(job["metadata"]["creationTimestamp"]), reverse=True)
        runs = map(self._run, found)
        return [run for run in runs if phase is None or run.phase == phase]

    def upload(self, path: str | Path, key: str | None = None) -> Uploaded:
        """Store a file in the bucket, or a folder as a ZIP; the default key has its checksum.

        What this gives is a value of ``inputs``, where a folder becomes a folder again; and that of
        a folder with main.py an ``archive``.
        """
        return self._prepare.upload(Path(path), key)

    @property
    def functions(self) -> Functions:
        """The Functions of the namespace."""
        return Functions(self.cluster, self._prepare.archive)

    def invoke(
        self,
        function_id: str,
        input_data: Any = None,
        *,
        request_id: str | None = None,
        version: int | None = None,
        timeout: float = READY_SECONDS,
    ) -> Result:
        """Run a function that was uploaded to the gateway, and wait for its result.

        Args:
            function_id: of the function.
            input_data: any JSON.
            request_id: makes the call repeatable; default is a new one.
            version: default is the newest.
            timeout: seconds to wait.

        Raises:
            NotConfigured: no gateway_url and no $NANOGRID_URL.
            WaitTimeout: the run has not ended.
            ApiError: the gateway refuses it.
        """
        gateway = Gateway.connect(self._gateway_url)
        found = gateway.run(function_id, input_data, request_id, version, timeout)
        return Result(found, lambda: self.storage)

    def session(self, *, ready_timeout: float = READY_SECONDS, **keywords: Any) -> Session:
        """Start a session; used as a context manager it is ready inside and ended at the end.

        Args:
            ready_timeout: seconds to wait until it takes requests.
            **keywords: those of submit; ``session`` holds spec.session, for example
                {"idleTimeoutSeconds": 600}.
        """
        code = keywords.pop("code", None)
        rules = keywords.pop("session", None) or {}
        made = self._prepare.keywords(code, keywords | {"session": rules})
        made["name"] = made.get("name") or job_name(made.get("request_id"), "session")
        return self._session(self._submit(build_job(**made)), ready_timeout, owned=True)

    def attach(self, name: str, *, ready_timeout: float = READY_SECONDS) -> Session:
        """A session that exists; the end of a context manager does not end it.

        Raises:
            NotFound: there is no such job.
            InvalidRequest: it is no session.
        """
        run = self.get(name)
        if run.job["spec"].get("mode") != names.MODE_SESSION:
            raise InvalidRequest(f"job {name} is no session.", "Use get().")
        return self._session(run, ready_timeout, owned=False)

    def by_gateway(self, keywords: Mapping[str, Any]) -> bool:
        """Whether run() sends these keywords to the gateway rather than to the API server."""
        return keywords.get("function") is not None and self._gateway_url is not None

    def _invoked(self, keywords: Mapping[str, Any], wait_timeout: float | None) -> Result:
        known = {"function", "input", "version", "request_id"}
        if unknown := sorted(set(keywords) - known):
            said = f"the gateway takes no {', '.join(unknown)}."
            raise InvalidRequest(said, "Leave them out, or make the client without gateway_url.")
        return self.invoke(
            keywords["function"],
            keywords.get("input"),
            request_id=keywords.get("request_id"),
            version=keywords.get("version"),
            timeout=LONGEST_SECONDS if wait_timeout is None else wait_timeout,
        )

    def close(self) -> None:
        """End port-forwards and connections that this client has made; sessions live on."""
        for session in list(self._sessions):
            session.close()
        with self._storage_lock:
            if self._own_storage is not None:
                self._own_storage.close()
                self._own_storage = self._storage = None

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, job: Json) -> Run:
        return Run(self.cluster, job, lambda: self.storage)

    def _session(self, run: Run, ready_timeout: float, owned: bool) -> Session:
        made = Session(self.cluster, run, ready_timeout, owned)
        self._sessions.add(made)
        return made

    def _submit(self, manifest: Json) -> Run:
        metadata = {"namespace": self.namespace} | manifest["metadata"]
        return self._run(submit(self.cluster, manifest | {"metadata": metadata}))
