"""Our own Docker engine, separate from any other: start, identify and stop it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from cluster.engine import Engine
from cluster.machine import CAP_SYS_RESOURCE, capability_missing
from cluster.paths import SOCKET_LIMIT, SOURCE, Paths
from cluster.steps import ClusterError, Log, UsageError, clean_environment

DEBIAN_PATH = "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
START_SECONDS = 60
STOP_SECONDS = 40


def own_engine(here: Paths) -> Engine:
    """The engine that we start; this function does not start it."""
    return Engine(host=f"unix://{here.docker_socket}", ours=True, can_pull=False)


def command_line(pid: int) -> list[str]:
    """The command line of a process; empty if there is no such process."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return []
    return raw.decode(errors="replace").split("\0") if raw else []


def own_pid(here: Paths) -> int | None:
    """The process id of our dockerd, if it runs."""
    return verified(here.docker / "docker.pid", "dockerd", config_option(here))


def verified(pid_file: Path, program: str, argument: str) -> int | None:
    """The process id in a file, if that process is this program with this argument.

    Another process may have this id by now; only the command line identifies it.
    """
    try:
        pid = int(pid_file.read_text())
    except (OSError, ValueError):
        return None
    command = command_line(pid)
    ours = bool(command) and Path(command[0]).name == program and argument in command
    return pid if ours else None


def ended(pid: int) -> bool:
    """Whether a process has ended or is a zombie.

    Its command line disappears before its files are closed, which is too early to unmount.
    """
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return status.rpartition(")")[2].split()[0] in ("Z", "X")


def config_option(here: Paths) -> str:
    """The option that only our dockerd has on its command line."""
    return f"--config-file={here.docker / 'daemon.json'}"


def write_config(here: Paths) -> None:
    """Writes dockerd's settings to our own file, so that it does not read /etc/docker."""
    config: dict[str, object] = {
        "hosts": [f"unix://{here.docker_socket}"],
        "data-root": str(here.docker / "data"),
        "exec-root": str(here.docker / "exec"),
        "pidfile": str(here.docker / "docker.pid"),
        "storage-driver": "overlay2",
        "mtu": outgoing_mtu(),
    }
    if capability_missing(CAP_SYS_RESOURCE):
        wrapper = here.docker / "nores-runc"
        body = (SOURCE / "runtime" / "nores_runc.py").read_text()
        # A copy, because the engine may outlive the checkout.
        wrapper.write_text(f"#!{Path(sys.executable).resolve()} -IS\n{body}")
        wrapper.chmod(0o755)
        config["runtimes"] = {"nores": {"path": str(wrapper)}}
        config["default-runtime"] = "nores"
    (here.docker / "daemon.json").write_text(json.dumps(config, indent=2))


def outgoing_mtu(routes: Path = Path("/proc/net/route"), net: Path = Path("/sys/class/net")) -> int:
    """The MTU of the default route: containers with a larger MTU lose their downloads."""
    for line in routes.read_text().splitlines()[1:]:
        device, destination = line.split()[:2]
        if destination == "00000000":
            return int((net / device / "mtu").read_text())
    return 1500


def start(here: Paths, log: Log) -> Engine:
    """Starts our dockerd if it does not run."""
    engine = own_engine(here)
    if own_pid(here) is not None and engine.answers():
        return engine
    longest = here.docker / "exec" / "containerd" / "containerd.sock.ttrpc"
    if len(str(longest)) > SOCKET_LIMIT:
        raise UsageError(
            f"the path of the cache directory is too long for a socket below it ({here.root}): "
            "set XDG_CACHE_HOME to a shorter path"
        )
    stop(here, log)
    here.docker.mkdir(parents=True, exist_ok=True)
    write_config(here)
    output = here.docker / "dockerd.log"
    with output.open("ab") as file:
        process = subprocess.Popen(
            ["/usr/sbin/dockerd", config_option(here)],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env=clean_environment({"PATH": DEBIAN_PATH}),
            cwd="/",
            start_new_session=True,
        )
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if own_pid(here) is not None and engine.answers():
            log.write(f"dockerd runs as process {own_pid(here)}")
            return engine
        time.sleep(0.3)
    tail = output.read_text(errors="replace").splitlines()[-20:]
    log.write("\n".join(tail))
    problem = "did not answer in time" if process.poll() is None else "exited at its start"
    raise ClusterError(f"dockerd {problem}; its log: {output}")


def stop(here: Paths, log: Log) -> None:
    """Stops our dockerd and with it its containers, and nothing else.

    Also deletes the pid files of a killed dockerd and its containerd: a new dockerd would wait for
    any process that has these ids. The next dockerd ends the containers of a killed one.
    """
    containerd = here.docker / "exec" / "containerd"
    settings = str(containerd / "containerd.toml")
    _end(own_pid(here), STOP_SECONDS, log)
    _end(verified(containerd / "containerd.pid", "containerd", settings), STOP_SECONDS, log)
    (containerd / "containerd.pid").unlink(missing_ok=True)
    (here.docker / "docker.pid").unlink(missing_ok=True)
    here.docker_socket.unlink(missing_ok=True)


def _end(pid: int | None, seconds: float, log: Log) -> None:
    """Sends SIGTERM to a process, and SIGKILL if it does not end."""
    if pid is None:
        return
    log.write(f"ending process {pid}: {' '.join(command_line(pid))}")
    for number, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, 5.0)):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if ended(pid):
                return
            time.sleep(0.1)
