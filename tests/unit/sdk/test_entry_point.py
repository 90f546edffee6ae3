"""The file that a command runs, for every kind of command, and the folder where it is."""

import io

import pytest

from nanogrid import archive
from nanogrid.archive import entry_point_of, folder_of
from support.hostile_archives import make

REQUIRED = {
    ("python3", "main.py"): "main.py",
    ("python3.12", "./main.py", "other.py"): "main.py",
    ("/usr/bin/python3", "-u", "-X", "dev", "-W", "error", "a/b.py"): "a/b.py",
    ("python3", "-uB", "-Wd", "-Xdev", "x.py"): "x.py",
    ("python3", "--check-hash-based-pycs=always", "x.py"): "x.py",
    ("python3", "--", "x.py"): "x.py",
    ("python3", "/app/x.py"): "x.py",
    ("python3", "folder"): "folder",
    ("python3", "."): "__main__.py",
    ("bash", "run.sh"): "run.sh",
    ("sh", "-e", "run.sh"): "run.sh",
    ("bash", "-euo", "pipefail", "run.sh"): "run.sh",
    ("bash", "+o", "posix", "--rcfile", "x", "--norc", "run.sh"): "run.sh",
    ("bash", "-eux", "-o", "pipefail", "scripts/run.sh", "-c"): "scripts/run.sh",
    ("./run.sh", "main.py"): "run.sh",
    ("/app/run.sh",): "run.sh",
    ("bin/run",): "bin/run",
    ("node", "--require", "dotenv/config", "app.js"): "app.js",
    ("ruby", "-w", "x.rb"): "x.rb",
    ("Rscript", "--vanilla", "x.R"): "x.R",
    ("perl", "-w", "-I", "lib", "x.pl"): "x.pl",
    ("node", "--inspect", "app"): "app",
    ("java", "-Xmx1g", "-jar", "app.jar"): "app.jar",
    ("env", "A=1", "-u", "B", "python3", "main.py"): "main.py",
    ("/usr/bin/env", "python3", "main.py"): "main.py",
    ("timeout", "-k", "5", "60", "python3", "main.py"): "main.py",
    ("nice", "-n", "5", "./run.sh"): "run.sh",
    ("tini", "--", "./run.sh"): "run.sh",
    ("xvfb-run", "-a", "-n", "99", "python3", "main.py"): "main.py",
    ("stdbuf", "-oL", "python3", "main.py"): "main.py",
}
OPTIONAL = {
    ("deno", "run", "x.ts"): "x.ts",
    ("bun", "dev"): "dev",
    ("php", "index.php"): "index.php",
    ("bash", "-euo", "pipefail", "-c", "./run.sh"): "run.sh",
    ("python3", "-m", "app"): "app/__main__.py",
    ("python3", "-I", "-m", "app.cli", "--x"): "app/cli/__main__.py",
    ("python3", "-Im", "app"): "app/__main__.py",
    ("python3", "-mapp"): "app/__main__.py",
    ("make", "all"): "GNUmakefile",
    ("make", "-f", "build.mk"): "build.mk",
    ("make", "-C", "src"): "src/GNUmakefile",
    ("npm", "start"): "package.json",
    ("sh", "-c", "python3 main.py | tee log"): "main.py",
    ("bash", "-lc", "A=1 exec ./run.sh && echo done"): "run.sh",
    ("bash", "-c", "make all"): "GNUmakefile",
}
NONE = [
    *(("python3", "/usr/lib/x.py"), ("python3", "-c", "import x"), ("python3", "-ic", "1")),
    *(("python3", "-"), ("python3",), ("python3", "-u"), ("python3", "../x.py")),
    *(("sh", "-s", "x"), ("sh", "-c", "cd x; y"), ("sh", "-c", "echo 'x"), ("sh", "-c"), ("sh",)),
    *(("perl", "-ne", "print", "x"), ("ruby", "-pe", "1", "x"), ("python3", "-m")),
    *(("node", "-e", "1"), ("perl", "-e", "1", "x"), ("java", "Main"), ("node", "."), ("env",)),
    *(("echo", "main.py"), ("/bin/true",), ("true",), ("make", "-f", "/usr/share/x.mk"), ()),
]


@pytest.mark.parametrize(("command", "first"), REQUIRED.items())
def test_a_file_that_has_to_exist(command: tuple[str, ...], first: str) -> None:
    entry = entry_point_of(command)
    assert (entry.files[0], entry.required) == (first, True)


@pytest.mark.parametrize(("command", "first"), OPTIONAL.items())
def test_a_file_that_the_image_may_have_instead(command: tuple[str, ...], first: str) -> None:
    entry = entry_point_of(command)
    assert (entry.files[0], entry.required) == (first, False)


@pytest.mark.parametrize("command", NONE)
def test_a_command_that_names_no_file_of_the_code(command: tuple[str, ...]) -> None:
    assert entry_point_of(command).files == ()


IN_FOLDER = [
    (("python3", "main.py"), "main.py"),
    (("python3", "-m", "app"), "app/__main__.py"),
    (("python3", "-m", "app"), "app.py"),
    (("python3", "-m", "app.cli"), "app/cli.py"),
    (("python3", "tool"), "tool/__main__.py"),
    (("bash", "run.sh"), "run.sh"),
    (("sh", "-ex", "run.sh"), "run.sh"),
    (("./bin/run",), "bin/run"),
    (("make",), "Makefile"),
    (("node", "app"), "app.js"),
    (("node", "app"), "app/index.js"),
    (("make", "test"), "makefile"),
    (("npm", "start"), "package.json"),
    (("sh", "-c", "python3 main.py"), "main.py"),
    (("env", "X=1", "python3", "-m", "app"), "app/__main__.py"),
]


@pytest.mark.parametrize(("command", "file"), IN_FOLDER)
def test_every_kind_of_command_enters_the_only_folder(command: tuple[str, ...], file: str) -> None:
    entry = entry_point_of(command)
    data = make(
        (f"project/{file}", b""), ("project/lib.py", b""), ("Thumbs.db", b""), ("__MACOSX/x", b"")
    )
    with archive.opened(io.BytesIO(data)) as opened:
        opened.locate(entry)
        assert opened.files == [file, "lib.py"]
    assert folder_of([file, "project/other"], entry) == "", "the top level counts first"


@pytest.mark.parametrize(
    ("command", "files"),
    [
        (("python3", "-m", "http.server"), ["site/index.html"]),
        (("python3", "-m", "app"), ["app/__main__.py"]),
        (("python3", "-m", "pytest"), ["project/test_x.py"]),
        (("make",), ["src/x.c"]),
        (("sh", "-c", "python3 project/main.py"), ["project/main.py"]),
        (("sh", "-c", "cd project && python3 main.py"), ["project/main.py"]),
        (("python3", "-c", "import project"), ["project/__init__.py"]),
    ],
)
def test_other_commands_stay_at_the_top_level(command: tuple[str, ...], files: list[str]) -> None:
    assert folder_of(files, entry_point_of(command)) == ""
