"""What a hostile program may leave in its output directory instead of a file."""

import os
import socket
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SECRET = b"the token of the agent"


@dataclass(frozen=True)
class Trick:
    """``make`` leaves it in the output directory; ``line`` is what the agent says about it."""

    name: str
    make: Callable[[Path], object]
    line: str


def leave(trick: Trick, workspace: Path) -> bool:
    """Leave it in the workspace's output directory; False if this machine does not allow it."""
    try:
        trick.make(workspace / "output")
    except PermissionError:
        return False
    return True


def _link(name: str, target: str) -> Trick:
    def make(out: Path) -> None:
        (out / name).parent.mkdir(exist_ok=True)
        os.symlink(target, out / name)

    return Trick(f"a link {name}", make, f"{name} is a symbolic link")


def _named(title: str, name: str | bytes, shown: str) -> Trick:
    def make(out: Path) -> None:
        raw = name if isinstance(name, bytes) else name.encode()
        Path(os.fsdecode(bytes(out) + b"/" + raw)).write_bytes(b"x")

    return Trick(title, make, f"{shown} cannot be an S3 key: it has")


def _socket(out: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        here = os.getcwd()
        os.chdir(out)  # a socket's path has at most 107 bytes
        try:
            sock.bind("socket")
        finally:
            os.chdir(here)


def _sparse(out: Path) -> None:
    with open(out / "sparse", "wb") as file:
        file.truncate(1 << 40)


def _deep(out: Path, name: str, depth: int) -> None:
    folder = out / "/".join([name] * depth)
    folder.mkdir(parents=True)
    (folder / "file").write_bytes(b"x")


def _device(out: Path, kind: int, number: int) -> None:
    os.mknod(out / f"device-{number}", kind | 0o666, number)


def _fifo(out: Path, name: str) -> None:
    (out / name).parent.mkdir(exist_ok=True)
    os.mkfifo(out / name)


def _two_names(out: Path) -> None:
    (out / "one").write_bytes(b"x")
    os.link(out / "one", out / "two")


TRICKS = (
    _link("absolute.txt", "/etc/passwd"),
    _link("relative.txt", "../../secrets/token"),
    _link("folder", "../../secrets"),
    _link("environ.txt", "/proc/self/environ"),
    _link("memory", "/proc/1/mem"),
    _link("zero", "/dev/zero"),
    _link("root", "/"),
    _link("loop", "loop"),
    _link("dangling", "nowhere"),
    _link("inner/up", ".."),
    Trick(
        "a second name of the agent's token",
        lambda out: os.link(out.parents[1] / "secrets/token", out / "hard.txt"),
        "hard.txt has 2 names",
    ),
    Trick("a file with two names", _two_names, "one has 2 names"),
    Trick("a FIFO", lambda out: _fifo(out, "fifo"), "fifo is a FIFO"),
    Trick("a FIFO with a file's name", lambda out: _fifo(out, "inner/a.png"), "a.png is a FIFO"),
    Trick("a socket", _socket, "socket is a socket"),
    Trick(
        "a character device",
        lambda out: _device(out, stat.S_IFCHR, os.makedev(1, 5)),
        "is a device",
    ),
    Trick(
        "a block device",
        lambda out: _device(out, stat.S_IFBLK, os.makedev(7, 0)),
        "is a device",
    ),
    Trick("a sparse file of 1 TiB", _sparse, "over maxFileBytes 1073741824, the first is sparse"),
    _named("a line break", "new\nline.txt", r"new\nline.txt"),
    _named("a terminal's escape sequence", "escape\x1b[2J.txt", r"escape\x1b[2J.txt"),
    _named("a tab", "tab\there", r"tab\there"),
    _named("NUL's neighbour", "start\x01here", r"start\x01here"),
    _named("a backspace", "back\x08space", r"back\x08space"),
    _named("a next-line character", "line\x85here", r"line\x85here"),
    _named("a control character of 8 bits", "a\x9bb", r"a\x9bb"),
    _named("bytes that are not UTF-8", b"latin\xe9.txt", r"latin\udce9.txt"),
    _named("half of a surrogate pair", b"half\xed\xa0\x80", r"half\udced\udca0\udc80"),
    Trick("a long path", lambda out: _deep(out, "d" * 200, 6), "too long for an S3 key"),
    Trick("deep folders", lambda out: _deep(out, "e", 40), "folders deep"),
)
