"""``init``: a folder with a first job, ready to run."""

from pathlib import Path
from typing import Annotated, Final

import typer

from nanogrid import names
from nanogrid.cli.faults import UsageFault
from nanogrid.cli.link import local_command
from nanogrid.cli.output import say

MAIN: Final = '''\
"""Reads data/, writes output/; what is printed is the job's stdout."""

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
# nanogrid submit -f job.yaml --wait      (`kubectl explain ej.spec --recursive` has every field)
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
    folder: Annotated[Path, typer.Argument(help="Folder; it is made if there is none.")] = Path(),
) -> None:
    """Write main.py and job.yaml to begin with; nothing is overwritten."""
    there = [name for name in FILES if (folder / name).exists()]
    if there:
        raise UsageFault(f"{folder} has {', '.join(there)} already", "Name another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
        say(f"wrote {folder / name}")
    say(f"run it: nanogrid run {folder}   or, without a cluster: nanogrid run --local {folder}")


def register(app: typer.Typer) -> None:
    """Add the command."""
    local_command(app, "init", "nanogrid init first")(init)
