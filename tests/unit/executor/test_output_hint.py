"""A failed mkdir of the output directory is explained; other errors are not."""

import pytest

from nanogrid_executor.agent.output_hint import output_hint


@pytest.mark.parametrize(
    "line",
    [
        "FileExistsError: [Errno 17] File exists: 'output'",
        "FileExistsError: [Errno 17] File exists: '/app/output'",
        "FileExistsError: [Errno 17] File exists: 'output/'",
        "FileExistsError: [Errno 17] File exists: PosixPath('output')",
        "mkdir: cannot create directory ‘output’: File exists",
        "mkdir: cannot create directory 'output/': File exists",
        "mkdir: can't create directory './output': File exists",
        "Error: EEXIST: file already exists, mkdir 'output'",
        "in 'Dir.mkdir': File exists @ dir_s_mkdir - \"output\" (Errno::EEXIST)",
    ],
)
def test_the_output_directory_exists(line: str) -> None:
    hint = output_hint(f"Traceback\n  os.mkdir(x)\n{line}\n", "output")
    assert hint.startswith("output/ exists before the code starts")
    assert "exist_ok=True" in hint


@pytest.mark.parametrize(
    "stderr",
    [
        "",
        "FileExistsError: [Errno 17] File exists: 'output/a.csv'",
        "FileExistsError: [Errno 17] File exists: 'data/output'",
        "FileExistsError: [Errno 17] File exists: 'my-output'",
        "FileNotFoundError: [Errno 2] No such file or directory: 'output'",
        "mkdir 'output'\nFile exists",
        "FileExistsError: [Errno 17] File exists: 'output'" + "\nmore" * 30,
    ],
)
def test_other_errors_have_no_hint(stderr: str) -> None:
    assert output_hint(stderr, "output") == ""


def test_another_output_directory() -> None:
    line = "FileExistsError: [Errno 17] File exists: 'out/put'"
    assert "out/put/ exists" in output_hint(line, "out/put")
    assert output_hint(line, "output") == ""
