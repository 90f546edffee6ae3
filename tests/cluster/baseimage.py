"""The base image of the project's images if none can be pulled: Debian and Python."""

from __future__ import annotations

import shutil
from pathlib import Path

from cluster import versions
from cluster.cache import key_of
from cluster.engine import Engine
from cluster.osroot import root_tar
from cluster.steps import step

REPOSITORY = "nanogrid-base"


def trim_documentation(root: Path) -> None:
    """Removes files that containers do not need: manuals, documentation, translations.

    Copyright files stay, as Debian's licences require.
    """
    for name in ("usr/share/man", "usr/share/info", "usr/share/locale", "usr/share/i18n"):
        shutil.rmtree(root / name, ignore_errors=True)
        (root / name).mkdir(parents=True)
    for file in (root / "usr/share/doc").rglob("*"):
        if file.name != "copyright" and not file.is_dir():
            file.unlink()
    for cache in list((root / "usr/lib").rglob("__pycache__")):
        shutil.rmtree(cache)


def base_image(engine: Engine) -> str:
    """The name of the base image in this engine; creates the image if it is missing."""
    if engine.can_pull:
        return versions.PUBLISHED_BASE_IMAGE
    tar = root_tar("base-os", versions.BASE_SUITE, versions.BASE_PACKAGES, trim_documentation)
    image = f"{REPOSITORY}:{key_of(tar.parent.name, Path(__file__))}"
    if not engine.has_image(image):
        with step("base-image", f"import the base image {image}") as log:
            changes = ["ENV LANG=C.UTF-8", 'CMD ["python3"]']
            engine.import_tar(log, tar, image, changes)
    return image
