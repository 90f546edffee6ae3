"""Run uv; if it is missing, install it into the cache first.

``python3 scripts/uv.py --prepare`` sets up the checkout. It installs the locked Python packages and
the programs that tests start: redis-server (required), and Chromium for the web page, zsh and fish
for their completion, and libfaketime for wrong clocks (optional). All other arguments are passed
to uv.
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
from cluster.progress import reporting  # noqa: E402

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nanogrid"
UV_REQUIREMENT = "uv>=0.9"
INSTALL_SECONDS = 600
LOCK_SECONDS = 120  # wait for another package installation
# One program of each tuple is enough; the first is also the name of the Debian package.
SERVERS = (("redis-server",),)
# Tests that need a missing program of these are skipped with a message.
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


def prepare(uv: str) -> None:
    """Install what `make test` needs, except the cluster."""
    with reporting("install Python packages"):
        subprocess.run([uv, "sync", "--frozen", "--quiet"], cwd=ROOT, check=True)
    servers, extras = missing(*SERVERS), missing(*EXTRAS)
    if not servers + extras:
        return
    can_install = os.geteuid() == 0 and shutil.which("apt-get") is not None
    manual = "install with your package manager"
    if servers and (problem := install(servers) if can_install else manual):
        sys.exit(f"setup: missing program {' '.join(servers)}: {problem}")
    if extras and (problem := install(extras) if can_install else manual):
        programs = ", ".join(extras)
        print(f"setup: tests that need {programs} are skipped: {problem}", flush=True)


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
    if sys.version_info < (3, 11):  # noqa: UP036 this script runs before uv selects a Python
        sys.exit(f"setup: Python 3.11 or later is required; this is {sys.version.split()[0]}")
    uv = find_uv()
    if sys.argv[1:] == ["--prepare"]:
        prepare(uv)
        return
    os.execv(uv, [uv, *sys.argv[1:]])  # noqa: S606 replaces this process


if __name__ == "__main__":
    main()
