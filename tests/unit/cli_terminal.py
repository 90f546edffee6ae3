"""The command line over a cluster in memory, as a user types it."""

import pytest
from typer.testing import CliRunner, Result

from nanogrid.cli import link
from nanogrid.cli.main import app
from unit.cli_fakes import FakeClient, FakeCluster


class Terminal:
    """The command line over one fake cluster."""

    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.clients: list[FakeClient] = []
        self.links: list[tuple[str | None, link.Link]] = []

    def make(self, asked: link.Link, namespace: str | None) -> FakeClient:
        self.links.append((namespace, asked))
        self.clients.append(FakeClient(self.cluster))
        return self.clients[-1]

    def run(self, *words: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(app, list(words), input=stdin)


def opened(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A command line whose clients are fakes, for as long as the test lasts."""
    for name in ("NANOGRID_URL", "NANOGRID_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    found = Terminal()
    monkeypatch.setattr(link, "make_client", found.make)
    return found
