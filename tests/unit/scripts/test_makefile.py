"""The Makefile means the same in GNU make 3.81 of macOS, which ignores what it does not know."""

import re
import subprocess
from pathlib import Path

import pytest

MAKEFILE = Path("Makefile")
# Newer than 3.81, which ignores the first ones silently.
NEWER = {
    ".ONESHELL": r"^\.ONESHELL",
    ".SHELLFLAGS": r"^\.SHELLFLAGS",
    "define with an operator": r"^define .*=",
    "!=": r"^\w+ *!=",
    "::=": r"^\w+ *:::?=",
    "undefine": r"^undefine ",
    "functions": r"\$\((file|guile|let|intcmp) ",
}


def text() -> str:
    return MAKEFILE.read_text(encoding="utf-8")


def recipe_lines() -> list[str]:
    joined = text().replace("\\\n", " ")
    return [line[1:] for line in joined.splitlines() if line.startswith("\t")]


@pytest.mark.parametrize("feature", NEWER)
def test_no_feature_is_newer_than_make_381(feature: str) -> None:
    assert not re.search(NEWER[feature], text(), re.M), feature


def test_a_recipe_line_uses_no_shell_variable_of_another_line() -> None:
    lines = recipe_lines()
    assert len(lines) > 30
    for line in lines:
        used = set(re.findall(r"\$\$([a-z]\w*)", line))
        assigned = set(re.findall(r"(?:\bfor )?(\w+)(?:=| in )", line))
        assert used <= assigned, line


def test_no_line_only_prepares_another_line() -> None:
    only_a_variable = r"@?\$\(\w+\)\s*"
    assert [line for line in recipe_lines() if re.fullmatch(only_a_variable, line)] == []


def test_every_command_on_the_cluster_gets_its_environment() -> None:
    # bench.controlplane has a control plane of its own, and bench.operator_cpu needs none.
    bench = r"bench\.(?!controlplane|operator_cpu)"
    on_cluster = rf"kubectl|helm |scripts/(deploy|demo|images)\.py|{bench}|tests/(e2e|chaos|chart)"
    lines = [line for line in recipe_lines() if re.search(on_cluster, line)]

    assert len(lines) > 10
    assert [line for line in lines if not line.startswith("@$(USE_CLUSTER) ")] == []


def run_make(folder: Path, target: str, cluster: int, *codes: int) -> tuple[int, list[str]]:
    """Run a target with a fake Python; `cluster` is the exit code of `cluster env`.

    Returns make's exit code and the options --alone of the suites that ran.
    """
    record = folder / "runs"
    record.touch()
    python, pytest_ = folder / "python", folder / "pytest"
    python.write_text(
        f"#!/bin/sh\n[ {cluster} = 0 ] && echo 'export FROM_CLUSTER=1'; exit {cluster}\n"
    )
    cases = " ".join(f"{number}) exit {code};;" for number, code in enumerate(codes, 1))
    pytest_.write_text(
        f'#!/bin/sh\necho "$1" >> {record}\n'
        f'case "$(wc -l < {record} | tr -d " ")" in {cases} esac\n'
    )
    for file in (python, pytest_):
        file.chmod(0o755)
    command = ["make", "-s", "-o", "setup-tests", "-o", "deploy", target, f"PYTHON={python}"]
    done = subprocess.run([*command, f"PYTEST={pytest_}"], capture_output=True, check=False)
    return done.returncode, record.read_text().splitlines()


@pytest.mark.parametrize("target", ["test-integration", "test-e2e"])
@pytest.mark.parametrize(
    ("codes", "succeeds", "runs"),
    [
        ((0, 0), True, 2),
        ((5, 0), True, 2),
        ((0, 5), True, 2),
        ((5, 5), False, 2),
        ((1, 0), False, 1),
    ],
)
def test_one_of_two_runs_may_have_no_test(
    tmp_path: Path, target: str, codes: tuple[int, int], succeeds: bool, runs: int
) -> None:
    code, ran = run_make(tmp_path, target, 0, *codes)

    assert (code == 0) is succeeds
    assert ran == ["--alone=none", "--alone=only"][:runs]


def test_no_test_runs_without_the_cluster(tmp_path: Path) -> None:
    code, ran = run_make(tmp_path, "test-e2e", 2, 0, 0)

    assert code != 0
    assert ran == []
