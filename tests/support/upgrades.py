"""Upgrades of the installed release, also from an older version of the project."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from nanogrid.types import Json
from scripts.release import checkout, project
from scripts.release.version import last_before
from support.kubectl import kubectl_json
from support.release import IN_RELEASE, OPERATOR_LABEL, RELEASE, RELEASE_NAMESPACE

ROOT = Path(__file__).parents[2]
CHART = ROOT / project.CHART
HELM_SECONDS = 240
WAIT = ("--wait", "--timeout=180s")
IMAGES = ("operator", "executor", "gateway")
IMAGES_SECONDS = 900  # to build them; without this limit the test would wait for a slow registry


@dataclass(frozen=True, slots=True)
class OlderVersion:
    """A version of the project that can be installed.

    Attributes:
        name: its tag, or the commit that stands for one before the first tag.
        chart: its chart.
        values: a file with the values of demo and tests for this chart.
        images: which images it uses, for the output of the test.
    """

    name: str
    chart: Path
    values: Path
    images: str


def helm(*args: str) -> str:
    """Run helm in the release's namespace and return its stdout."""
    done = subprocess.run(
        ["helm", *args, "--namespace", RELEASE_NAMESPACE],
        capture_output=True, text=True, timeout=HELM_SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def upgrade(chart: Path, *more: str) -> None:
    """Upgrade the release to a chart with its current values; returns when all is ready."""
    helm("upgrade", RELEASE, str(chart), "--reset-then-reuse-values", *WAIT, *more)


def install(chart: Path, values: Path) -> None:
    """Replace chart and values of the release; returns when all is ready."""
    helm("upgrade", RELEASE, str(chart), "--reset-values", "--values", str(values), *WAIT)


def values_of(at: str) -> Json:
    """The values that a revision of the release was installed with."""
    found: Json = json.loads(helm("get", "values", RELEASE, "--revision", at, "--output=json"))
    return found


def revision() -> str:
    """The current revision of the release."""
    lines = helm("history", RELEASE, "--max=1").splitlines()
    return lines[-1].split()[0]


def rollback(to: str) -> None:
    """Roll the release back; returns when all is ready."""
    helm("rollback", RELEASE, to, *WAIT)


def operator_pod() -> str:
    """The name of the operator's only pod; terminating pods do not count."""
    pods = kubectl_json(*IN_RELEASE, "get", "pods", "-l", OPERATOR_LABEL)["items"]
    metas = [pod["metadata"] for pod in pods]
    (name,) = [meta["name"] for meta in metas if "deletionTimestamp" not in meta]
    return str(name)


def last_release() -> str:
    """The tag of the last release before this commit; the baseline as long as there is none."""
    found = last_before(checkout.state(ROOT))
    return found.tag if found else project.load(ROOT).baseline


def older_version(at: Path) -> OlderVersion:
    """The last release, exported into a folder, with its own images if they can be built."""
    name = last_release()
    tree = at / "tree"
    checkout.export(ROOT, name, tree)
    present: dict[str, str] = json.loads((ROOT / "build/images.json").read_text())
    problem = _build_images(tree)
    file = tree / "build/images.json"
    if problem:
        used = f"the present images: {problem}"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(present))
    else:
        built: dict[str, str] = json.loads(file.read_text())
        used = f"its own images: {', '.join(built.values())}"
        file.write_text(json.dumps(present | built))
    shown = "import json, deploy; print(json.dumps(deploy.values()))"
    text = checkout.run([sys.executable, "-c", shown], tree / "scripts")
    values = at / "values.json"
    values.write_text(text)
    # The files of the version are not needed any more, except for its chart.
    chart = at / "chart"
    shutil.move(tree / project.CHART, chart)
    shutil.rmtree(tree)
    return OlderVersion(name, chart, values, used)


def _build_images(tree: Path) -> str:
    """Build and load the images of a tree; returns the problem, or "" on success."""
    command = [sys.executable, str(tree / "scripts/images.py"), *IMAGES]
    try:
        built = subprocess.run(command, capture_output=True, text=True, timeout=IMAGES_SECONDS)
    except subprocess.TimeoutExpired:
        return f"the build took more than {IMAGES_SECONDS} s"
    if built.returncode != 0:
        return f"the build failed: {(built.stdout + built.stderr).strip()[-500:]}"
    names = json.loads((tree / "build/images.json").read_text()).values()
    load = [sys.executable, "-m", "cluster", "load", *names]
    done = subprocess.run(
        load, cwd=ROOT / "tests", capture_output=True, text=True, timeout=IMAGES_SECONDS
    )
    return "" if done.returncode == 0 else f"they were not loaded: {done.stderr.strip()[-500:]}"
