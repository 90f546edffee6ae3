"""What people with one of the roles can do with the command line, and nothing more."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nanogrid import names
from nanogrid.cli.app.exits import Exit
from support.kubectl import KubectlError, Namespace, eventually, kubectl
from support.release import RELEASE, RELEASE_NAMESPACE
from support.sessions import session

PROGRAM = [sys.executable, "-c", "from nanogrid.cli.main import main; main()"]
CALL_SECONDS = 180
SMALL = ("--memory", "64Mi", "--cpu", "100m")
USER = f"{RELEASE_NAMESPACE}:{RELEASE}-user"
Done = subprocess.CompletedProcess[str]
AsRole = Callable[[str], Callable[..., Done]]


@pytest.fixture
def as_role(namespace: Namespace, tmp_path: Path) -> AsRole:
    """The command line as a service account that has one role, in the test's namespace only."""

    def start(role: str) -> Callable[..., Done]:
        account = f"{namespace.name}:person"
        namespace.kubectl("create", "serviceaccount", "person")
        binding = ("create", "rolebinding", "person", f"--clusterrole={role}")
        namespace.kubectl(*binding, f"--serviceaccount={account}")
        config = tmp_path / "kubeconfig"
        config.write_text(kubeconfig(namespace))

        def run(*args: str) -> Done:
            return subprocess.run(
                [*PROGRAM, *args],
                env={**os.environ, "KUBECONFIG": str(config)},
                capture_output=True,
                text=True,
                timeout=CALL_SECONDS,
            )

        eventually(f"{role} is bound", lambda: run("list").returncode == 0)
        return run

    return start


def kubeconfig(namespace: Namespace) -> str:
    """A kubeconfig with the token of the service account, and nothing of the administrator."""
    found = json.loads(kubectl("config", "view", "--raw", "--minify", "-o", "json"))
    token = namespace.kubectl("create", "token", "person", "--duration=1h").strip()
    found["users"] = [{"name": "person", "user": {"token": token}}]
    (context,) = found["contexts"]
    context["context"] |= {"user": "person", "namespace": namespace.name}
    return json.dumps(found)


@pytest.mark.parametrize("role", [USER, "edit", "admin"])
def test_a_role_that_writes_runs_reads_and_explains_jobs(as_role: AsRole, role: str) -> None:
    nanogrid = as_role(role)
    ran = nanogrid("run", "-c", "print('mine')", "--name", "mine", *SMALL)
    assert (ran.returncode, ran.stdout) == (0, "mine\n"), ran.stderr
    assert nanogrid("logs", "mine").stdout == "mine\n"
    why = nanogrid("why", "mine")
    assert why.returncode == 0, why.stderr
    assert nanogrid("get", "mine").returncode == 0


def test_the_role_edit_uses_sessions_without_rights_in_the_release(
    as_role: AsRole, namespace: Namespace, tmp_path: Path
) -> None:
    nanogrid = as_role("edit")
    made = nanogrid("session", "new", "s", "--memory", "128Mi", "--idle", "10m")
    assert made.returncode == 0, made.stderr
    assert nanogrid("session", "exec", "s", "x = 41").returncode == 0
    answer = nanogrid("session", "exec", "s", "print(x + 1)")
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "42\n", "")
    (tmp_path / "in.txt").write_text("text")
    assert nanogrid("session", "cp", str(tmp_path / "in.txt"), "s:data/").returncode == 0
    back = nanogrid("session", "cp", "s:data", str(tmp_path / "back"))
    assert back.returncode == 0, back.stderr
    assert (tmp_path / "back" / "in.txt").read_text() == "text"
    account = f"system:serviceaccount:{namespace.name}:person"
    for right in (("create", "pods/portforward"), ("get", "services"), ("list", "pods")):
        asked = ("auth", "can-i", *right, f"--as={account}", "-n", RELEASE_NAMESPACE)
        with pytest.raises(KubectlError):  # can-i exits with 1: no
            kubectl(*asked)
    ended = nanogrid("session", "rm", "s")
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("role", ["view", USER])
def test_a_role_without_secrets_enters_no_session(
    as_role: AsRole, namespace: Namespace, role: str
) -> None:
    namespace.apply(session("s"))
    namespace.kubectl("wait", "ej/s", "--for=condition=Ready", "--timeout=120s")
    nanogrid = as_role(role)
    refused = nanogrid("session", "exec", "s", "print(1)")
    assert refused.returncode == Exit.FORBIDDEN
    assert "secrets" in refused.stderr
    assert "s" in nanogrid("session", "ls").stdout


def test_the_role_view_changes_nothing(as_role: AsRole) -> None:
    nanogrid = as_role("view")
    refused = nanogrid("run", "-c", "print(1)", *SMALL)
    assert refused.returncode == Exit.FORBIDDEN
    assert names.PLURAL in refused.stderr
