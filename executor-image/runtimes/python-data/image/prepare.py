"""Prepares the image when it is built: Korean fonts for matplotlib, packages for user code.

    prepare.py fonts      as root, where the packages are: matplotlib's defaults and its font list
    prepare.py packages   as root, in the final image: the .pth file

It runs with the packages on PYTHONPATH, or, for ``packages``, without any.
"""

import json
import re
import site
import sys
import tempfile
from pathlib import Path

PACKAGES = Path("/opt/nanogrid/runtime")
FONT_LISTS = Path("/opt/nanogrid/runtime-fonts")  # nanogrid_runtime.py knows it too
DEFAULT_FONT = "NanumGothic"
SEMIBOLD, BOLD = 600, 700
# Each generic family starts with a Korean font; DejaVu Sans has the signs that NanumGothic lacks.
FAMILIES = {
    "family": "sans-serif, DejaVu Sans",
    "serif": "NanumMyeongjo, ",
    "sans-serif": "NanumGothic, ",
    "monospace": "NanumGothicCoding, ",
}


def korean_defaults(rc: str) -> str:
    """The default matplotlibrc with Korean fonts in front, and no search for a screen.

    The lines stay comments, as all are in this file: matplotlib reads them as its defaults.

    Raises:
        ValueError: the file does not have the expected lines.
    """
    for name, fonts in FAMILIES.items():
        new = fonts if name == "family" else rf"{fonts}\g<rest>"
        pattern = rf"^#font\.{name}:(?P<space> +)(?P<rest>.*)$"
        rc, count = re.subn(pattern, rf"#font.{name}:\g<space>{new}", rc, flags=re.M)
        if count != 1:
            raise ValueError(f"matplotlibrc has {count} lines of font.{name}, not one")
    rc, count = re.subn(r"^##backend: Agg$", "backend: Agg", rc, flags=re.M)
    if count != 1:
        raise ValueError(f"matplotlibrc has {count} lines of backend, not one")
    return rc


def prepare_fonts() -> None:
    """Write matplotlib's defaults, and the list of fonts that it would make at each start."""
    import os

    rc = PACKAGES / "matplotlib/mpl-data/matplotlibrc"
    rc.write_text(korean_defaults(rc.read_text("utf-8")), "utf-8")
    with tempfile.TemporaryDirectory() as cache:
        os.environ["MPLCONFIGDIR"] = cache
        import matplotlib.font_manager  # makes the list

        if DEFAULT_FONT not in matplotlib.font_manager.get_font_names():
            sys.exit(f"prepare: matplotlib does not see the font {DEFAULT_FONT}")
        FONT_LISTS.mkdir(parents=True)
        for file in Path(cache).glob("fontlist-*.json"):
            fonts = json.loads(file.read_text())
            # Code that asks for a font of another system ("Malgun Gothic") gets a Korean one.
            fonts["defaultFamily"]["ttf"] = DEFAULT_FONT
            for font in fonts["ttflist"]:
                # NanumMyeongjo calls its bold face semibold: "bold" would find it with a warning.
                if font["name"].startswith("Nanum") and font["weight"] == SEMIBOLD:
                    font["weight"] = BOLD
            (FONT_LISTS / file.name).write_text(json.dumps(fonts))


def put_on_path() -> None:
    """Write the .pth file that every Python of the image reads unless it is told -S."""
    folder = Path(site.getsitepackages()[0])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "nanogrid-runtime.pth").write_text(f"{PACKAGES}\nimport nanogrid_runtime\n")


if __name__ == "__main__":
    {"fonts": prepare_fonts, "packages": put_on_path}[sys.argv[1]]()
