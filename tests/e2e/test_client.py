"""The Python client on the cluster, as a user runs it: from outside, with port-forward."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nanogrid.client import AsyncClient, Client, CodeFailed, Conflict, InputError, NotFound
from nanogrid.types import Json
from support.kubectl import Namespace

SMALL: Json = {"memory": "128Mi", "spec": {"timeouts": {"startupSeconds": 120}}}
WAIT_SECONDS = 120
CHART = """
class Chart:
    def _repr_png_(self):
        return b'\\x89PNG\\r\\n\\x1a\\n'
Chart()
"""


@pytest.fixture
def client(namespace: Namespace) -> Iterator[Client]:
    with Client(namespace=namespace.name) as client:
        yield client


def test_inline_code_runs_once_shows_logs_and_fails_with_its_reason(client: Client) -> None:
    run = client.submit("import sys; print('out'); print('err', file=sys.stderr)", name="one")
    assert sorted(run.logs()) == ["err", "out"]
    result = run.wait(WAIT_SECONDS).raise_for_status()
    assert (result.stdout, result.stderr, result.exit_code) == ("out\n", "err\n", 0)
    with pytest.raises(Conflict, match="another spec"):
        client.submit("print(2)", name="one")
    assert "SUCCESS" in result._repr_html_()

    with pytest.raises(CodeFailed) as failed:
        client.run("raise ValueError('no rows')", check=True, wait_timeout=WAIT_SECONDS)
    assert (failed.value.reason, failed.value.result.exit_code) == ("NonZeroExit", 1)
    assert "no rows" in failed.value.result.stderr
    missing = {"data": f"s3:///{client.namespace}/there/is/nothing/"}
    with pytest.raises(InputError) as absent:
        client.run("1", inputs=missing, check=True, wait_timeout=WAIT_SECONDS)
    assert absent.value.reason == "InputNotFound"
    assert len(client.list(phase="Failed")) == 2


def test_a_folder_with_inputs_stores_outputs_for_download(client: Client, tmp_path: Path) -> None:
    folder, data = tmp_path / "code", tmp_path / "data"
    for one in (folder / "pkg", data / "sub"):
        one.mkdir(parents=True)
    (folder / "pkg" / "__init__.py").write_text("FACTOR = 2")
    (folder / "main.py").write_text(
        "import pathlib, pkg\n"
        "text = ''.join(p.read_text() for p in sorted(pathlib.Path('data').rglob('*.txt')))\n"
        "pathlib.Path('output/deep').mkdir(parents=True)\n"
        "pathlib.Path('output/deep/twice.txt').write_text(text * pkg.FACTOR)\n"
    )
    (data / "a.txt").write_text("a")
    (data / "sub" / "b.txt").write_text("b")

    result = client.run(directory=folder, inputs={"data": data}, check=True, **SMALL)

    output = result.outputs["deep/twice.txt"]
    assert output.read() == b"abab"
    (tmp_path / "out").mkdir()
    assert output.download(tmp_path / "out").read_text() == "abab"
    stored = client.upload(folder)
    content = b"".join(client.storage.chunks(stored.uri))
    assert zipfile.ZipFile(io.BytesIO(content)).namelist() == ["main.py", "pkg/__init__.py"]


def test_a_session_keeps_variables_returns_images_and_has_files(client: Client) -> None:
    with client.session(**SMALL) as session:
        output: list[str] = []
        session.execute("x = 41").raise_for_status()
        assert session.execute("print(x + 1)", on_stdout=output.append).stdout == "42\n"
        assert "".join(output) == "42\n"
        assert not session.execute("print(x)", context=None).success
        assert session.execute(CHART).results[0].png == b"\x89PNG\r\n\x1a\n"

        session.files.write("data/in.txt", "hello")
        assert session.bash("cat data/in.txt").stdout == "hello"
        assert [one.path for one in session.files.list("data")] == ["data/in.txt"]
        with client.attach(session.name) as attached:
            assert attached.files.read("data/in.txt") == b"hello"
        session.files.delete("data/in.txt")
        with pytest.raises(NotFound):
            session.files.read("data/in.txt")

        result = session.end("the test is over")
    assert (result.succeeded, result.reason) == (True, "SessionEnded")


async def test_the_asynchronous_session_works_like_the_synchronous_one(
    namespace: Namespace,
) -> None:
    async with AsyncClient(namespace=namespace.name) as client:
        async with await client.session(**SMALL) as session:
            output: list[str] = []
            await session.execute("x = 41")
            done = await session.execute("print(x + 1)", on_stdout=output.append)
            assert (done.stdout, "".join(output)) == ("42\n", "42\n")
            assert [one["name"] for one in await session.contexts()] == ["default"]
            await session.drop_context("default")
            assert not (await session.execute("print(x)")).success
            await session.files.write("data/a.txt", "hello")
            assert (await session.bash("cat data/a.txt")).stdout == "hello"
            assert [one.path for one in await session.files.list("data")] == ["data/a.txt"]
        texts: list[str] = []
        result = await client.run(
            "print('live')", on_output=texts.append, wait_timeout=WAIT_SECONDS
        )
        assert "".join(texts) == result.stdout == "live\n"


def test_long_output_is_read_in_full(client: Client) -> None:
    for count in (3000, 12000):  # in the stored result; in its own object
        result = client.run(f"for n in range({count}): print(n, '.')", wait_timeout=WAIT_SECONDS)
        assert result.truncated
        assert result.full_stdout() == "".join(f"{n} .\n" for n in range(count))
        assert result.full_stderr() == ""
