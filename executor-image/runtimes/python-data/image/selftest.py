"""Boot test of the image: run it like user code, with a read-only root.

    docker run --rm --read-only --network=none --tmpfs=/tmp IMAGE env -i HOME=/tmp python3 FILE

Draws Korean text into a PNG and two PDFs. Fails when a letter has no glyph, a PDF contains no
Korean font, the prepared font list is not used, or an import is slow.
"""

import datetime
import io
import logging
import sys
import time
import warnings
import zoneinfo
from pathlib import Path

SLOW_IMPORT_SECONDS = 10.0  # usually below 1; a rebuilt font list or missing byte code exceeds it
KOREAN = "신선식품 매출 보고서 −1,234원"


class WarningCollector(logging.Handler):
    """Collects warnings of matplotlib's loggers: matplotlib only logs a missing font."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message."""
        self.texts.append(record.getMessage())


def draw() -> tuple[bytes, bytes]:
    """A chart as PNG and as PDF."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots()
    axes.bar(["과일", "채소"], [-1, 2])
    axes.set_title(KOREAN)
    axes.set_ylabel("금액", family="monospace")
    axes.set_xlabel("카테고리", family="serif", weight="bold")
    plt.rcParams["font.family"] = "Malgun Gothic"  # of Windows; one tick is negative
    figure.add_subplot().bar(["수산"], [-3])
    png, pdf = io.BytesIO(), io.BytesIO()
    figure.savefig(png, format="png")
    figure.savefig(pdf, format="pdf")
    return png.getvalue(), pdf.getvalue()


def report() -> bytes:
    """A PDF by reportlab, which finds the font by its file name."""
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont
    from reportlab.pdfgen.canvas import Canvas

    pdfmetrics.registerFont(TTFont("NanumGothic", "NanumGothic.ttf"))
    target = io.BytesIO()
    canvas = Canvas(target)
    canvas.setFont("NanumGothic", 12)
    canvas.drawString(72, 720, KOREAN)
    canvas.save()
    return target.getvalue()


def table() -> None:
    """An XLSX, written and read with pandas; and a time zone."""
    import pandas as pd

    frame = pd.DataFrame({"카테고리": ["과일", "채소"], "금액": [12_900, 3_980]})
    target = io.BytesIO()
    frame.to_excel(target, index=False)
    target.seek(0)
    check(pd.read_excel(target).equals(frame), "reading the XLSX gives other data than written")
    noon = datetime.datetime(2025, 7, 1, 12, tzinfo=zoneinfo.ZoneInfo("Asia/Seoul"))
    check(noon.utcoffset() == datetime.timedelta(hours=9), "the time zone Asia/Seoul is unknown")


def check(passed: bool, message: str) -> None:
    """Exit with a message if a check failed."""
    if not passed:
        sys.exit(f"selftest: {message}")


def main() -> None:
    """Run all checks; print one line with the measured import time."""
    warnings.simplefilter("error")  # for example a glyph that the font lacks
    warning_collector = WarningCollector()
    logging.getLogger("matplotlib").addHandler(warning_collector)
    started = time.monotonic()
    import matplotlib.pyplot as plt

    seconds = time.monotonic() - started
    check(seconds < SLOW_IMPORT_SECONDS, f"import of matplotlib.pyplot took {seconds:.1f} s")
    check(plt.get_backend().lower() == "agg", f"the backend is {plt.get_backend()}")
    import matplotlib

    lists = list(Path(matplotlib.get_cachedir()).glob("fontlist-*.json"))
    check(bool(lists) and all(f.is_symlink() for f in lists), "the prepared font list is not used")
    png, chart = draw()
    check(not warning_collector.texts, "; ".join(warning_collector.texts))
    check(png.startswith(b"\x89PNG"), "the PNG is invalid")
    for name, pdf, kind in (
        ("matplotlib", chart, b"/Type3"),
        ("reportlab", report(), b"/FontFile2"),
    ):
        check(kind in pdf and b"NanumGothic" in pdf, f"{name}: no Korean font in the PDF")
    table()
    print(f"selftest: ok; import of matplotlib.pyplot took {seconds:.2f} s")


if __name__ == "__main__":
    main()
