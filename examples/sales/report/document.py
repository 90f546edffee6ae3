"""The PDF: two A4 pages; the file contains the Korean fonts."""

from pathlib import Path
from xml.sax.saxutils import escape

import pandas as pd
from figures import ACCENT, BAND, INK, LINE, MUTED, Figures
from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.lib.utils import ImageReader
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    BaseDocTemplate,
    Flowable,
    Frame,
    Image,
    PageBreak,
    PageTemplate,
    Paragraph,
    Spacer,
    Table,
)

TITLE = "신선식품 매출 보고서"
TOP_PRODUCTS = 10
MARGIN = 20 * mm
WIDTH, HEIGHT = A4[0] - 2 * MARGIN, A4[1] - 2 * MARGIN
REGULAR, BOLD = "NanumGothic", "NanumGothicBold"
SUMS = ["판매건수", "수량", "매출 (원)", "비중"]


def write(figures: Figures, by_category: Path, by_day: Path, target: Path) -> None:
    """Write the report with its two charts."""
    for font in (REGULAR, BOLD):
        pdfmetrics.registerFont(TTFont(font, f"{font}.ttf"))
    frame = Frame(MARGIN, MARGIN, WIDTH, HEIGHT, 0, 0, 0, 0)
    report = BaseDocTemplate(str(target), pagesize=A4, title=TITLE, lang="ko")
    report.addPageTemplates(PageTemplate(frames=[frame], onPage=_footer))
    story = [
        *_head(figures),
        _picture(by_category),
        _heading("카테고리별"),
        _table(["카테고리", *SUMS], _category_rows(figures), [28, 16, 16, 24, 16], total=True),
        PageBreak(),
        _picture(by_day),
        _heading("월별"),
        _table(["월", *SUMS], _rows(figures.months), [28, 16, 16, 24, 16]),
        _heading(f"매출 상위 {TOP_PRODUCTS}개 제품"),
        _table(["제품명", "카테고리", *SUMS], _rows(figures.products.head(TOP_PRODUCTS)),
               [34, 16, 13, 11, 16, 10], texts=2),
    ]  # fmt: skip
    report.build(story)


def _head(figures: Figures) -> list[Flowable]:
    """Title, period and key figures."""
    days = figures.days
    first, last = (f"{day:%Y년 %-m월 %-d일}" for day in (days.index[0], days.index[-1]))
    subtitle = f"{first} ~ {last} · {escape(', '.join(figures.files))}"
    return [
        Paragraph(TITLE, _style(22, BOLD)),
        Spacer(1, 1.5 * mm),
        Paragraph(subtitle, _style(9, color=MUTED)),
        Spacer(1, 6 * mm),
        _key_figures(
            {
                "총 매출": f"{figures.total:,}원",
                "판매": f"{len(figures.sales):,}건",
                "하루 평균": f"{days.mean():,.0f}원",
                "가장 많이 판 날": f"{days.idxmax():%-m월 %-d일}",
            }
        ),
        Spacer(1, 6 * mm),
    ]


def _category_rows(figures: Figures) -> list[list[str]]:
    sums = [len(figures.sales), figures.sales["수량"].sum(), figures.total]
    return [*_rows(figures.categories), ["합계", *[f"{n:,}" for n in sums], "100.0%"]]


def _rows(groups: pd.DataFrame) -> list[list[str]]:
    """Groups as text: won with thousands separators, shares in percent."""
    shown = groups.copy()
    for name in ("판매건수", "수량", "금액"):
        shown[name] = groups[name].map("{:,}".format)
    shown["비중"] = groups["비중"].map("{:.1%}".format)
    rows: list[list[str]] = shown.to_numpy().tolist()
    return rows


def _style(size: float, font: str = REGULAR, color: str = INK, lead: float = 1.3) -> ParagraphStyle:
    return ParagraphStyle(
        "", fontName=font, fontSize=size, leading=size * lead, textColor=HexColor(color)
    )


def _heading(text: str) -> Flowable:
    style = _style(12, BOLD)
    style.spaceBefore, style.spaceAfter = 5 * mm, 2 * mm
    return Paragraph(text, style)


def _picture(file: Path) -> Flowable:
    wide, high = ImageReader(str(file)).getSize()
    return Image(str(file), width=WIDTH, height=WIDTH * high / wide)


def _key_figures(figures: dict[str, str]) -> Table:
    """The key figures in one row, each below its name."""
    name, value = _style(8.5, color=MUTED, lead=1.7), _style(14, BOLD)
    cells = [[Paragraph(n, name), Paragraph(text, value)] for n, text in figures.items()]
    commands = [
        ("BACKGROUND", (0, 0), (-1, -1), HexColor(BAND)),
        ("LINEBEFORE", (0, 0), (-1, -1), 2, HexColor(ACCENT)),
        ("LEFTPADDING", (0, 0), (-1, -1), 9),
        ("TOPPADDING", (0, 0), (-1, -1), 6),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 8),
    ]
    return Table([cells], colWidths=[WIDTH / len(cells)] * len(cells), style=commands)


def _table(
    head: list[str],
    rows: list[list[str]],
    percents: list[int],
    texts: int = 1,
    total: bool = False,
) -> Table:
    """A table: columns of text first, then columns of right-aligned numbers.

    Args:
        head: names of the columns.
        rows: below the head.
        percents: width of each column in percent of the page.
        texts: number of text columns; long text is wrapped.
        total: whether the last row is a total.
    """
    cell, last = _style(9), _style(9, BOLD)
    body: list[list[object]] = []
    for row in rows:
        style = last if total and row is rows[-1] else cell
        body.append([*(Paragraph(escape(text), style) for text in row[:texts]), *row[texts:]])
    commands: list[tuple[object, ...]] = [
        ("FONT", (0, 0), (-1, 0), BOLD, 9, 11.7),
        ("FONT", (0, 1), (-1, -1), REGULAR, 9, 11.7),
        ("TEXTCOLOR", (0, 0), (-1, 0), HexColor(MUTED)),
        ("TEXTCOLOR", (0, 1), (-1, -1), HexColor(INK)),
        ("ALIGN", (texts, 0), (-1, -1), "RIGHT"),
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("LINEBELOW", (0, 0), (-1, 0), 1, HexColor(ACCENT)),
        ("LINEBELOW", (0, 1), (-1, -1), 0.4, HexColor(LINE)),
        ("TOPPADDING", (0, 0), (-1, -1), 4),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 5),
    ]
    if total:
        commands += [
            ("FONT", (0, -1), (-1, -1), BOLD, 9, 11.7),
            ("BACKGROUND", (0, -1), (-1, -1), HexColor(BAND)),
        ]
    widths = [WIDTH * percent / 100 for percent in percents]
    return Table([head, *body], colWidths=widths, repeatRows=1, style=commands)


def _footer(canvas: Canvas, report: BaseDocTemplate) -> None:
    """The footer of each page: a line, the title and the page number."""
    canvas.saveState()
    canvas.setStrokeColor(HexColor(LINE))
    canvas.line(MARGIN, 15 * mm, A4[0] - MARGIN, 15 * mm)
    canvas.setFont(REGULAR, 8)
    canvas.setFillColor(HexColor(MUTED))
    canvas.drawString(MARGIN, 10.5 * mm, TITLE)
    canvas.drawRightString(A4[0] - MARGIN, 10.5 * mm, f"{report.page}쪽")
    canvas.restoreState()
