"""Run uv; install it into the cache first where a machine has none.

``python3 scripts/uv.py --prepare`` makes the checkout ready: the locked Python packages, and the
programs that tests start: redis-server, and, where they can be had, Chromium for the web page, the
shells whose completion is tested, and libfaketime for clocks that are wrong. Anything else is
handed to uv as it is.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nanogrid"
UV_REQUIREMENT = "uv>=0.9"
INSTALL_SECONDS = 600
LOCK_SECONDS = 120  # for another program that installs something
# Any of the programs will do; the first is also Debian's package.
SERVERS = (("redis-server",),)
# Without these the tests that need them are skipped, and say so.
EXTRAS = (("chromium", "chromium-browser", "google-chrome"), ("zsh",), ("fish",), ("faketime",))


def find_uv() -> str:
    """The path of uv: the user's own, or ours."""
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
            venv.create(home, with_pip=True)
            command = [str(home / "bin/pip"), "install", "--quiet", UV_REQUIREMENT]
            subprocess.run(command, check=True, timeout=INSTALL_SECONDS)
    return str(ours)


def prepare(uv: str) -> None:
    """Install what `make test` needs besides a cluster."""
    subprocess.run([uv, "sync", "--frozen", "--quiet"], cwd=ROOT, check=True)
    servers, extras = missing(*SERVERS), missing(*EXTRAS)
    if not servers + extras:
        return
    able = os.geteuid() == 0 and shutil.which("apt-get") is not None
    if servers and (failed := install(servers) if able else "install it with your package manager"):
        sys.exit(f"setup: {' '.join(servers)} is missing: {failed}")
    if extras and (failed := install(extras) if able else "install them yourself"):
        print(f"setup: tests that need {', '.join(extras)} are skipped: {failed}", flush=True)


def install(packages: list[str]) -> str:
    """Install packages of Debian; why it failed, empty when it did not."""
    print(f"setup: installing {' '.join(packages)}", flush=True)
    # Debian's package starts a server of its own when it can; the tests start theirs.
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    apt = ["apt-get", "-qq", "-o", f"DPkg::Lock::Timeout={LOCK_SECONDS}"]
    for command in (
        [*apt, "update"],
        [*apt, "install", "-y", "--no-install-recommends", *packages],
    ):
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=INSTALL_SECONDS,
            check=False,
        )  # fmt: skip
        if done.returncode != 0:
            return f"`{' '.join(command)}` failed:\n{done.stdout}{done.stderr}"
    return ""


def missing(*programs: tuple[str, ...]) -> list[str]:
    """The packages of programs that are not on PATH under any of their names."""
    return [names[0] for names in programs if not any(map(shutil.which, names))]


def main() -> None:
    """Hand over to uv, or prepare."""
    if sys.version_info < (3, 11):  # noqa: UP036 this script runs before uv has chosen a Python
        sys.exit(f"setup: Python 3.11 or newer is needed, this is {sys.version.split()[0]}")
    uv = find_uv()
    if sys.argv[1:] == ["--prepare"]:
        prepare(uv)
        return
    os.execv(uv, [uv, *sys.argv[1:]])  # noqa: S606 the very purpose


if __name__ == "__main__":
    main()
