"""Which jobs the waiting interpreter runs: those whose own new process would be the same."""

import os
from pathlib import Path

import pytest

from nanogrid_executor.launcher import spawn
from nanogrid_executor.launcher.waiting_fit import JOB_BYTES, Waiting, fits

COMMAND = ["python3", "main.py"]


@pytest.fixture
def waiting(tmp_path: Path) -> Waiting:
    program(tmp_path / "bin")
    env = spawn.environment({}, f"{tmp_path}/none:{tmp_path}/bin")
    return Waiting(
        "/app", env, f"{tmp_path}/bin/python3", {"pandas", "matplotlib"}, {"MPLBACKEND", "USER"}
    )


def program(folder: Path) -> None:
    folder.mkdir()
    (folder / "python3").write_text("")
    os.chmod(folder / "python3", 0o755)


def fit(waiting: Waiting, argv: list[str], cwd: str, *files: str, **env: str) -> bool:
    return fits(waiting, argv, cwd, {**waiting.env, **env}, ["main.py", *files])


@pytest.mark.parametrize(
    ("argv", "cwd", "fitting"),
    [
        (COMMAND, "/app", True),
        ([*COMMAND, "--n", "1"], "/app", True),
        (["python3", "other.py"], "/app", False),
        (["python3", "-u", "main.py"], "/app", False),
        (["python3"], "/app", False),
        (["python", "main.py"], "/app", False),
        (["/usr/bin/python3", "main.py"], "/app", False),
        ([], "/app", False),
        (COMMAND, "/app/sub", False),
        ([*COMMAND, "a\0b"], "/app", False),
        ([*COMMAND, "\ud800"], "/app", False),
        ([*COMMAND, "x" * JOB_BYTES], "/app", False),
    ],
)
def test_command(waiting: Waiting, argv: list[str], cwd: str, fitting: bool) -> None:
    assert fit(waiting, argv, cwd) is fitting


@pytest.mark.parametrize(
    ("name", "value", "fitting"),
    [
        ("REGION", "seoul", True),
        ("TZ", "Asia/Seoul", True),
        ("PYTHONUNBUFFERED", "1", True),
        ("PYTHONUNBUFFERED", "", False),
        ("PYTHONPATH", "/app/lib", False),
        ("PYTHONHASHSEED", "0", False),
        ("HOME", "/app", False),
        ("LANG", "C.UTF-8", True),
        ("LANG", "ko_KR.UTF-8", False),
        ("LC_ALL", "C", False),
        ("LD_PRELOAD", "/app/x.so", False),
        ("MALLOC_ARENA_MAX", "1", False),
        ("GLIBC_TUNABLES", "x", False),
        ("OPENBLAS_NUM_THREADS", "1", False),
        ("MPLBACKEND", "pdf", False),
        ("USER", "me", False),
        ("LOGNAME", "me", True),
        ("A=B", "x", False),
        ("", "x", False),
        ("A", "\0", False),
    ],
)
def test_variable(waiting: Waiting, name: str, value: str, fitting: bool) -> None:
    assert fit(waiting, COMMAND, "/app", **{name: value}) is fitting


@pytest.mark.parametrize(
    ("path", "fitting"),
    [
        ("{0}/bin:/opt", True),
        ("{0}/other:{0}/bin", False),
        ("{0}/none", False),
        ("bin", False),
        ("", False),
    ],
)
def test_path(
    waiting: Waiting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, fitting: bool
) -> None:
    program(tmp_path / "other")
    monkeypatch.chdir(tmp_path)
    assert fit(waiting, COMMAND, "/app", PATH=path.format(tmp_path)) is fitting


@pytest.mark.parametrize(
    ("file", "fitting"),
    [
        ("data.csv", True),
        ("pandas.py", False),
        ("pandas", False),
        ("pandas.cpython.so", False),
        ("matplotlibrc", False),
    ],
)
def test_a_file_that_hides_a_preloaded_module(waiting: Waiting, file: str, fitting: bool) -> None:
    assert fit(waiting, COMMAND, "/app", file) is fitting
