"""The list of tests that need Linux names tests that exist, and no file is missing in it."""

import re
from pathlib import Path

import pytest

from support import linux

TESTS = Path("tests")
# How a test reads /proc, or makes namespaces, on the machine where it runs.
LINUX_ONLY = re.compile(
    r"""Path\(f?["']/proc|open\(f?["']/proc|exists\(f?["']/proc|listdir\(f?["']/proc
    |\bUNSHARE\b|["'](setpriv|unshare)["']|\.memory_bytes\(\)|\.peak_memory_bytes\(\)""",
    re.VERBOSE,
)
FILES = sorted(
    file.relative_to(TESTS).as_posix()
    for suite in ("unit", "integration", "chaos", "e2e", "chart")
    for file in (TESTS / suite).rglob("test_*.py")
)
LISTED = {pattern.partition("::")[0] for pattern in linux.TESTS}


@pytest.mark.parametrize("pattern", linux.TESTS)
def test_a_listed_test_exists(pattern: str) -> None:
    file, _, name = pattern.partition("::")
    functions = re.findall(r"^(?:async )?def (test_\w+)", (TESTS / file).read_text("utf-8"), re.M)

    assert any(linux.reason(f"tests/{file}::{function}", ()) for function in functions), name


def test_a_file_that_uses_linux_is_listed_or_uses_the_launcher() -> None:
    found = [file for file in FILES if LINUX_ONLY.search((TESTS / file).read_text("utf-8"))]
    # Their text has such names as data, for programs that run in a Linux container.
    in_containers = {file for file in found if file.startswith("e2e/")} | {
        "unit/support/test_linux.py"
    }
    by_fixture = {
        file for file in found if "pod: SandboxPod" in _text(file) or "run: " in _text(file)
    }

    assert len(found) > 8
    assert set(found) - in_containers - by_fixture <= LISTED


def test_only_other_systems_skip() -> None:
    test = "tests/unit/cluster/test_engine.py::test_x[1-a]"

    assert linux.skip_reason("linux", test, ["launcher_dir"]) is None
    assert linux.skip_reason("darwin", test, []) == (
        "needs Linux: only Linux runs the scripts' own Docker engine"
    )
    assert "needs Linux: the sandbox's launcher" in str(
        linux.skip_reason(
            "darwin", "tests/integration/test_secret_env.py::test_x", ["launcher_dir"]
        )
    )
    assert linux.skip_reason("darwin", "tests/unit/test_packages.py::test_x", ["tmp_path"]) is None


def test_the_guide_lists_the_files() -> None:
    guide = Path("docs/cluster.md").read_text(encoding="utf-8")
    for file in sorted(LISTED):
        assert f"`tests/{file}`" in guide


def _text(file: str) -> str:
    return (TESTS / file).read_text(encoding="utf-8")
