"""A folder as a ZIP: the same files give the same bytes, so the same checksum and S3 key."""

import io
import zipfile
from pathlib import Path
from typing import Final

from nanogrid import names
from nanogrid.client.errors import InvalidRequest

SKIPPED: Final = frozenset({"__pycache__", ".git", ".venv", ".mypy_cache", ".pytest_cache"})
_UNIX: Final = 3


def zip_directory(folder: Path) -> bytes:
    """The ZIP; caches and hidden tool folders are left out, permissions to execute are kept.

    Raises:
        InvalidRequest: it is no folder, or holds no files, or a link.
    """
    if not folder.is_dir():
        raise InvalidRequest(f"{folder} is no directory.", "Give a directory with main.py in it.")
    files = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if not SKIPPED.intersection(path.relative_to(folder).parts) and not path.is_dir()
    }
    if not files:
        raise InvalidRequest(f"{folder} holds no files.", f"Put {names.ENTRYPOINT} into it.")
    return zip_files(
        {name: (_content(path), path.stat().st_mode & 0o111 != 0) for name, path in files.items()}
    )


def zip_files(files: dict[str, tuple[bytes, bool]]) -> bytes:
    """The ZIP of names with content and whether it may be executed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            content, executable = files[name]
            entry = zipfile.ZipInfo(name)  # its date is fixed: 1980
            entry.create_system = _UNIX
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o755 if executable else 0o644) << 16
            archive.writestr(entry, content)
    return buffer.getvalue()


def _content(path: Path) -> bytes:
    if path.is_symlink():
        cure = "Replace it by the file itself: archives with links are refused."
        raise InvalidRequest(f"{path} is a link.", cure)
    return path.read_bytes()
