"""Prepares the image during its build: Korean fonts for matplotlib, packages for user code.

Run it as root:

    prepare.py fonts      with the packages on PYTHONPATH: matplotlib's defaults and its font list
    prepare.py packages   in the final image, without PYTHONPATH: the .pth file
"""

import importlib
import json
import os
import re
import site
import sys
import tempfile
from pathlib import Path
from typing import Any

PACKAGES = Path("/opt/nanogrid/runtime")
FONT_LISTS = Path("/opt/nanogrid/runtime-fonts")  # also in nanogrid_runtime.py
DEFAULT_FONT = "NanumGothic"
# Fonts that code from Windows, macOS or the web uses; they are not free, or too large.
ALIASES = (
    "Malgun Gothic",
    "AppleGothic",
    "Apple SD Gothic Neo",
    "Noto Sans KR",
    "Noto Sans CJK KR",
)
SEMIBOLD, BOLD = 600, 700
# Each generic family starts with a Korean font; DejaVu Sans has symbols that NanumGothic lacks.
FAMILIES = {
    "family": "sans-serif, DejaVu Sans",
    "serif": "NanumMyeongjo, ",
    "sans-serif": "NanumGothic, ",
    "monospace": "NanumGothicCoding, ",
}


def korean_defaults(rc: str) -> str:
    """The default matplotlibrc with Korean fonts first, and a backend that needs no screen.

    The lines stay comments, like all lines of this file: matplotlib reads them as its defaults.

    Raises:
        ValueError: the file does not have the expected lines.
    """
    changes = {r"^##backend: Agg$": "backend: Agg"}
    # Korean fonts lack the minus sign, and only a list of fonts has a fallback for it.
    changes[r"^#axes\.unicode_minus: True"] = "#axes.unicode_minus: False"
    for name, fonts in FAMILIES.items():
        new = fonts if name == "family" else rf"{fonts}\g<rest>"
        changes[rf"^#font\.{name}:(?P<space> +)(?P<rest>.*)$"] = rf"#font.{name}:\g<space>{new}"
    for pattern, line in changes.items():
        rc, count = re.subn(pattern, line, rc, flags=re.M)
        if count != 1:
            raise ValueError(f"matplotlibrc has {count} lines that match {pattern}, expected 1")
    return rc


def prepare_fonts() -> None:
    """Write matplotlib's defaults, and the font list that it would build at each start."""
    rc = PACKAGES / "matplotlib/mpl-data/matplotlibrc"
    rc.write_text(korean_defaults(rc.read_text("utf-8")), "utf-8")
    with tempfile.TemporaryDirectory() as cache:
        os.environ["MPLCONFIGDIR"] = cache
        fonts = importlib.import_module("matplotlib.font_manager")  # builds the list
        if DEFAULT_FONT not in fonts.get_font_names():
            sys.exit(f"prepare: matplotlib does not find the font {DEFAULT_FONT}")
        FONT_LISTS.mkdir(parents=True)
        for file in Path(cache).glob("fontlist-*.json"):
            korean = korean_font_list(json.loads(file.read_text("utf-8")))
            (FONT_LISTS / file.name).write_text(json.dumps(korean), "utf-8")


def korean_font_list(found: dict[str, Any]) -> dict[str, Any]:
    """The list of matplotlib, extended: code for other systems shows Korean text too."""
    fonts = []
    for font in _by_file(found["ttflist"]):
        # NanumMyeongjo names its bold face semibold: "bold" would find it with a warning.
        semibold = font["name"].startswith("Nanum") and font["weight"] == SEMIBOLD
        fonts.append({**font, "weight": BOLD} if semibold else font)
        if font["name"] == DEFAULT_FONT:
            fonts += [{**font, "name": name} for name in ALIASES]
    family = {**found["defaultFamily"], "ttf": DEFAULT_FONT}
    lists = {"ttflist": fonts, "afmlist": _by_file(found["afmlist"])}
    return {**found, **lists, "defaultFamily": family}


def _by_file(fonts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The fonts in one order: matplotlib lists the files of a set, in another order each time."""
    return sorted(fonts, key=lambda font: str(font["fname"]))


def put_on_path() -> None:
    """Write the .pth file, which every Python of the image reads unless it runs with -S."""
    folder = Path(site.getsitepackages()[0])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "nanogrid-runtime.pth").write_text(f"{PACKAGES}\nimport nanogrid_runtime\n")


if __name__ == "__main__":
    {"fonts": prepare_fonts, "packages": put_on_path}[sys.argv[1]]()
