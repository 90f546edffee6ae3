"""Every block that a reader can paste, in the order of its page, with nothing else prepared."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nanogrid import names
from support.doc_blocks import blocks, script_of
from support.doc_shell import PAGES, run_page, workplace
from support.kubectl import Namespace, kubectl, kubectl_json
from support.release import IN_RELEASE

CALLER = "my-client"
TEAM = "team-a"
PYTHON_PAGE = Path("docs/python.md")
MARKERS = {"", "cluster"}


@pytest.fixture
def connection(namespace: Namespace, tmp_path: Path) -> dict[str, str]:
    """The environment of a reader whose current namespace is the test's."""
    config = json.loads(kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
    config["contexts"][0]["context"]["namespace"] = namespace.name
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(config))
    programs = Path(sys.executable).parent
    return {"KUBECONFIG": str(path), "PATH": f"{programs}:{os.environ['PATH']}"}


@pytest.fixture
def nothing_prepared(cluster: None) -> Iterator[None]:
    """The objects that pages create outside their namespace are absent, before and after."""
    before = set(functions())
    remove()
    yield
    remove()
    # Other tests upload functions meanwhile; no page names those.
    shown = "".join(Path(page).read_text() for page in PAGES)
    for name in {one for one in functions() if one in shown} - before:
        label = f"{names.LABEL_FUNCTION}={name}"
        kubectl(*IN_RELEASE, "delete", "ej", "-l", label, "--wait=false")
        kubectl(*IN_RELEASE, "delete", "fn", name, "--ignore-not-found")


def functions() -> list[str]:
    """Names of the gateway's functions."""
    return [one["metadata"]["name"] for one in kubectl_json(*IN_RELEASE, "get", "fn")["items"]]


def remove() -> None:
    """Delete what a page creates outside its namespace."""
    for kind in ("rolebinding", "serviceaccount"):
        kubectl(*IN_RELEASE, "delete", kind, CALLER, "--ignore-not-found")
    kubectl(*IN_RELEASE, "delete", "ngt", TEAM, "--ignore-not-found")
    kubectl("delete", "namespace", TEAM, "--ignore-not-found")


def free_port() -> int:
    """A port without a listener."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.mark.parametrize("page", PAGES)
def test_a_page_runs_from_its_first_block_to_its_last(
    page: str,
    namespace: Namespace,
    connection: dict[str, str],
    nothing_prepared: None,
    tmp_path: Path,
) -> None:
    port = free_port()
    # The reader's namespace is not `default`, and port 8080 may be in use here.
    replaced = {
        r"\bdefault/": f"{namespace.name}/",
        r"\b8080:8080\b": f"{port}:8080",
        r"\blocalhost:8080\b": f"localhost:{port}",
    }
    env = connection | {"GATEWAY_URL": f"http://127.0.0.1:{port}"}
    assert run_page(Path(page), workplace(tmp_path / "work", replaced), env, replaced)


def test_the_blocks_of_the_python_page_are_a_script_that_ends_normally(
    connection: dict[str, str],
) -> None:
    left_out = [one for one in blocks(PYTHON_PAGE) if one[0] not in MARKERS]
    assert len(left_out) == 1, "only the block of the gateway runs elsewhere"
    done = subprocess.run(
        [sys.executable, "-c", script_of(PYTHON_PAGE, MARKERS)],
        env={**os.environ, **connection},
        capture_output=True,
        text=True,
        timeout=480,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
