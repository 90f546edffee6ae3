"""The output directory of a job: what came with the code, and code that creates the directory."""

from typing import Any

import pytest

from nanogrid_executor.paths import Paths
from support.executor_pod import running
from support.executor_sync import make_code, make_input, succeed, zipped
from support.s3_server import BUCKET, S3Server, make_rules, make_task

pytestmark = pytest.mark.integration

REWRITE = b"""
with open("output/kept.csv", "w") as file: file.write("same")
with open("output/new.csv", "w") as file: file.write(open("output/stale.csv").read())
"""


def test_a_stale_output_of_the_zip_is_not_a_result(
    s3: S3Server, paths: Paths, launcher_dir: str
) -> None:
    files = {"main.py": REWRITE, "output/stale.csv": b"stale", "output/kept.csv": b"same"}
    s3.put("code/stale.zip", zipped({f"app/{name}": body for name, body in files.items()}))
    s3.put("earlier/mounted.csv", b"1")
    item = make_input(prefix="earlier/", mount_path="/app/output")
    code = make_code("code/stale.zip")
    succeed(paths, item, **code)
    rules = make_rules(prefix="stale-run/")
    task = make_task(inputs=[item], request_id="stale-run", bucket=BUCKET, outputs=rules, **code)
    with running(task, paths, launcher_dir) as pod:
        result = pod.wait().result
    assert (result.status, result.exit_code) == ("SUCCESS", 0)
    assert [file.path for file in result.outputs] == ["kept.csv", "mounted.csv", "new.csv"]
    assert s3.get("stale-run/new.csv") == b"stale", "the code could read it"
    assert result.message == (
        "Outputs left out: 1 file is from the code's ZIP and unchanged, the first is stale.csv."
    )


@pytest.mark.parametrize(
    ("code", "hinted"),
    [
        ("import os; os.mkdir('output')", True),
        ("import subprocess, sys; sys.exit(subprocess.call(['mkdir', 'output']))", True),
        ("import os; os.makedirs('output', exist_ok=True); raise SystemExit(1)", False),
        ("open('output/a.txt', 'w').write('1'); raise SystemExit(1)", False),
    ],
)
def test_code_that_creates_the_output_directory_gets_a_hint(
    run: Any, code: str, hinted: bool
) -> None:
    result = run(code).result
    assert (result.reason, result.exit_code) == ("NonZeroExit", 1)
    assert ("output/ exists before the code starts" in result.message) is hinted
