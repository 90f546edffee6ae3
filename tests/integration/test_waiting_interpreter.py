"""An interpreter that waits runs a program exactly as a new process does."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.waiting_pod import COMMAND, PYTHON_DIR, Seen, launcher
from support.waiting_programs import SAME

pytestmark = pytest.mark.integration

PYTHONS = [
    PYTHON_DIR,
    *map(str, sorted((Path.home() / ".pyenv/versions").glob("3.1[1-9].*/bin"))),
]
RUNS: dict[str, dict[str, Any]] = {
    "plain": {},
    "with all": {
        "argv": [*COMMAND, "a b", "", "한"],
        "env": {"GREETING": "안녕\nhello", "TZ": "Asia/Seoul", "EMPTY": "", "USER": "me"},
        "stdin": "one\ntwo\r\nthree",
    },
}


def both(
    launcher_dir: str,
    folder: Path,
    code: str,
    options: tuple[str, ...] = (),
    python_dir: str = PYTHON_DIR,
    **changes: Any,
) -> list[Seen]:
    """What a new process shows, and what the process shows that waited."""
    seen = []
    for waits in (False, True):
        (folder / "main.py").unlink(missing_ok=True)
        with launcher(
            launcher_dir, folder, *options, waits=waits, python_dir=python_dir
        ) as connected:
            if waits:
                connected.wait_until_ready()
                pid = connected.waiting_pid()
            seen.append(connected.run(code, **changes))
            assert not waits or seen[-1].started["pid"] == pid, "it is not used"
    return seen


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "beside.py").write_text("NAME = __name__")
    return tmp_path


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("program", SAME)
def test_a_program_sees_no_difference(
    launcher_dir: str, folder: Path, program: str, run: str
) -> None:
    options = ("--max-file-bytes=9000000", "--max-processes=30000")
    cold, waited = both(launcher_dir, folder, SAME[program], options, **RUNS[run])
    assert waited.user_sees == cold.user_sees
    assert cold.stdout or cold.stderr or cold.exited["exitCode"]


@pytest.mark.parametrize(
    "program", ["interpreter", "stdin", "exception", "multiprocessing", "subinterpreter"]
)
@pytest.mark.parametrize("python", PYTHONS)
def test_other_pythons(launcher_dir: str, folder: Path, python: str, program: str) -> None:
    cold, waited = both(launcher_dir, folder, SAME[program], python_dir=python, **RUNS["with all"])
    assert waited.user_sees == cold.user_sees


def test_a_script_that_is_missing(launcher_dir: str, folder: Path) -> None:
    def end(waits: bool) -> Seen:
        with launcher(launcher_dir, folder, waits=waits) as connected:
            if waits:
                connected.wait_until_ready()
            connected.send()
            return connected.receive()

    assert end(True).user_sees == end(False).user_sees
    assert "can't open file" in end(True).stderr


def test_a_program_that_is_a_link(launcher_dir: str, folder: Path) -> None:
    (folder / "real").mkdir()
    code = "import sys; print(sys.path[0], __file__)"
    (folder / "real/main.py").write_text(code)

    def end(waits: bool) -> Seen:
        (folder / "main.py").unlink(missing_ok=True)
        with launcher(launcher_dir, folder, waits=waits) as connected:
            if waits:
                connected.wait_until_ready()
            (folder / "main.py").symlink_to("real/main.py")
            connected.send()
            return connected.receive()

    assert end(True).user_sees == end(False).user_sees


@pytest.fixture
def venv(folder: Path) -> Callable[[str, str], str]:
    """A function that makes a virtual environment with a module; its folder of programs."""

    def make(name: str, text: str) -> str:
        root = folder / "venv"
        version = Path(os.__file__).parent.name
        packages = root / "lib" / version / "site-packages"
        if not packages.is_dir():
            packages.mkdir(parents=True)
            (root / "bin").mkdir()
            real = os.path.realpath(f"{PYTHON_DIR}/python3")
            (root / "bin/python3").symlink_to(real)
            (root / "pyvenv.cfg").write_text(f"home = {Path(real).parent}\n")
        (packages / name).write_text(text)
        return str(root / "bin")

    return make


def test_the_images_own_sitecustomize_runs_with_the_jobs_variables(
    launcher_dir: str, folder: Path, venv: Any
) -> None:
    text = "import os; print('site', sorted(os.environ)); NAME = __name__"
    python = venv("sitecustomize.py", text)
    code = "import sys; print(sys.modules['sitecustomize'].NAME, sorted(sys.modules))"
    cold, waited = both(launcher_dir, folder, code, python_dir=python, **RUNS["with all"])
    assert waited.user_sees == cold.user_sees
    assert "GREETING" in cold.stdout
    venv("sitecustomize.py", "raise ValueError('broken')")
    cold, waited = both(launcher_dir, folder, code, python_dir=python)
    assert waited.user_sees == cold.user_sees
    assert "Error in sitecustomize" in cold.stderr


def test_a_module_is_loaded_already(launcher_dir: str, folder: Path, venv: Any) -> None:
    python = venv(
        "heavy.py", "import os\nos.write(1, b'import')\nprint('import')\nON = os.getenv('ON')"
    )
    code = "import sys\nprint('heavy' in sys.modules)\nimport heavy\nprint(heavy.ON)"
    with launcher(launcher_dir, folder, "--preload=heavy", python_dir=python) as connected:
        connected.wait_until_ready()
        assert connected.run(code).stdout == "True\nNone\n"
        assert connected.run(code).stdout == "False\nimportimport\nNone\n", "a second job"


@pytest.mark.parametrize(
    ("env", "file"),
    [({"ON": "1"}, ""), ({}, "heavy.py"), ({"PYTHONPATH": "/nowhere"}, ""), ({"HOME": "/"}, "")],
)
def test_a_job_that_differs_gets_a_new_process(
    launcher_dir: str, folder: Path, venv: Any, env: dict[str, str], file: str
) -> None:
    python = venv("heavy.py", "import os\nON = os.getenv('ON')")
    with launcher(launcher_dir, folder, "--preload=heavy", python_dir=python) as connected:
        connected.wait_until_ready()
        pid = connected.waiting_pid()
        if file:
            (folder / file).write_text("ON = 'mine'")
        code = "import sys, os\nprint('heavy' in sys.modules)\nimport heavy\nprint(heavy.ON)"
        code += f"\nprint(os.path.exists('/proc/{pid}'))"
        seen = connected.run(code, env=env)
        wanted = env.get("ON", "mine" if file else None)
        assert seen.stdout == f"False\n{wanted}\nFalse\n"
        assert seen.started["pid"] != pid


@pytest.mark.parametrize(
    "text", ["raise ValueError('two\\nlines')", "import no_such", "raise SystemExit(3)"]
)
def test_a_module_that_cannot_be_imported_is_skipped(
    launcher_dir: str, folder: Path, venv: Any, text: str
) -> None:
    venv("good.py", "")
    python = venv("broken.py", text)
    with launcher(
        launcher_dir, folder, "--preload=broken,absent,good", python_dir=python
    ) as connected:
        connected.wait_until_ready()
        pid = connected.waiting_pid()
        seen = connected.run("import sys; print('good' in sys.modules, 'broken' in sys.modules)")
        assert (seen.stdout, seen.stderr) == ("True False\n", "")
        assert seen.started["pid"] == pid
        log = connected.close()
    assert log.count("a module is not preloaded: ") == 2
    assert "absent: ModuleNotFoundError: No module named 'absent'" in log


def test_a_module_that_ends_the_process(launcher_dir: str, folder: Path, venv: Any) -> None:
    python = venv("fatal.py", "import os; os.abort()")
    with launcher(launcher_dir, folder, "--preload=fatal", python_dir=python) as connected:
        connected.wait_until_ready()
        assert connected.run("print('ok')").stdout == "ok\n"
        assert "no interpreter waits: it ended (SIGABRT)" in connected.close()


def test_the_prepared_font_list_of_the_python_data_image(
    launcher_dir: str, folder: Path, venv: Any
) -> None:
    """The image's hook runs with the import, in this case before there is a job."""
    source = Path("executor-image/runtimes/python-data/image/nanogrid_runtime.py")
    fonts = folder / "fonts"
    fonts.mkdir()
    (fonts / "fontlist-v9.json").write_text("{}")
    cache = folder / "cache"
    cache.mkdir()
    text = source.read_text().replace("/opt/nanogrid/runtime-fonts", str(fonts))
    venv("nanogrid_runtime.py", text)
    venv(
        "matplotlib.py",
        f"__path__ = [{str(folder / 'parts')!r}]\nget_cachedir = lambda: {str(cache)!r}",
    )
    (folder / "parts").mkdir()
    (folder / "parts/font_manager.py").write_text("")
    python = venv("nanogrid-runtime.pth", "import nanogrid_runtime\n")
    with launcher(
        launcher_dir, folder, "--preload=matplotlib.font_manager", python_dir=python
    ) as connected:
        connected.wait_until_ready()
        pid = connected.waiting_pid()
        assert (cache / "fontlist-v9.json").is_symlink()
        code = "import sys\nprint('matplotlib.font_manager' in sys.modules)"
        code += "\nprint([f for f in sys.meta_path if 'Font' in type(f).__name__])"
        seen = connected.run(code)
        assert (seen.stdout, seen.started["pid"]) == ("True\n[]\n", pid)
