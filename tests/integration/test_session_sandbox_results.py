"""Rich results of a session's executions, and forged messages in their place."""

from pathlib import Path

import pytest

from support.session_sandbox import SandboxPod

pytestmark = pytest.mark.integration


MEGABYTE = 1 << 20


def test_rich_results(pod: SandboxPod) -> None:
    code = (
        "class Table:\n    def __repr__(self): return 'a table'\n"
        "    def _repr_html_(self): return '<table/>'\n"
        "display(Table())\nprint('between')\nTable()"
    )
    bundle = {"text/plain": "a table", "text/html": "<table/>"}
    for context in ("a", None):
        seen = pod.run(code, context=context)
        assert (seen.bundles, seen.out) == ([bundle, bundle], "between\n")
    assert pod.run("1;", context="a").bundles == []
    assert pod.run("None", context="a").bundles == []
    large = pod.run("'x' * (5 << 20)", context="a").bundles
    assert len(large) == 1
    assert "left out" in large[0]["text/plain"]
    allowed = pod.run("'x' * (3 << 20)", context="a").bundles
    assert len(allowed[0]["text/plain"]) == (3 << 20) + 2


PYPLOT = """
class Figure:
    def __init__(self, number): self.number = number
    def savefig(self, file, format, bbox_inches):
        if self.number == 3: raise ValueError("no data")
        file.write(b"png of %d" % self.number)
    def __repr__(self): return f"Figure({self.number})"
_open = {}
def figure(number=None):
    number = number or max(_open, default=0) + 1
    return _open.setdefault(number, Figure(number))
def get_fignums(): return sorted(_open)
def close(figure): _open.pop(figure.number, None)
"""


def test_open_figures_are_displayed_and_closed(pod: SandboxPod) -> None:
    package = Path(pod.paths.workspace, "matplotlib")
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "figure.py").write_text("from matplotlib.pyplot import Figure\n")
    (package / "pyplot.py").write_text(PYPLOT)
    code = "from matplotlib import pyplot as plt, figure\nfor _ in range(3): plt.figure()\n"
    for context in ("a", None):
        seen = pod.run(code + "plt.figure(2)", context=context)
        assert [bundle["text/plain"] for bundle in seen.bundles] == ["Figure(2)", "Figure(1)"]
        assert seen.bundles[1]["image/png"] == "cG5nIG9mIDE="
        assert "figure 3 cannot be drawn: ValueError: no data" in seen.err
        assert seen.ended.exit_code == 0
    assert pod.run("print(plt.get_fignums())", context="a").out == "[]\n"
    assert len(pod.run("plt.figure(); 1/0", context="a").bundles) == 1


def test_too_many_results_are_left_out(pod: SandboxPod) -> None:
    seen = pod.run("for i in range(300): display(i)", context="a")
    assert len(seen.bundles) == 201
    assert "left out" in seen.bundles[-1]["text/plain"]


def test_forged_messages_to_the_launcher_harm_only_their_context(pod: SandboxPod) -> None:
    find = (
        "import os, stat\nfds = [fd for fd in range(3, 50) if os.path.exists(f'/proc/self/fd/{fd}')"
        " and stat.S_ISSOCK(os.fstat(fd).st_mode)]\n"
    )
    pod.run("x = 1", context="b")
    for message in (b"Z\0\0\0\1x", b"D\xff\xff\xff\xff", b"D\0\0\0\1x", b"X\0\0\0\1x"):
        seen = pod.run(f"{find}os.write(fds[0], {message!r})\nprint(1);", context="a")
        assert seen.ended.exit_code is not None
        assert pod.run("print(x)", context="b").out == "1\n"
    bundles = pod.run(f"{find}os.write(fds[0], b'D\\0\\0\\0\\1x');", context="c").bundles
    assert "not JSON" in bundles[0]["text/plain"]
