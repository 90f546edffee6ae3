"""Which file a command runs."""

import pytest

from nanogrid_executor.entrypoint import script_of


@pytest.mark.parametrize(
    ("command", "script"),
    [
        (["python3", "main.py"], "main.py"),
        (["python3.12", "./main.py", "other.py"], "main.py"),
        (["/usr/bin/python3", "-u", "-X", "dev", "-W", "error", "a/b.py"], "a/b.py"),
        (["python3", "/app/x.py"], "x.py"),
        (["python3", "/usr/lib/x.py"], None),
        (["python3", "-m", "shop"], None),
        (["python3", "-c", "print(1)"], None),
        (["python3", "-"], None),
        (["python3"], None),
        (["python3", "../x.py"], None),
        (["python3", "."], None),
        (["python3", "folder"], "folder"),
        (["bash", "run.sh"], "run.sh"),
        (["sh", "-e", "run.sh"], None),
        (["./run.sh", "main.py"], "run.sh"),
        (["bin/run"], "bin/run"),
        (["echo", "main.py"], None),
        (["/bin/true"], None),
    ],
)
def test_script(command: list[str], script: str | None) -> None:
    assert script_of(command) == script
