"""The workbook: one sheet for each kind of sum, and one with all sales."""

import datetime
import unicodedata
from pathlib import Path

import pandas as pd
from figures import ACCENT, Figures
from openpyxl.styles import Alignment, Font, PatternFill
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.worksheet import Worksheet

FORMATS = {
    **dict.fromkeys(["판매건수", "수량", "단가", "금액"], "#,##0"),
    "비중": "0.0%",
    "날짜": "yyyy-mm-dd",
}


def write(figures: Figures, target: Path) -> None:
    """Write all sheets."""
    sheets = {
        "카테고리별": figures.categories,
        "일별": figures.days.rename_axis("날짜").reset_index(),
        "제품별": figures.products,
        "판매내역": figures.sales,
    }
    with pd.ExcelWriter(target, engine="openpyxl") as writer:
        for name, frame in sheets.items():
            frame.to_excel(writer, sheet_name=name, index=False)
            _dress(writer.sheets[name])


def _dress(sheet: Worksheet) -> None:
    """Freeze the header, and set number formats and column widths."""
    sheet.freeze_panes = "A2"
    sheet.auto_filter.ref = sheet.dimensions
    for number, (head, *cells) in enumerate(sheet.columns, start=1):
        head.font = Font(bold=True, color="FFFFFF")
        head.fill = PatternFill("solid", fgColor=ACCENT.removeprefix("#"))
        head.alignment = Alignment(horizontal="center")
        for cell in cells:
            cell.number_format = FORMATS.get(head.value, "General")
        widest = max(_letters(cell.value) for cell in [head, *cells])
        sheet.column_dimensions[get_column_letter(number)].width = widest + 5


def _letters(value: object) -> int:
    """The width of a value in digits; a Korean letter has the width of two."""
    match value:
        case datetime.date():
            text = "2025-01-01"
        case int():
            text = f"{value:,}"
        case float():
            text = "100.0%"
        case _:
            text = str(value)
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
