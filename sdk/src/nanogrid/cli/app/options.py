"""Options and arguments that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from nanogrid.cli.app import completion
from nanogrid.lifecycle import Phase

JobName = Annotated[
    str,
    typer.Argument(help="Name of the job; @latest is the newest.", autocompletion=completion.jobs),
]
JobNames = Annotated[
    list[str],
    typer.Argument(metavar="NAME", help="Names of jobs.", autocompletion=completion.jobs),
]
OptionalJobNames = Annotated[
    list[str] | None,
    typer.Argument(metavar="NAME", help="Names of jobs.", autocompletion=completion.jobs),
]
FunctionName = Annotated[
    str,
    typer.Argument(
        metavar="FUNCTION", help="Name of the function.", autocompletion=completion.functions
    ),
]
FunctionNames = Annotated[
    list[str],
    typer.Argument(
        metavar="FUNCTION", help="Names of functions.", autocompletion=completion.functions
    ),
]
SessionName = Annotated[
    str,
    typer.Argument(
        metavar="SESSION", help="Name of the session.", autocompletion=completion.sessions
    ),
]
SessionNames = Annotated[
    list[str],
    typer.Argument(
        metavar="SESSION", help="Names of sessions.", autocompletion=completion.sessions
    ),
]

GatewayUrl = Annotated[
    str | None,
    typer.Option(
        "--gateway", help="Gateway URL; default: $NANOGRID_URL; '' uses the cluster directly."
    ),
]
Env = Annotated[
    list[str] | None,
    typer.Option(
        "--env", "-e", help="Variable NAME=VALUE, or NAME to copy the local value; repeatable."
    ),
]
EnvSecret = Annotated[
    list[str] | None,
    typer.Option("--env-secret", help="Variable from a Secret, NAME=SECRET:KEY; repeatable."),
]
Memory = Annotated[str | None, typer.Option("--memory", help="Memory limit: 256Mi.")]
Cpu = Annotated[str | None, typer.Option("--cpu", help="CPU limit: 1 or 500m.")]
Image = Annotated[
    str | None, typer.Option("--image", help="Container image with python3 3.11 or later.")
]
PoolOption = Annotated[
    str | None,
    typer.Option(
        "--pool", help="Take a waiting pod of this ExecutionPool.", autocompletion=completion.pools
    ),
]
PoolName = Annotated[
    str | None,
    typer.Argument(
        metavar="NAME", help="Name of a pool; default: all.", autocompletion=completion.pools
    ),
]
CodeTimeout = Annotated[
    str | None, typer.Option("--timeout", help="Timeout of the code: 90, 90s, 5m, 1h.")
]
RequestId = Annotated[
    str | None, typer.Option("--request-id", help="Id of the result; default: the job's uid.")
]
OutputFolder = Annotated[
    Path | None, typer.Option("--outputs", help="Download the output files to this folder.")
]
Detach = Annotated[
    bool, typer.Option("--detach", "-d", help="Print the name and do not wait for the end.")
]
Keep = Annotated[
    bool, typer.Option("--keep", help="Keep the job; default: delete it one hour after its end.")
]
Follow = Annotated[
    bool, typer.Option("--follow", "-f", help="Follow the output until the code ends.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
PhaseFilter = Annotated[
    Phase | None,
    typer.Option("--phase", case_sensitive=False, help="Only jobs in this phase."),
]
LabelFilter = Annotated[
    str | None, typer.Option("--selector", "-l", help="Only jobs with these labels: app=report.")
]
FunctionFilter = Annotated[
    str | None,
    typer.Option(
        "--function", help="Only runs of this function.", autocompletion=completion.functions
    ),
]
Since = Annotated[
    str | None, typer.Option("--since", help="Only jobs created in this time: 90s, 5m, 1h, 1d.")
]
Limit = Annotated[
    int | None, typer.Option("--limit", min=1, help="Only this number of jobs, the newest.")
]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Keep printing changes of jobs.")]
AllNamespaces = Annotated[bool, typer.Option("--all-namespaces", "-A", help="Use all namespaces.")]
