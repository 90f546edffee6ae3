"""`python3 -m cluster`: the test cluster's commands."""

from __future__ import annotations

import argparse
import sys

from cluster import commands, gobuild
from cluster.progress import say
from cluster.steps import ClusterError, UsageError


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="python3 -m cluster",
        description="A real Kubernetes cluster for demo and tests, on any machine.",
    )
    sub = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    up = sub.add_parser("up", help="create a cluster if there is none")
    up.add_argument(
        "--images",
        action="store_true",
        help="build the project's images while the cluster is built",
    )
    down = sub.add_parser("down", help="delete our cluster, stop the engine we started")
    down.add_argument("--purge", action="store_true", help="delete the cache as well")
    status = sub.add_parser("status", help="show the cluster's state")
    status.add_argument("-o", "--output", choices=["text", "json"], default="text")
    sub.add_parser("env", help="print shell exports for the cluster, for eval")
    load = sub.add_parser("load", help="copy images from the Docker engine to the nodes")
    load.add_argument("image", nargs="+")
    tool = sub.add_parser("tool", help="print the path of another tool; build it if it is missing")
    tool.add_argument("name", choices=sorted(gobuild.TOOLS))
    load_tool = sub.add_parser(
        "load-tool", help="copy the image of another tool to the nodes, and print its name"
    )
    load_tool.add_argument("name", choices=sorted(gobuild.TOOLS))
    sub.add_parser(
        "base-image", help="print the base image of our images; create it if it is missing"
    )
    return top


def run(arguments: argparse.Namespace) -> None:
    """Runs the function of a command."""
    match arguments.command:
        case "up":
            commands.up(images=arguments.images)
        case "down":
            commands.down(purge=arguments.purge)
        case "status":
            commands.status(as_json=arguments.output == "json")
        case "env":
            commands.env()
        case "load":
            commands.load(arguments.image)
        case "tool":
            commands.tool(arguments.name)
        case "load-tool":
            commands.load_tool(arguments.name)
        case "base-image":
            commands.base()


def main(args: list[str] | None = None) -> int:
    """Runs one command; 0 success, 1 failure, 2 if the machine or environment must change."""
    arguments = parser().parse_args(args)
    try:
        run(arguments)
    except UsageError as error:
        say(f"cluster: {error}")
        return 2
    except ClusterError as error:
        say(f"cluster: {error}")
        return 1
    except KeyboardInterrupt:
        say("cluster: interrupted")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
