"""A control plane of its own on loopback: etcd, API server, controllers, scheduler, kwok.

The programs are those of the test cluster, which itself is left alone. There is no kubelet: kwok
plays the life of the pods on fake nodes (:mod:`support.controlplane.fakenodes`). Each client has
a user and a token of its own.
"""

import base64
import json
import os
import secrets
import shutil
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cluster.steps import killed_with_parent
from support.controlplane import fakenodes
from support.s3_server import free_port

TESTS = Path(__file__).parents[2]
REDIS = "redis-server"
PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok")
BUILD_SECONDS = 3600
READY_SECONDS = 120
STOP_SECONDS = 20
USERS = ("bench", "operator", "controllers", "jobs", "scheduler", "kwok")
# All clients have these limits, except where a subject says otherwise.
QPS = 500
# The defaults of kube-controller-manager: requests per second, and at once.
DEFAULT_QPS, DEFAULT_BURST = 20, 30
# Nodes have no leases, so nothing may call them lost.
WITHOUT = ("node-lifecycle-controller", "taint-eviction-controller")
JOBS = "job-controller"
# Without the stages of a request before its end, and without reads of the servers' own health.
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived", "ResponseStarted"],
    "rules": [{"level": "None", "nonResourceURLs": ["*"]}, {"level": "Metadata"}],
}


def programs() -> dict[str, str]:
    """The path of each program by its name; builds those that are missing.

    Raises:
        RuntimeError: one cannot be built.
    """
    found = {}
    for name in PROGRAMS:
        command = [sys.executable, "-m", "cluster", "tool", name]
        done = subprocess.run(
            command, cwd=TESTS, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"{name} is not available: {done.stderr[-2000:]}")
        found[name] = done.stdout.split()[-1]
    redis = shutil.which(REDIS)
    if redis is None:
        raise RuntimeError(f"{REDIS} is not on PATH")
    return {**found, REDIS: redis}


@dataclass
class Servers:
    """The processes; :meth:`stop` ends those that were started."""

    directory: Path
    programs: dict[str, str]
    port: int = field(default_factory=free_port)
    tokens: dict[str, str] = field(
        default_factory=lambda: {user: secrets.token_hex(16) for user in USERS}
    )
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _redis_port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        """The API server's."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def audit_log(self) -> Path:
        """One JSON object per request."""
        return self.directory / "audit.log"

    def tls(self) -> ssl.SSLContext:
        """Trusts the certificate that the API server made for itself."""
        return ssl.create_default_context(cafile=str(self._certificate))

    @property
    def _certificate(self) -> Path:
        return self.directory / "certificates" / "apiserver.crt"

    def kubeconfig(self, user: str) -> Path:
        """A kubeconfig file of one of USERS."""
        path = self.directory / f"kubeconfig-{user}"
        authority = base64.b64encode(self._certificate.read_bytes()).decode()
        cluster = {"server": self.url, "certificate-authority-data": authority}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "bench", "cluster": cluster}],
            "users": [{"name": user, "user": {"token": self.tokens[user]}}],
            "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": user}}],
            "current-context": "bench",
        }
        path.write_text(json.dumps(config))
        return path

    @property
    def redis_url(self) -> str:
        """Of the operator's Redis."""
        return f"redis://127.0.0.1:{self._redis_port}/0"

    def start(self) -> None:
        """Start all servers but the controller of batch/v1 Jobs; returns when the API answers."""
        redis = ("--port", str(self._redis_port), "--bind", "127.0.0.1", "--save", "")
        self._run(REDIS, *redis)
        self._start_etcd()
        self._start_api_server()
        self.wait_ready()
        most = f"--controllers=*,-{JOBS}," + ",".join(f"-{name}" for name in WITHOUT)
        self._run("kube-controller-manager", *self._controllers("controllers", QPS, QPS, most))
        self._run("kube-scheduler", f"--kubeconfig={self.kubeconfig('scheduler')}",
                  "--leader-elect=false", "--secure-port=0",
                  f"--kube-api-qps={QPS}", f"--kube-api-burst={QPS}")  # fmt: skip
        stages = self.directory / "stages.yaml"
        stages.write_text(fakenodes.configuration())
        self._run("kwok", f"--kubeconfig={self.kubeconfig('kwok')}", f"--config={stages}",
                  "--manage-all-nodes=true", "--node-lease-duration-seconds=0")  # fmt: skip

    def start_job_controller(self, qps: int, burst: int) -> None:
        """Run the controller of batch/v1 Jobs, and nothing else, with these limits."""
        self._run("kube-controller-manager", *self._controllers("jobs", qps, burst,
                  f"--controllers={JOBS}"), name=JOBS)  # fmt: skip

    def stop_job_controller(self) -> None:
        """End it."""
        self._end(self.processes.pop(JOBS))

    def _start_etcd(self) -> None:
        client, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        self._etcd = client
        self._run("etcd", f"--data-dir={self.directory / 'etcd'}", "--log-level=warn",
                  f"--listen-client-urls={client}", f"--advertise-client-urls={client}",
                  f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}",
                  f"--initial-cluster=default={peer}",
                  "--quota-backend-bytes=4294967296")  # fmt: skip

    def _start_api_server(self) -> None:
        key = self.directory / "service-accounts.key"
        subprocess.run(
            ["openssl", "genrsa", "-out", str(key), "2048"],
            check=True, capture_output=True, timeout=60,
        )  # fmt: skip
        tokens = self.directory / "tokens.csv"
        tokens.write_text(
            "".join(
                f"{token},{user},{user},system:masters\n" for user, token in self.tokens.items()
            )
        )
        policy = self.directory / "audit-policy.json"
        policy.write_text(json.dumps(AUDIT_POLICY))
        self._run("kube-apiserver", f"--etcd-servers={self._etcd}", "--bind-address=127.0.0.1",
                  f"--secure-port={self.port}", f"--cert-dir={self._certificate.parent}",
                  f"--token-auth-file={tokens}", "--authorization-mode=RBAC",
                  "--service-account-issuer=https://kubernetes.default.svc",
                  f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}",
                  "--service-cluster-ip-range=10.0.0.0/24", f"--audit-policy-file={policy}",
                  f"--audit-log-path={self.audit_log}", "--audit-log-mode=batch")  # fmt: skip

    def _controllers(self, user: str, qps: int, burst: int, which: str) -> list[str]:
        key = self.directory / "service-accounts.key"
        return [f"--kubeconfig={self.kubeconfig(user)}", "--leader-elect=false", "--secure-port=0",
                f"--service-account-private-key-file={key}", f"--kube-api-qps={qps}",
                f"--kube-api-burst={burst}", which]  # fmt: skip

    def _run(self, program: str, *arguments: str, name: str = "") -> None:
        name = name or program
        command: Sequence[str | Path] = [self.programs[program], *arguments]
        with open(self.directory / f"{name}.log", "ab") as log:
            self.processes[name] = subprocess.Popen(
                killed_with_parent(command), stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                cwd=self.directory, env={"PATH": os.environ["PATH"], "HOME": str(self.directory)},
            )  # fmt: skip

    def wait_ready(self) -> None:
        """Wait until the API server is ready.

        Raises:
            RuntimeError: a server ended, or it is not ready in time; with the end of its log.
        """
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            self.check()
            try:
                headers = {"Authorization": f"Bearer {self.tokens['bench']}"}
                request = urllib.request.Request(f"{self.url}/readyz", headers=headers)
                with urllib.request.urlopen(request, timeout=5, context=self.tls()):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        raise RuntimeError(f"the API server is not ready:\n{self._tail('kube-apiserver')}")

    def check(self) -> None:
        """Raise a RuntimeError if a server has ended."""
        for name, process in self.processes.items():
            if process.poll() is not None:
                raise RuntimeError(f"{name} ended:\n{self._tail(name)}")

    def _tail(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text(errors="replace")[-2000:]

    def stop(self) -> None:
        """End all processes, the newest first."""
        while self.processes:
            self._end(self.processes.popitem()[1])

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_SECONDS)
