"""Prints the changes of jobs as they come."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

from nanogrid.cli.app.output import Format, write_stdout
from nanogrid.types import Json

if TYPE_CHECKING:
    from nanogrid.client import Client


def print_changes(
    client: "Client",
    *,
    all_namespaces: bool,
    output: Format,
    document: Callable[[Json], Json | None],
    name: Callable[[Json], str],
    table: Callable[[Json], str],
    labels: str = "",
) -> None:
    """Print a row, or a JSON document in one line, for each job and each of its changes, for ever.

    Args:
        client: reads the jobs.
        all_namespaces: whether to read those of all namespaces.
        output: the format.
        document: what -o json shows of a watch event; None leaves the event out.
        name: what -o name shows of a job.
        table: a table with a job as its only row.
        labels: label selector.
    """
    from nanogrid.client.kube.paths import jobs

    namespace = None if all_namespaces else client.cluster.namespace
    header = True
    for event in client.cluster.watch(jobs(namespace), labels=labels):
        shown, job = document(event), event["object"]
        if shown is None:
            continue
        if output in (Format.JSON, Format.YAML):
            # One document a line, because the stream has no end.
            write_stdout(json.dumps(shown, ensure_ascii=False) + "\n")
        elif output is Format.NAME:
            write_stdout(name(job) + "\n")
        else:
            text = table(job)
            write_stdout(text if header else text.partition("\n")[2])
            header = False
