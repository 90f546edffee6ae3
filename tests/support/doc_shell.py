"""A documentation page as one shell session: what a reader gets who pastes its blocks in order."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from support.doc_blocks import SKIP, Block, all_blocks

SHELL: Final = ("console", "sh", "bash", "shell")
# The pages whose blocks tests/e2e/test_docs.py runs.
PAGES: Final = (
    "README.md",
    "docs/quickstart.md",
    "docs/sessions.md",
    "docs/gateway.md",
    "docs/web.md",
    "docs/cli.md",
    "docs/functions.md",
    "docs/permissions.md",
    "docs/onboarding.md",
    "docs/maintenance.md",
    "docs/pools.md",
    "docs/ports.md",
    "examples/README.md",
)
SECONDS: Final = 480
_END: Final = "@@end"
_HEREDOC: Final = re.compile(r"<<-?\s*['\"]?(\w+)['\"]?")
# A token with a digit differs from run to run: ages, sizes, ids.
_TOKEN_WITH_DIGIT: Final = re.compile(r"\S*\d\S*")


@dataclass(frozen=True)
class Step:
    """One pasted command and the lines that the page shows after it."""

    line: int
    command: str
    output: tuple[str, ...] = ()


def page_steps(page: Path) -> list[Step]:
    """The steps of a page; a block with the marker ``skip`` has none."""
    return [step for one in all_blocks(page) if one.marker != SKIP for step in block_steps(one)]


def block_steps(block: Block) -> list[Step]:
    """The steps of one block."""
    if block.language == "console":
        return _console(block)
    if block.language in SHELL:
        return [Step(block.line, block.text)]
    if block.language == "python":
        return [Step(block.line, f"python3 - <<'END_OF_PYTHON'\n{block.text}END_OF_PYTHON\n")]
    if block.language == "yaml" and re.search(r"^kind: ", block.text, re.M):
        apply = "kubectl apply --dry-run=server -f - <<'END_OF_YAML'"
        return [Step(block.line, f"{apply}\n{block.text}END_OF_YAML\n")]
    return []


def _console(block: Block) -> list[Step]:
    steps: list[Step] = []
    command: list[str] = []
    output: list[str] = []
    number, open_until = block.line, ""

    def close() -> None:
        if command:
            steps.append(Step(number, "\n".join(command) + "\n", tuple(output)))

    for at, line in enumerate(block.text.splitlines(), block.line):
        if open_until:
            command.append(line)
            open_until = "" if line == open_until else open_until
        elif line.startswith("$ "):
            close()
            command, output, number = [line[2:]], [], at
        elif command and not output and command[-1].endswith("\\"):
            command.append(line)
        else:
            output.append(line)
        if not output and not open_until and (found := _HEREDOC.search(line)):
            open_until = found[1] if line != found[1] else ""
    close()
    return steps


def pattern(line: str) -> str:
    """A regular expression for a line of documented output."""
    parts = []
    for token in line.split():
        parts.append(r"\S+" if _TOKEN_WITH_DIGIT.fullmatch(token) else re.escape(token))
    return r"\s+".join(parts)


def missing_output(step: Step, printed: str) -> str:
    """The first documented line that the output has not, in their order; "" if it has all."""
    position = 0
    for line in step.output:
        found = re.compile(pattern(line)).search(printed, position)
        if line.strip() and found is None:
            return line
        position = found.end() if found else position
    return ""


def script_of(steps: list[Step]) -> str:
    """A script that runs the steps in one shell and stops at the first that fails."""
    parts = ["shopt -s expand_aliases\n"]
    for number, step in enumerate(steps):
        end = f'{{ status=$?; echo "{_END} {number} $status"; [ $status = 0 ] || exit 1; }} 2>&1'
        parts.append(f"{step.command.rstrip()}\n{end}\n")
    return "".join(parts)


def workplace(folder: Path, replaced: Mapping[str, str]) -> Path:
    """A folder that looks like the repository, with these texts replaced in its examples."""
    folder.mkdir()
    root = Path.cwd()
    for entry in root.iterdir():
        if entry.name != "examples":
            (folder / entry.name).symlink_to(entry)
    shutil.copytree(root / "examples", folder / "examples")
    for path in (folder / "examples").rglob("*.yaml"):
        path.write_text(replace(path.read_text(encoding="utf-8"), replaced), encoding="utf-8")
    return folder


def replace(text: str, replaced: Mapping[str, str]) -> str:
    """The text with patterns replaced."""
    for old, new in replaced.items():
        text = re.sub(old, new, text)
    return text


def run_page(page: Path, folder: Path, env: Mapping[str, str], replaced: Mapping[str, str]) -> int:
    """Run the blocks of a page in a workplace; returns the number of steps.

    Raises:
        AssertionError: a command fails, or does not print what the page shows.
    """
    steps = [Step(one.line, replace(one.command, replaced), one.output) for one in page_steps(page)]
    log = folder.parent / "page.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["bash", "-c", script_of(steps)],
            cwd=folder,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            process.wait(SECONDS)
        finally:
            # Also the commands that the page started in the background.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    printed = log.read_text(encoding="utf-8", errors="replace")
    for number, step in enumerate(steps):
        text, end, printed = printed.partition(f"{_END} {number} ")
        status, _, printed = printed.partition("\n")
        where = f"{page}:{step.line + 1}: {step.command}\n{text}"
        assert end, f"did not end: {where}"
        assert status == "0", f"exit code {status}: {where}"
        lacking = missing_output(step, text)
        assert not lacking, f"does not print {lacking!r}: {where}"
    return len(steps)
