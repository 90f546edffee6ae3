"""Draw the dashboards of the chart from the answers of a Prometheus: `python -m pictures.draw`.

A headless Chromium makes the pictures. They look like Grafana's dashboards, and are not the same.
"""

import argparse
import io
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from PIL import Image

from pictures import page
from pictures.answers import PanelError, series_of, span_of
from support.browser import BROWSER, BROWSERS, a_browser
from support.dashboards import chosen, dashboards, panels
from support.prometheus_api import Prometheus, PrometheusError, Span

MOST_BYTES: Final = 200_000  # of a picture in the documentation


class DrawError(Exception):
    """A picture cannot be drawn."""


def draw(prometheus: Prometheus, folder: Path, span: Span, wishes: Mapping[str, str]) -> None:
    """Write dashboard-NAME.png of each dashboard to a folder.

    Args:
        prometheus: what is asked.
        folder: where the pictures are written.
        span: the time that they show.
        wishes: values of variables that have one value; default is the first value.

    Raises:
        DrawError: there is no browser, or a dashboard has no data or cannot be drawn.
    """
    if BROWSER is None:
        raise DrawError(f"no browser on PATH: {', '.join(BROWSERS)}")
    pages = {}
    for name, board in dashboards().items():
        try:
            values = chosen(
                board, lambda series, label: prometheus.label_values(series, label, span), wishes
            )
            found = {one["id"]: series_of(prometheus, one, values, span) for one in panels(board)}
            pages[name] = page.page(board, found, values, span), page.height_of(board)
        except (LookupError, PanelError, PrometheusError, ValueError) as error:
            raise DrawError(f"dashboard {name}: {error}") from error
    folder.mkdir(parents=True, exist_ok=True)
    with a_browser() as browser:
        for name, (content, height) in pages.items():
            target = folder / f"dashboard-{name}.png"
            tab = browser.new_page(viewport={"width": page.WIDTH, "height": height})
            tab.set_content(content)
            with Image.open(io.BytesIO(tab.screenshot())) as picture:
                fewer_colors(picture.convert("RGB")).save(target, optimize=True)
            tab.close()
            size = target.stat().st_size
            print(f"{target}: {page.WIDTH} x {height}, {size:,} bytes")
            if size > MOST_BYTES:
                raise DrawError(f"{target} is larger than {MOST_BYTES:,} bytes")


def fewer_colors(picture: Image.Image) -> Image.Image:
    """A picture with its 256 most frequent colors: a third of the bytes.

    Other palettes of the library change the colors of thin lines, or of the background.
    """
    frequent = sorted(picture.getcolors(picture.width * picture.height) or [], reverse=True)[:256]
    palette = Image.new("P", (1, 1))
    palette.putpalette([part for _, rgb in frequent if isinstance(rgb, tuple) for part in rgb])
    return picture.quantize(palette=palette, dither=Image.Dither.NONE)


def variable(text: str) -> tuple[str, str]:
    """NAME=VALUE of the command line."""
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def main() -> int:
    """The exit code: 1 if a picture cannot be drawn."""
    parser = argparse.ArgumentParser(prog="pictures.draw", description=__doc__)
    parser.add_argument("--prometheus", required=True, metavar="URL")
    parser.add_argument("--minutes", type=float, default=180.0, help="the time; default 180")
    parser.add_argument("--to", type=Path, default=Path("docs/images"), metavar="FOLDER")
    parser.add_argument(
        "--variable", type=variable, action="append", default=[], metavar="NAME=VALUE",
        help="of variables with one value, such as function; default: the first value",
    )  # fmt: skip
    options = parser.parse_args()
    prometheus = Prometheus(options.prometheus.rstrip("/"))
    try:
        draw(prometheus, options.to, span_of(time.time(), options.minutes), dict(options.variable))
    except DrawError as error:
        print(f"pictures: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
