"""Check the workflows of GitHub Actions with actionlint.

actionlint is built from its Go module, once per version, as the tools of the test cluster are:
its Python packages download a program from elsewhere. The first run takes about half a minute.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))  # the scripts are a package without an installation
from cluster import gobuild  # noqa: E402
from cluster.cache import exclusive  # noqa: E402
from cluster.paths import paths  # noqa: E402

ACTIONLINT = gobuild.Program(
    "actionlint", ("github.com/rhysd/actionlint/cmd/actionlint",), "v1.7.12"
)
LOCK_SECONDS = 3600
CHECK_SECONDS = 120


def actionlint() -> Path:
    """The path of actionlint; builds it if it is missing."""
    here = paths()
    built = here.artifacts / f"{ACTIONLINT.name}-{ACTIONLINT.key}"
    if not built.is_dir():
        # A build of the cluster may install Go at the same time.
        with exclusive(here, LOCK_SECONDS):
            built = gobuild.build(ACTIONLINT)
    return built / ACTIONLINT.name


def main() -> None:
    """Check all workflows; exits with actionlint's code."""
    files = sorted(map(str, (ROOT / ".github/workflows").glob("*.yaml")))
    # Without shellcheck and pyflakes, which are not on all machines: the result is the same on all.
    command = [str(actionlint()), "-shellcheck=", "-pyflakes=", *files]
    sys.exit(subprocess.run(command, timeout=CHECK_SECONDS, check=False).returncode)


if __name__ == "__main__":
    main()
