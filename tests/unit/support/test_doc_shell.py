"""Pages as shell sessions: how blocks become commands, and what counts as a failure."""

from pathlib import Path

import pytest

from support.doc_blocks import all_blocks
from support.doc_shell import Step, missing_output, page_steps, run_page

PAGE = """# Page

```console
$ export NAME=world
$ cat <<EOF
$ no command
EOF
no command
$ echo "hello $NAME" \\
    and all
hello world and all
```

<!-- skip: it needs a car -->
```sh
drive
```

```sh
# A comment.
say() { echo "said $1"; }
say "$NAME"
```

```yaml
field: 1
```

```python
import os
print(os.environ["NAME"])
```

```console
$ sleep 600 &
$ say 512Mi
said 13Gi
```
"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.md"
    path.write_text(PAGE)
    return path


def test_blocks_become_steps(page: Path) -> None:
    steps = page_steps(page)
    assert steps[0] == Step(3, "export NAME=world\n")
    assert steps[1] == Step(4, "cat <<EOF\n$ no command\nEOF\n", ("no command",))
    assert steps[2].output == ("hello world and all",)
    assert len(steps) == 7
    (skipped,) = [one for one in all_blocks(page) if one.marker]
    assert (skipped.marker, skipped.reason) == ("skip", "it needs a car")


def test_a_page_runs_in_one_shell(page: Path, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    assert run_page(page, tmp_path / "work", {}, {}) == 7


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('say "$NAME"', "false", "exit code 1"),
        ('say "$NAME"', "exit 0", "did not end"),
        ("hello world and all", "hello moon and all", "does not print 'hello moon and all'"),
        ('os.environ["NAME"]', 'os.environ["NONE"]', "KeyError"),
        ("said 13Gi", "said nothing", "does not print"),
    ],
)
def test_a_page_that_does_not_work_is_named(
    page: Path, tmp_path: Path, old: str, new: str, said: str
) -> None:
    page.write_text(PAGE.replace(old, new))
    (tmp_path / "work").mkdir()
    with pytest.raises(AssertionError, match=said):
        run_page(page, tmp_path / "work", {}, {})


@pytest.mark.parametrize(
    ("documented", "printed", "fits"),
    [
        ("hello   Succeeded   0   11ms   2s", "hello Succeeded 0 1.2s 14m\n", True),
        ("hello   Succeeded   0   11ms   2s", "hello Failed 1 1.2s 14m\n", False),
        ("OOMKilled 137 64Mi/64Mi", "OOMKilled 137 63Mi/64Mi", True),
        ("", "", True),
    ],
)
def test_numbers_of_documented_output_may_differ(documented: str, printed: str, fits: bool) -> None:
    assert (missing_output(Step(1, "x", (documented,)), printed) == "") is fits
