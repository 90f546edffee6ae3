"""Command line of the trusted containers: ``python3 -m nanogrid_executor sync|agent|…``.

Imports are late: each container pays only for its own.
"""

import json
import os
import signal
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Final, NoReturn

from nanogrid import names
from nanogrid_executor import log
from nanogrid_executor.paths import Paths

if TYPE_CHECKING:
    from nanogrid import wire

COMPONENTS: Final = {"sync": names.CONTAINER_SYNC}  # by command; others are named as the command


def main() -> int:
    """Run the command of the command line."""
    options = sys.argv[1:]
    if options in (["agent"], ["sync"]):  # as in a pod: there is nothing to parse
        args = SimpleNamespace(
            command=options[0],
            root="",
            session_port=names.SESSION_PORT,
            log_format=None,
            log_level=None,
        )
    else:
        from nanogrid_executor.command_line import parse

        args = parse(options)
    log.start(COMPONENTS.get(args.command, args.command), args.log_format, args.log_level)
    if job := os.environ.get(names.ENV_LOG_JOB):
        log.about(json.loads(job))
    return _run(args)


def _run(args: SimpleNamespace) -> int:
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
    return _check(compiled=args.compiled)


def _run_agent(paths: Paths, session_port: int) -> NoReturn:
    """Run the agent of a batch job, of a session or of a pool's pod, as the task says."""
    from nanogrid import wire

    if pool_task := os.environ.get(names.ENV_POOL_TASK):
        code = _run_waiting_agent(wire.loads(wire.PoolTask, pool_task), paths, session_port)
        sys.stdout.flush()
        os._exit(code)
    from nanogrid_executor.agent.secret_env import with_secrets

    task = with_secrets(wire.loads(wire.PodTask, os.environ[names.ENV_TASK]), os.environ)
    log.about_task(task)
    if task.session is not None:
        from nanogrid_executor.session import agent

        agent.run(task, paths, session_port)
    else:
        from nanogrid_executor.agent import batch

        batch.run(task, paths)
    sys.stdout.flush()
    os._exit(0)  # does not wait for a request that outlived its deadline


def _run_waiting_agent(task: "wire.PoolTask", paths: Paths, session_port: int) -> int:
    """Run the agent of a pool's pod; its exit code."""
    from nanogrid_executor.agent import warm

    if not task.session:
        return warm.run(task, paths, warm.WarmAgent(task, paths))
    from nanogrid_executor.session.warm import WarmSessionAgent

    return warm.run(task, paths, WarmSessionAgent(task, paths, session_port))


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


def _check(*, compiled: bool) -> int:
    """Import all modules; with ``compiled``, all of them must have byte code, too."""
    import importlib
    import pkgutil

    import nanogrid_executor

    found = pkgutil.walk_packages(nanogrid_executor.__path__, "nanogrid_executor.")
    modules = [module.name for module in found if not module.name.endswith(".__main__")]
    for name in modules:
        importlib.import_module(name)
    importlib.import_module("obstore.store")
    sys.stdout.write(f"imported {len(modules)} modules\n")
    missing = _without_byte_code() if compiled else []
    if missing:
        sys.stderr.write(f"no byte code: {', '.join(missing)}\n")
    return 1 if missing else 0


def _without_byte_code() -> list[str]:
    """The imported modules that every process compiles again, because none can cache them."""
    found = {name: getattr(module, "__spec__", None) for name, module in sys.modules.items()}
    return sorted(
        name
        for name, spec in found.items()
        if spec is not None and spec.cached is not None and not os.path.exists(spec.cached)
    )


if __name__ == "__main__":
    sys.exit(main())
