"""Run uv; if it is missing, install it into the cache first.

``python3 scripts/uv.py --prepare`` sets up the checkout. It installs the locked Python packages. As
root with apt-get it also installs the programs that tests start: redis-server, Chromium for the web
page, zsh and fish for their completion, and libfaketime for wrong clocks. Elsewhere it says what to
install. With ``--tests`` a missing redis-server is an error; the demo does not need it. All other
arguments are passed to uv.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))  # this script runs before the packages are installed
from cluster import machine  # noqa: E402
from cluster.decisions import can_install, install_command  # noqa: E402
from cluster.progress import reporting  # noqa: E402

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nanogrid"
UV_REQUIREMENT = "uv>=0.9"
INSTALL_SECONDS = 600
LOCK_SECONDS = 120  # wait for another package installation
# One program of each tuple is enough; the first is also the name of the Debian package.
SERVERS = (("redis-server",),)
# Tests that need one of these are skipped with a message if it is missing.
EXTRAS = (("chromium", "chromium-browser", "google-chrome"), ("zsh",), ("fish",), ("faketime",))


def find_uv() -> str:
    """The path of uv: from PATH, or from the cache."""
    found = shutil.which("uv")
    if found:
        return found
    home = CACHE / "uv"
    ours = home / "bin/uv"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "uv.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ours.exists():
            print("setup: installing uv", flush=True)
            shutil.rmtree(home, ignore_errors=True)
            command = [str(home / "bin/pip"), "install", "--quiet", UV_REQUIREMENT]
            with reporting("install uv"):
                venv.create(home, with_pip=True)
                subprocess.run(command, check=True, timeout=INSTALL_SECONDS)
    return str(ours)


def prepare(uv: str, tests: bool) -> None:
    """Install what the demo or, with `tests`, the tests need, except the cluster."""
    with reporting("install Python packages"):
        subprocess.run([uv, "sync", "--frozen", "--quiet"], cwd=ROOT, check=True)
    host = machine.observe()
    for packages, required in ((missing(*SERVERS), tests), (missing(*EXTRAS), False)):
        if not packages:
            continue
        problem = install(packages) if can_install(host) else install_command(host, packages)
        programs = ", ".join(packages)
        if problem and required:
            sys.exit(f"setup: missing program {programs}: {problem}")
        if problem:
            print(f"setup: tests that need {programs} do not run: {problem}", flush=True)


def install(packages: list[str]) -> str:
    """Install Debian packages; returns the error, or "" on success."""
    print(f"setup: installing {' '.join(packages)}", flush=True)
    # RUNLEVEL=1 keeps the Debian package from starting a server; the tests start their own.
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    apt = ["apt-get", "-qq", "-o", f"DPkg::Lock::Timeout={LOCK_SECONDS}"]
    for command in (
        [*apt, "update"],
        [*apt, "install", "-y", "--no-install-recommends", *packages],
    ):
        with reporting(f"install {' '.join(packages)}"):
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=INSTALL_SECONDS,
                check=False,
            )  # fmt: skip
        if done.returncode != 0:
            return f"`{' '.join(command)}` failed:\n{done.stdout}{done.stderr}"
    return ""


def missing(*programs: tuple[str, ...]) -> list[str]:
    """The packages of programs that are not on PATH."""
    return [names[0] for names in programs if not any(map(shutil.which, names))]


def main() -> None:
    """Set up the checkout, or run uv."""
    uv = find_uv()
    if sys.argv[1:2] == ["--prepare"]:
        prepare(uv, tests=sys.argv[2:] == ["--tests"])
        return
    os.execv(uv, [uv, *sys.argv[1:]])  # noqa: S606 replaces this process


if __name__ == "__main__":
    main()
