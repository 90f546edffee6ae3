"""Command line of the trusted containers: ``python3 -m nanogrid_executor sync|agent``."""

import argparse
import sys
from pathlib import Path

from nanogrid import names
from nanogrid_executor.paths import Paths


def main() -> int:
    """Parse the command line and run one command."""
    parser = argparse.ArgumentParser(prog="nanogrid_executor", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, help_ in (
        ("sync", "copy inputs and code from S3, verify them, write the manifest"),
        ("agent", "have the launcher run the code, and report the result"),
    ):
        command = commands.add_parser(name, help=help_)
        command.add_argument("--root", default="", help="put this before every path of the pod")
        command.add_argument(
            "--session-port", type=int, default=names.SESSION_PORT, help="of a session's HTTP API"
        )
    commands.add_parser("check", help="import everything: the image's boot test")
    install = commands.add_parser("install-launcher", help="copy the launcher to a directory")
    install.add_argument("directory", type=Path)
    return _run(parser.parse_args())


def _run(args: argparse.Namespace) -> int:
    # Imports are late: each container pays only for its own.
    if args.command == "agent":
        from nanogrid_executor import agent

        agent.main(Paths(args.root), args.session_port)
    if args.command == "sync":
        from nanogrid_executor import sync

        sync.main(Paths(args.root), args.session_port)
    if args.command == "install-launcher":
        from nanogrid_executor.install import install

        install(args.directory)
        return 0
    return _check()


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
