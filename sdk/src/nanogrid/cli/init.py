"""``init``: writes a folder with a first job, ready to run."""

from pathlib import Path
from typing import Annotated, Final

import typer

from nanogrid import names
from nanogrid.cli.app.command import local_command
from nanogrid.cli.app.errors import UsageError
from nanogrid.cli.app.output import note

MAIN: Final = '''\
"""Reads data/ and writes output/. Printed text becomes the stdout of the job."""

import json
from pathlib import Path

files = sorted(path for path in Path("data").rglob("*") if path.is_file())
for file in files:
    print(f"{file}: {file.stat().st_size} bytes")
print(f"{len(files)} input files")
Path("output").mkdir(exist_ok=True)
Path("output/summary.json").write_text(json.dumps({"files": len(files)}))
'''

JOB: Final = f"""\
# nanogrid submit -f job.yaml --wait      (all fields: kubectl explain ej.spec --recursive)
apiVersion: {names.API_VERSION}
kind: {names.KIND}
metadata:
  generateName: first-
spec:
  code:
    inline: |
      print("Hello from a sandbox")
  # inputs:
  # - name: data
  #   s3: {{prefix: demo/sales/input/}}
  #   mountPath: {names.DEFAULT_DATA_PATH}
  resources:
    limits: {{cpu: "1", memory: 256Mi}}
  timeouts: {{executionSeconds: 60}}
  ttlSecondsAfterFinished: 3600
"""
FILES: Final = {names.ENTRYPOINT: MAIN, "job.yaml": JOB}


def init(
    folder: Annotated[Path, typer.Argument(help="Target folder; created if missing.")] = Path(),
) -> None:
    """Write a first main.py and job.yaml. Existing files are not overwritten."""
    existing = [name for name in FILES if (folder / name).exists()]
    if existing:
        raise UsageError(f"{folder} already contains {', '.join(existing)}", "Use another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
        note(f"wrote {folder / name}")
    note(f"run it: nanogrid run {folder}")
    note(f"run it without a cluster: nanogrid run --local {folder}")


def register(app: typer.Typer) -> None:
    """Add the command."""
    local_command(app, "init", "nanogrid init first")(init)
