"""Trusted containers have the job's files in their working directory, and import none of them."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import nanogrid
import nanogrid_executor
from nanogrid import names
from nanogrid.types import Json
from support.builders import EXECUTOR_IMAGE
from support.pod_manifests import ZIP_JOB, built, container, containers_of

pytestmark = pytest.mark.security

MARKER = "imported-by-a-trusted-container"
MODULE = f"open({MARKER!r}, 'w').close()\nraise ImportError('of the job')\n"
# Of the standard library, of a dependency, of our own: with the first the programs begin.
MODULES = ("json", "obstore", "nanogrid")
CONTAINERS = (names.CONTAINER_SYNC, names.CONTAINER_AGENT)


def imports_of_the_job(command: list[str], workspace: Path) -> bool:
    """Whether a trusted container takes a module from the job's files; it has no task, and ends."""
    for module in MODULES:
        (workspace / f"{module}.py").write_text(MODULE)
    ours = [str(Path(each.__path__[0]).parent) for each in (nanogrid, nanogrid_executor)]
    path = os.pathsep.join([*ours, sysconfig.get_path("platlib")])
    program = [sys.executable, *command[1:]]
    done = subprocess.run(
        program, cwd=workspace, env={"PYTHONPATH": path}, capture_output=True, timeout=60
    )
    assert done.returncode != 0
    marker = workspace / MARKER
    return marker.exists() and not marker.unlink()


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_trusted_container_imports_no_file_of_the_job(name: str, tmp_path: Path) -> None:
    command = container(built(**ZIP_JOB), name)["command"]

    assert not imports_of_the_job(command, tmp_path)
    # The positive control: Python looks there if nothing keeps it from it.
    assert imports_of_the_job([each for each in command if each != "-P"], tmp_path)


@pytest.mark.parametrize(
    "spec",
    [
        ZIP_JOB,
        {"mode": "Session", "code": None},
        {"mode": "Session", "code": None} | {"runtime": {"image": "team-a/pandas:2"}},
    ],
    ids=["batch", "session", "session in a foreign image"],
)
def test_every_python_of_a_pod_ignores_its_working_directory(spec: Json) -> None:
    found = containers_of(built(**spec))

    for each in found:
        # -I includes -P.
        assert each["command"][1] == (
            "-P"
            if each["image"] == EXECUTOR_IMAGE and each["name"] != names.CONTAINER_SANDBOX
            else "-I"
        )
