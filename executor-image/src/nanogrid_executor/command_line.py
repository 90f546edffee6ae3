"""The command line with options. A pod's containers have none, and do not pay for ``argparse``."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

from nanogrid import log_line, names


def parse(arguments: Sequence[str]) -> SimpleNamespace:
    """The command and its options; exits with a message if they are not valid."""
    description = "Commands of the trusted containers."
    parser = argparse.ArgumentParser(prog="nanogrid_executor", description=description)
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
    check = commands.add_parser("check", help="import all modules: the boot test of the image")
    check.add_argument(
        "--compiled", action="store_true", help="fail if one of them has no byte code"
    )
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
    return SimpleNamespace(**vars(parser.parse_args(arguments)))
