"""A short command starts fast because it imports little: the modules that it must not import."""

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import typer

from nanogrid import client
from nanogrid.cli.main import COMMANDS, build, needed
from nanogrid.client.kube.cluster import Cluster
from support.api_store import NAMESPACE
from support.cli_fakes import ended
from support.client_server import FakeApi

SECONDS = 120
# Each costs more than the request, or is for other commands.
HEAVY = (
    "aiohttp",
    "asyncio",
    "boto3",
    "botocore",
    "kubernetes",
    "multiprocessing",
    "oauthlib",
    "requests",
    "rich",
    "websocket",
    "nanogrid.api",
    "nanogrid.cli.cleanup",
    "nanogrid.cli.doctor",
    "nanogrid.cli.local",
    "nanogrid.cli.run",
    "nanogrid.client.aio",
    "nanogrid.client.functions",
    "nanogrid.client.gateway",
    "nanogrid.client.jobs.manifest",
    "nanogrid.client.sessions",
    "nanogrid.client.storage",
    "nanogrid.codegen",
    "nanogrid.s3",
    "nanogrid.wire",
)
PROGRAM = """
import json, sys
from nanogrid.cli.main import main
try:
    main()
finally:
    json.dump(sorted(sys.modules), sys.stderr)
"""


def config_of(url: str) -> str:
    """A kubeconfig with a token."""
    return json.dumps(
        {
            "current-context": "c",
            "contexts": [
                {"name": "c", "context": {"cluster": "k", "user": "u", "namespace": NAMESPACE}}
            ],
            "clusters": [{"name": "k", "cluster": {"server": url}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
        }
    )


def loaded(args: list[str], kubeconfig: Path) -> tuple[str, set[str]]:
    """What a command prints, and the modules that it loads."""
    variables = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *args],
        env=variables | {"KUBECONFIG": str(kubeconfig)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    text = done.stderr
    assert done.returncode == 0, text
    return done.stdout, set(json.loads(text[text.rindex("[") :]))


@pytest.mark.parametrize(
    "args", [["list"], ["list", "-l", "a=b", "-o", "json"], ["get", "@latest"]]
)
def test_a_short_command_imports_no_heavy_module(
    api: FakeApi, tmp_path: Path, args: list[str]
) -> None:
    api.put(api.job_path("a"), ended("a") | {"metadata": {"name": "a", "namespace": NAMESPACE}})
    file = tmp_path / "config"
    file.write_text(config_of(api.url))
    shown, modules = loaded(args, file)
    assert shown
    assert sorted(modules & set(HEAVY)) == []


@pytest.mark.parametrize("args", [["--version"], ["completion", "bash"], ["version", "--client"]])
def test_a_command_without_a_cluster_imports_no_client(tmp_path: Path, args: list[str]) -> None:
    _, modules = loaded(args, tmp_path / "none")
    assert sorted(modules & {*HEAVY, "urllib3", "yaml"}) == []


def test_each_command_is_in_the_module_that_the_table_names() -> None:
    for module, commands in COMMANDS.items():
        app = typer.Typer()
        import_module(f"nanogrid.cli.{module}").register(app)
        found = [one.name for one in app.registered_commands]
        found += [one.name for one in app.registered_groups]
        assert sorted(map(str, found)) == sorted(commands)


@pytest.mark.parametrize(
    ("line", "module"),
    [
        ("list", "listing"),
        ("-n x list -A", "listing"),
        ("--namespace=x list", "listing"),
        ("-n list get j", "jobs"),
        ("--context run --kubeconfig list session ls", "sessions"),
        ("run -c list", "run"),
    ],
)
def test_a_command_line_loads_the_module_of_its_command(line: str, module: str) -> None:
    assert needed(line.split()) == [module]


@pytest.mark.parametrize("line", ["", "--help", "-h list", "lst", "-n", "--x get"])
def test_help_and_mistakes_load_all_modules(line: str) -> None:
    assert list(needed(line.split())) == list(COMMANDS)


def test_a_part_of_the_program_has_the_same_commands_as_the_whole() -> None:
    whole = typer.main.get_command(build())
    for module, names in COMMANDS.items():
        part = typer.main.get_command(build([module]))
        for name in names:
            mine, its = (one.commands[name] for one in (part, whole))  # type: ignore[attr-defined]
            assert [one.name for one in mine.params] == [one.name for one in its.params]


def test_every_name_of_the_client_is_found_where_the_table_says() -> None:
    for name, module in client._MODULES.items():
        assert getattr(client, name) is getattr(import_module(f"nanogrid.client.{module}"), name)
    assert sorted(client.__all__) == sorted(client._MODULES)
    assert set(client.__all__) <= set(dir(client))
    with pytest.raises(AttributeError, match="NoSuchName"):
        client.NoSuchName  # noqa: B018
    assert client.Cluster is Cluster
