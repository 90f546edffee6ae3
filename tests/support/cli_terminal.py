"""Runs the command line against an in-memory cluster."""

import functools

import pytest
import typer
from typer.testing import CliRunner, Result

from nanogrid.cli.app import command
from nanogrid.cli.main import app
from support.cli_fakes import FakeClient, FakeCluster

# Typer builds all commands from their functions for each run, which takes longer than the run.
built_once = functools.cache(typer.main.get_command)


class Terminal:
    """Runs commands against one fake cluster."""

    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.clients: list[FakeClient] = []
        self.contexts: list[tuple[str | None, command.CommandContext]] = []

    def make_client(self, ctx: command.CommandContext, namespace: str | None) -> FakeClient:
        self.contexts.append((namespace, ctx))
        self.clients.append(FakeClient(self.cluster))
        self.clients[-1].controller_class = ctx.controller_class or ""
        return self.clients[-1]

    def run(self, *args: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(app, list(args), input=stdin)


def open_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal whose clients are fakes until the test ends."""
    for name in ("NANOGRID_URL", "NANOGRID_TOKEN", "NANOGRID_CONTROLLER_CLASS"):
        monkeypatch.delenv(name, raising=False)
    terminal = Terminal()
    monkeypatch.setattr(command, "make_client", terminal.make_client)
    monkeypatch.setattr("typer.testing._get_command", built_once)
    return terminal
