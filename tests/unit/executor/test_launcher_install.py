"""The launcher's directory: its files, the Pythons that can run it, and the errors of others."""

import ast
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from nanogrid_executor import launcher_install
from nanogrid_executor.launcher import main
from nanogrid_executor.launcher_install import FOLDER, MAIN

OLD_PYTHONS = sorted((Path.home() / ".pyenv/versions").glob("[23].*/bin/python"))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    launcher_install.install(tmp_path / "launcher")
    return tmp_path / "launcher"


def run(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_it_runs_without_site_packages(directory: Path) -> None:
    # The pod's command, and the directory as a program.
    for program in (directory / "__main__.py", directory):
        done = run(sys.executable, "-I", "-S", str(program), "--check")
        assert (done.returncode, done.stderr) == (0, "")


def test_it_has_the_site_of_the_interpreter_that_waits(directory: Path) -> None:
    site = directory / "nanogrid_executor/launcher/waiting_site"
    assert (site / "sitecustomize.py").is_file()
    assert list((site / "__pycache__").glob("sitecustomize.*.pyc"))


def test_a_job_without_a_pool_does_not_import_it(directory: Path) -> None:
    python = (sys.executable, "-I", "-S", "-X", "importtime", str(directory))
    checked = run(*python, "--check")
    assert checked.returncode == 0
    assert "nanogrid_executor.launcher.batch" in checked.stderr
    assert "waiting" not in checked.stderr
    assert "sitecustomize" not in checked.stderr


def test_it_replaces_an_existing_directory(directory: Path) -> None:
    launcher_install.install(directory)
    assert run(sys.executable, "-I", "-S", str(directory), "--check").returncode == 0


def test_all_users_can_read_it(tmp_path: Path) -> None:
    directory = tmp_path / "launcher"
    old = os.umask(0o077)
    try:
        launcher_install.install(directory)
    finally:
        os.umask(old)
    folders = [directory, *(path for path in directory.rglob("*") if path.is_dir())]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o755 for path in folders)
    files = [path for path in directory.rglob("*") if path.is_file()]
    assert len(files) == 2 * (len(list(FOLDER.rglob("*.py"))) + 1) + 1
    assert all(stat.S_IMODE(path.stat().st_mode) & 0o444 == 0o444 for path in files)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become another user")
def test_any_user_can_install_it(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o777)
    code = (
        "import os, sys; from pathlib import Path; os.setuid(12345);"
        "from nanogrid_executor.launcher_install import install; install(Path(sys.argv[1]))"
    )
    parent = tmp_path
    while parent != parent.parent:  # only root can enter pytest's own directories
        if not os.stat(parent).st_mode & 0o001:
            os.chmod(parent, 0o711)
        parent = parent.parent
    imports = "import py_compile, nanogrid_executor.launcher_install;"
    done = run(sys.executable, "-c", imports + code, str(tmp_path / "launcher"))
    if "Permission denied" in done.stderr and "site-packages" in done.stderr:
        pytest.skip("only root can use this Python")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "launcher/__main__.py").stat().st_uid == 12345


def test_it_imports_only_itself_and_the_standard_library(directory: Path) -> None:
    ours = "nanogrid_executor.launcher"
    known = sys.stdlib_module_names | {"sitecustomize"}  # the image's own, if it has one
    for path in directory.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            found = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            found += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            others = {
                n.partition(".")[0] for n in found if n != ours and not n.startswith(f"{ours}.")
            }
            assert others <= known, path


def test_the_error_names_a_python_that_is_too_old(directory: Path) -> None:
    code = f"import sys; sys.version_info = (3, 9, 1); exec({MAIN!r})"
    done = run(sys.executable, "-c", code)
    assert done.returncode == main.EXIT_UNSUITABLE == launcher_install.UNSUITABLE == 64
    assert done.stderr == ("nanogrid launcher: Python 3.9 is too old, 3.11 or later is needed\n")


@pytest.mark.skipif(not OLD_PYTHONS, reason="this machine has no other Pythons")
@pytest.mark.parametrize("python", OLD_PYTHONS, ids=str)
def test_only_supported_pythons_run_it(directory: Path, python: Path) -> None:
    done = run(str(python), "-S", str(directory), "--check")
    version = tuple(int(part) for part in python.parts[-3].split(".")[:2])
    assert done.returncode == (0 if version >= (3, 11) else 64), done.stderr
    assert ("too old" in done.stderr) == (version < (3, 11))


def test_the_error_names_a_missing_standard_module(directory: Path) -> None:
    code = f"import sys; sys.modules['ctypes'] = None; sys.path.insert(0, {str(directory)!r})"
    done = run(sys.executable, "-I", "-S", "-c", f"{code}; __file__ = '/x/y'; exec({MAIN!r})")
    assert done.returncode == 64
    assert "lacks a standard module" in done.stderr
