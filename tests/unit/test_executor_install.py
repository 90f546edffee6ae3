"""The launcher's directory: what is in it, who can run it, and what it says where it cannot run."""

import ast
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from nanogrid_executor import install, launcher
from nanogrid_executor.install import MAIN, MODULES

OLD_PYTHONS = sorted((Path.home() / ".pyenv/versions").glob("[23].*/bin/python"))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    install.install(tmp_path / "launcher")
    return tmp_path / "launcher"


def run(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_it_runs_without_site_packages(directory: Path) -> None:
    done = run(sys.executable, "-I", "-S", str(directory), "--check")
    assert (done.returncode, done.stderr) == (0, "")


def test_it_may_be_there_already(directory: Path) -> None:
    install.install(directory)
    assert run(sys.executable, "-I", "-S", str(directory), "--check").returncode == 0


def test_everybody_may_read_it(tmp_path: Path) -> None:
    directory = tmp_path / "launcher"
    old = os.umask(0o077)
    try:
        install.install(directory)
    finally:
        os.umask(old)
    folders = [directory, *(path for path in directory.rglob("*") if path.is_dir())]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o755 for path in folders)
    files = [path for path in directory.rglob("*") if path.is_file()]
    assert len(files) == 2 * len(MODULES) + 1
    assert all(stat.S_IMODE(path.stat().st_mode) & 0o444 == 0o444 for path in files)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become somebody else")
def test_any_user_can_install_it(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o777)
    code = (
        "import os, sys; from pathlib import Path; os.setuid(12345);"
        "from nanogrid_executor.install import install; install(Path(sys.argv[1]))"
    )
    parent = tmp_path
    while parent != parent.parent:  # pytest's own directories are root's alone
        if not os.stat(parent).st_mode & 0o001:
            os.chmod(parent, 0o711)
        parent = parent.parent
    imports = "import py_compile, nanogrid_executor.install;"
    done = run(sys.executable, "-c", imports + code, str(tmp_path / "launcher"))
    if "Permission denied" in done.stderr and "site-packages" in done.stderr:
        pytest.skip("this Python is root's alone")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "launcher/__main__.py").stat().st_uid == 12345


def test_it_imports_nothing_but_the_standard_library(directory: Path) -> None:
    allowed = sys.stdlib_module_names | {"nanogrid_executor"}
    for path in directory.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            found = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            found += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert {name.partition(".")[0] for name in found} <= allowed, path


def test_modules_are_all_that_the_launcher_imports() -> None:
    text = "".join((Path(install.__file__).parent / f"{m}.py").read_text() for m in MODULES)
    used = re.findall(r"^from nanogrid_executor import (.+)$", text, re.MULTILINE)
    named = {name.strip() for line in used for name in line.split(",")}
    named |= set(re.findall(r"^from nanogrid_executor\.(\w+) import", text, re.MULTILINE))
    assert named <= set(MODULES)


def test_an_old_python_is_named(directory: Path) -> None:
    code = f"import sys; sys.version_info = (3, 9, 1); exec({MAIN!r})"
    done = run(sys.executable, "-c", code)
    assert done.returncode == launcher.EXIT_UNSUITABLE == install.UNSUITABLE == 64
    assert done.stderr == ("nanogrid launcher: Python 3.9 is too old, 3.11 or later is needed\n")


@pytest.mark.skipif(not OLD_PYTHONS, reason="there are no other Pythons")
@pytest.mark.parametrize("python", OLD_PYTHONS, ids=str)
def test_the_pythons_of_this_machine(directory: Path, python: Path) -> None:
    done = run(str(python), "-S", str(directory), "--check")
    version = tuple(int(part) for part in python.parts[-3].split(".")[:2])
    assert done.returncode == (0 if version >= (3, 11) else 64), done.stderr
    assert ("too old" in done.stderr) == (version < (3, 11))


def test_a_python_without_a_module_is_named(directory: Path) -> None:
    code = f"import sys; sys.modules['ctypes'] = None; sys.path.insert(0, {str(directory)!r})"
    done = run(sys.executable, "-I", "-S", "-c", f"{code}; exec({MAIN!r})")
    assert done.returncode == 64
    assert "lacks a standard module" in done.stderr
