"""``init``: writes a folder with a first job, ready to run."""

import shlex
import textwrap
from pathlib import Path
from typing import Annotated, Final

import typer

from nanogrid import names
from nanogrid.cli.app.command import local_command
from nanogrid.cli.app.errors import UsageError
from nanogrid.cli.app.output import note
from nanogrid.cli.source import read_code

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
MANIFEST: Final = "job.yaml"
# The code comes last, so that a long program does not hide the other fields.
JOB: Final = f"""\
# nanogrid submit -f {MANIFEST} --wait, or kubectl create -f {MANIFEST}
# Each creates a new job with a new name. So `kubectl apply`, which needs a fixed name, refuses it.
# All fields: docs/executionjob.md, or kubectl explain ej.spec --recursive
apiVersion: {names.API_VERSION}
kind: {names.KIND}
metadata:
  generateName: first-
spec:
  # inputs:
  # - name: data
  #   s3: {{prefix: demo/sales/input/}}
  #   mountPath: {names.DEFAULT_DATA_PATH}
  resources:
    limits: {{cpu: "1", memory: 256Mi}}
  timeouts: {{executionSeconds: 60}}
  ttlSecondsAfterFinished: 3600
  code:
    # A copy of {names.ENTRYPOINT}. `nanogrid init --force` copies it again after a change.
"""


def job_yaml(code: str) -> str:
    """The manifest of a job that runs this code."""
    import yaml

    block = JOB + "    inline: |\n" + textwrap.indent(code, " " * 6)
    try:
        same = yaml.safe_load(block)["spec"]["code"]["inline"] == code
    except yaml.YAMLError:
        same = False
    if same:
        return block
    # Text that a block cannot hold, for example with spaces before its first line. JSON would not
    # do: its escapes for characters such as emoji are not valid in YAML.
    return JOB + "    inline: " + yaml.safe_dump(code, default_style='"', width=len(code) * 10)


def init(
    folder: Annotated[Path, typer.Argument(help="Target folder; created if missing.")] = Path(),
    force: Annotated[
        bool, typer.Option("--force", help=f"Write {MANIFEST} again; main.py is never changed.")
    ] = False,
) -> None:
    """Write a first main.py, and a job.yaml that runs it. An existing main.py is kept."""
    main, manifest = folder / names.ENTRYPOINT, folder / MANIFEST
    if manifest.exists() and not force:
        hint = f"Use another folder, or --force to write {MANIFEST} for the {names.ENTRYPOINT}."
        raise UsageError(f"{folder} already contains {MANIFEST}", hint)
    code = read_code(str(main), None, "")[0] if main.exists() else MAIN
    folder.mkdir(parents=True, exist_ok=True)
    if not main.exists():
        _write(main, MAIN)
    _write(manifest, job_yaml(str(code)))
    program, job = _pasteable(main), _pasteable(manifest)
    note(f"run it: nanogrid run {program}")
    note(f"run it without a cluster: nanogrid run --local {program}")
    note(f"run the manifest: nanogrid submit -f {job} --wait")
    note(f"or with kubectl: kubectl create -f {job}")


def _pasteable(path: Path) -> str:
    """A path as an argument of a shell, which no program takes for an option."""
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def _write(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
    note(f"wrote {file}")


def register(app: typer.Typer) -> None:
    """Add the command."""
    local_command(app, "init", "nanogrid init first")(init)
