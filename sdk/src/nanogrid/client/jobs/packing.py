"""A folder as a ZIP: equal files give equal bytes, and so the same checksum and S3 key."""

import io
import zipfile
from pathlib import Path
from typing import Final

from nanogrid import archive, names
from nanogrid.client.errors import InvalidRequest

SKIPPED: Final = frozenset({"__pycache__", ".git", ".venv", ".mypy_cache", ".pytest_cache"})


def zip_directory(folder: Path) -> bytes:
    """The ZIP of a folder, without caches and hidden tool folders; executable bits are kept.

    Raises:
        InvalidRequest: the path is not a folder, or the folder has no files or a symbolic link.
    """
    if not folder.is_dir():
        raise InvalidRequest(
            f"{folder} is not a directory.", f"Give a directory with {names.ENTRYPOINT} in it."
        )
    files = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if not SKIPPED.intersection(path.relative_to(folder).parts) and not path.is_dir()
    }
    if not files:
        raise InvalidRequest(f"{folder} has no files.", f"Put {names.ENTRYPOINT} into it.")
    return zip_files(
        {name: (_content(path), path.stat().st_mode & 0o111 != 0) for name, path in files.items()}
    )


def zip_files(files: dict[str, tuple[bytes, bool]]) -> bytes:
    """The ZIP of files: name to content and whether the file is executable."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as opened:
        for name in sorted(files):
            content, executable = files[name]
            entry = zipfile.ZipInfo(name)  # its date is fixed: 1980
            entry.create_system = archive.UNIX
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o755 if executable else 0o644) << 16
            opened.writestr(entry, content)
    return buffer.getvalue()


def _content(path: Path) -> bytes:
    if path.is_symlink():
        hint = "Replace the link with the file. Archives with links are refused."
        raise InvalidRequest(f"{path} is a symbolic link.", hint)
    return path.read_bytes()
