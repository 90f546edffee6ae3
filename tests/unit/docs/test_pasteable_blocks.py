"""Each block that a reader can paste is run by a test, or says why not."""

import re
import subprocess
from pathlib import Path

import pytest

from support.doc_blocks import SKIP, all_blocks
from support.doc_shell import PAGES, SHELL, page_steps, script_of

ALL = [
    *(str(path) for path in (Path("README.md"), Path("CONTRIBUTING.md"))),
    *sorted(str(path) for path in Path("docs").glob("*.md")),
    "examples/README.md",
]
# Their Python blocks have tests of their own.
PYTHON = {"docs/python.md", "docs/operations.md"}


@pytest.mark.parametrize("page", ALL)
def test_every_block_runs_or_has_a_reason(page: str) -> None:
    for one in all_blocks(Path(page)):
        if one.marker == SKIP:
            assert len(one.reason.split()) >= 2, f"{page}:{one.line}"
        elif one.language in SHELL:
            assert page in PAGES, f"{page}:{one.line}: add the page to PAGES, or <!-- skip: … -->"
        elif one.language == "python":
            assert page in PAGES or page in PYTHON, f"{page}:{one.line}"


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_a_script_of_a_shell(page: str) -> None:
    steps = page_steps(Path(page))
    assert steps
    done = subprocess.run(
        ["bash", "-n"], input=script_of(steps), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    for step in steps:
        command = re.sub(r"\s#.*", "", step.command)
        assert "…" not in command, f"{page}:{step.line}: this cannot be pasted"


@pytest.mark.parametrize("page", ["docs/gateway.md", "docs/web.md", "examples/README.md"])
def test_a_token_is_created_after_its_account_and_role(page: str) -> None:
    text = Path(page).read_text(encoding="utf-8")
    order = ["create serviceaccount my-client", "create rolebinding my-client", "create token my-c"]
    places = [text.index(one) for one in order]
    assert places == sorted(places)


def test_a_port_that_is_forwarded_in_the_background_is_waited_for() -> None:
    for page in PAGES:
        commands = [one for step in page_steps(Path(page)) for one in step.command.splitlines()]
        forwards = [n for n, one in enumerate(commands) if "port-forward" in one]
        for number in forwards:
            following = "\n".join(commands[number : number + 6])
            assert re.search(r"curl .*--retry \d+ --retry-connrefused", following), page
