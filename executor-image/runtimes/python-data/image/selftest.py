"""Boot test of the image: run it as user code runs, with a read-only root.

    docker run --rm --read-only --network=none --tmpfs=/tmp IMAGE env -i HOME=/tmp python3 FILE

Draws Korean text into a PNG and two PDFs, and fails when a letter has no glyph, a PDF has no
Korean font inside, the prepared font list is not used, or an import is slow.
"""

import datetime
import io
import logging
import sys
import time
import warnings
import zoneinfo
from pathlib import Path

SLOW_IMPORT_SECONDS = 10.0  # normally below 1: this only finds a font list made anew, or no .pyc
KOREAN = "신선식품 매출 보고서 −1,234원"


class Complaints(logging.Handler):
    """Collects warnings of matplotlib's loggers: a font that is not found is only logged."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.texts.append(record.getMessage())


def draw() -> tuple[bytes, bytes]:
    """A chart as PNG and as PDF."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots()
    axes.bar(["과일", "채소"], [-1, 2])
    axes.set_title(KOREAN)
    axes.set_ylabel("금액", family="monospace")
    axes.set_xlabel("카테고리", family="serif", weight="bold")
    plt.rcParams["font.family"] = "Malgun Gothic"  # of Windows; has a negative tick too
    figure.add_subplot().bar(["수산"], [-3])
    png, pdf = io.BytesIO(), io.BytesIO()
    figure.savefig(png, format="png")
    figure.savefig(pdf, format="pdf")
    return png.getvalue(), pdf.getvalue()


def report() -> bytes:
    """A PDF by reportlab, which finds the font by its file's name."""
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
    check(pd.read_excel(target).equals(frame), "an XLSX does not come back as it was written")
    noon = datetime.datetime(2025, 7, 1, 12, tzinfo=zoneinfo.ZoneInfo("Asia/Seoul"))
    check(noon.utcoffset() == datetime.timedelta(hours=9), "Asia/Seoul is not known")


def check(right: bool, complaint: str) -> None:
    """End with a message when something is not right."""
    if not right:
        sys.exit(f"selftest: {complaint}")


def main() -> None:
    """All checks; one line with the measured import time."""
    warnings.simplefilter("error")  # among them: a glyph is missing from the font
    complaints = Complaints()
    logging.getLogger("matplotlib").addHandler(complaints)
    started = time.monotonic()
    import matplotlib.pyplot as plt

    seconds = time.monotonic() - started
    check(seconds < SLOW_IMPORT_SECONDS, f"import of matplotlib.pyplot took {seconds:.1f} s")
    check(plt.get_backend().lower() == "agg", f"the backend is {plt.get_backend()}")
    import matplotlib

    lists = list(Path(matplotlib.get_cachedir()).glob("fontlist-*.json"))
    check(bool(lists) and all(f.is_symlink() for f in lists), "the prepared font list is not used")
    png, chart = draw()
    check(not complaints.texts, "; ".join(complaints.texts))
    check(png.startswith(b"\x89PNG"), "no PNG")
    for name, pdf, kind in (
        ("matplotlib", chart, b"/Type3"),
        ("reportlab", report(), b"/FontFile2"),
    ):
        check(kind in pdf and b"NanumGothic" in pdf, f"{name}: no Korean font in the PDF")
    table()
    print(f"selftest: ok; import of matplotlib.pyplot took {seconds:.2f} s")


if __name__ == "__main__":
    main()
