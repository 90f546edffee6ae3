"""The workspace of ``run --local``, filled by the rules of the pod."""

import io
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nanogrid import archive, names
from nanogrid.cli.app.errors import CliError
from nanogrid.cli.app.exits import Exit
from nanogrid.cli.app.output import note
from nanogrid.hints import Surface, hint_for
from nanogrid.reasons import Reason


def local_path(root: Path, path: str) -> Path:
    """The local path of a path in the pod."""
    return Path(f"{root}{path}")


def copy_input(path: Path, mount: str, root: Path) -> None:
    """Put a local file or folder below its mount path."""
    from nanogrid.client.local_files import read_file

    if path.is_dir():
        unpack(path, archive.EntryPoint(), mount, root)
        return
    target = local_path(root, mount)
    target.mkdir(parents=True, exist_ok=True)
    with _path_conflicts(root), (target / path.name).open("xb") as file:
        file.write(read_file(path))


def unpack(folder: Path, start: archive.EntryPoint, mount: str, root: Path) -> list[Path]:
    """Pack a folder and unpack it with the rules of the pod, which reject the same folders."""
    from nanogrid.client.jobs.packing import zip_directory

    files = []
    try:
        with _path_conflicts(root), archive.opened(io.BytesIO(zip_directory(folder))) as opened:
            opened.locate(start)
            for entry in opened.entries:
                target = local_path(root, f"{mount}/{entry.path}")
                (target if entry.is_dir else target.parent).mkdir(parents=True, exist_ok=True)
                if entry.is_dir:
                    continue
                with target.open("xb") as file:
                    file.writelines(opened.read(entry))
                target.chmod(0o755 if entry.executable else 0o644)
                files.append(target)
    except archive.ArchiveError as error:
        raise rejected(error.reason, str(error)) from error
    return files


@contextmanager
def _path_conflicts(root: Path) -> Iterator[None]:
    """A file of two sources is rejected as in the pod."""
    try:
        yield
    except FileExistsError as error:
        path = os.path.relpath(error.filename, local_path(root, names.WORKSPACE))
        message = f"{path} is in the code and in an input, or in two inputs"
        raise rejected(Reason.PATH_CONFLICT, message) from error


def rejected(reason: str, message: str) -> CliError:
    """The error for a reason that a job in a cluster would have."""
    return CliError(f"{reason}: {message}", hint_for(reason, Surface.CLI), Exit.INFRASTRUCTURE)


def outputs_of(root: Path) -> Path:
    """The output directory."""
    return local_path(root, f"{names.WORKSPACE}/{names.DEFAULT_OUTPUT_DIR}")


def stamps(paths: Iterable[Path]) -> dict[Path, int]:
    """When each file was last changed. Code cannot set this time."""
    return {path: path.stat().st_ctime_ns for path in paths}


def copy_outputs(root: Path, folder: Path, shipped: dict[Path, int], quiet: bool) -> None:
    """Copy the outputs, except files that came with the code and did not change, as in the pod."""
    source = outputs_of(root)
    for path in sorted(one for one in source.rglob("*") if one.is_file() and not one.is_symlink()):
        if shipped.get(path) == path.stat().st_ctime_ns:
            if not quiet:
                note(f"left out {path.relative_to(source)}: it came with the code, unchanged")
            continue
        target = folder / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
        if not quiet:
            note(f"saved {target}")
