"""Command line of the trusted containers: ``python3 -m nanogrid_executor sync|agent|…``.

Imports are late: each container pays only for its own.
"""

import argparse
import json
import os
import signal
import sys
from pathlib import Path
from typing import Final, NoReturn

from nanogrid import log_line, names
from nanogrid_executor import log
from nanogrid_executor.paths import Paths

COMPONENTS: Final = {"sync": names.CONTAINER_SYNC}  # by command; others are named as the command


def main() -> int:
    """Parse the command line and run one command."""
    parser = argparse.ArgumentParser(prog="nanogrid_executor", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, help_ in (
        ("sync", "copy inputs and code from S3, verify them, write the manifest"),
        ("agent", "let the launcher run the code, and report the result"),
    ):
        command = commands.add_parser(name, help=help_)
        command.add_argument("--root", default="", help="prefix of every path of the pod")
        command.add_argument(
            "--session-port", type=int, default=names.SESSION_PORT, help="of a session's HTTP API"
        )
    commands.add_parser("check", help="import all modules: the boot test of the image")
    install = commands.add_parser("install-launcher", help="copy the launcher to a directory")
    install.add_argument("directory", type=Path)
    install.add_argument(
        "--gate-port", type=int, help="then wait until the operator's port is closed to the pod"
    )
    probe = commands.add_parser("probe-network", help="test whether the network is isolated")
    probe.add_argument("kind", choices=names.PROBE_KINDS)
    probe.add_argument("host", help="of the operator")
    for each in commands.choices.values():
        log_line.add_options(each)
    args = parser.parse_args()
    log.start(COMPONENTS.get(args.command, args.command), args.log_format, args.log_level)
    if job := os.environ.get(names.ENV_LOG_JOB):
        log.about(json.loads(job))
    return _run(args)


def _run(args: argparse.Namespace) -> int:
    if args.command == "agent":
        _run_agent(Paths(args.root), args.session_port)
    if args.command == "sync":
        from nanogrid_executor.inputs import sync

        sync.main(Paths(args.root), args.session_port)
    if args.command == "install-launcher":
        from nanogrid_executor.launcher_install import install

        install(args.directory)
        return _wait_for_network(args.gate_port)
    if args.command == "probe-network":
        from nanogrid_executor.agent import network_probe

        _end_on_sigterm()
        return network_probe.main(args.kind, args.host, Paths())
    return _check()


def _run_agent(paths: Paths, session_port: int) -> NoReturn:
    """Run the agent of a batch job, of a session or of a pool's pod, as the task says."""
    from nanogrid import wire

    if pool_task := os.environ.get(names.ENV_POOL_TASK):
        from nanogrid_executor.agent import warm

        code = warm.run(wire.loads(wire.PoolTask, pool_task), paths)
        sys.stdout.flush()
        os._exit(code)
    from nanogrid_executor.agent.secret_env import with_secrets

    task = with_secrets(wire.loads(wire.PodTask, os.environ[names.ENV_TASK]), os.environ)
    log.about_task(task)
    if task.session is not None:
        from nanogrid import logs  # its libraries import logging anyway
        from nanogrid_executor.session import agent

        logs.configure(*log.form(), stream=sys.stdout, fields=log.fields())
        agent.run(task, paths, session_port)
    else:
        from nanogrid_executor.agent import batch

        batch.run(task, paths)
    sys.stdout.flush()
    os._exit(0)  # does not wait for a request that outlived its deadline


def _wait_for_network(gate_port: int | None) -> int:
    """Wait until the pod's policies are in force: the next container runs code of the job."""
    if gate_port is None:
        return 0
    from nanogrid import wire
    from nanogrid.reasons import Reason
    from nanogrid_executor.agent.network_gate import NetworkGate

    _end_on_sigterm()
    gate = NetworkGate(os.environ.get(names.ENV_RESULTS_URL, ""), gate_port)
    gate.start()
    problem = gate.wait()
    if problem:
        failure = wire.SyncFailure(reason=Reason.NETWORK_NOT_ENFORCED, message=problem)
        Paths().write_termination(wire.dumps(failure))
    return 1 if problem else 0


def _end_on_sigterm() -> None:
    """PID 1 of a container ignores signals that it does not handle."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))


def _check() -> int:
    import importlib
    import pkgutil

    import nanogrid_executor

    found = pkgutil.walk_packages(nanogrid_executor.__path__, "nanogrid_executor.")
    modules = [module.name for module in found if not module.name.endswith(".__main__")]
    for name in modules:
        importlib.import_module(name)
    importlib.import_module("obstore.store")
    sys.stdout.write(f"imported {len(modules)} modules\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
