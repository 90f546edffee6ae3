"""A sales report from the CSV files in data/: two charts, a PDF and a workbook in output/.

Needs pandas, matplotlib, openpyxl, reportlab and the Nanum fonts: the python-data runtime image.
"""

import sys
from pathlib import Path

import charts
import document
import pandas as pd
import workbook
from figures import Figures

DATA = Path("data")
OUTPUT = Path("output")
COLUMNS = ["날짜", "카테고리", "제품명", "수량", "단가", "금액"]


def read_sales(files: list[Path]) -> pd.DataFrame:
    """The sales of all files; a missing column ends the program with a message."""
    frames = [pd.DataFrame(columns=COLUMNS)]
    for file in files:
        try:
            frame = pd.read_csv(file, encoding="utf-8-sig")
        except UnicodeDecodeError:
            frame = pd.read_csv(file, encoding="cp949")  # an older Excel
        if missing := [name for name in COLUMNS if name not in frame.columns]:
            sys.exit(f"{file}: 열이 없습니다: {', '.join(missing)}")
        frames.append(frame[COLUMNS])
    sales = pd.concat([frame for frame in frames if len(frame)] or frames, ignore_index=True)
    sales["날짜"] = pd.to_datetime(sales["날짜"], format="%Y-%m-%d")
    return sales.astype({"수량": "int64", "단가": "int64", "금액": "int64"})


def main() -> None:
    """Read the sales, write the report, print the total."""
    files = sorted(DATA.glob("*.csv"))
    sales = read_sales(files)
    if sales.empty:
        sys.exit("data/: 판매 내역이 없습니다")  # never invent a total
    figures = Figures(sales, [file.name for file in files])

    OUTPUT.mkdir(exist_ok=True)
    by_category = charts.by_category(figures, OUTPUT / "sales-by-category.png")
    by_day = charts.by_day(figures, OUTPUT / "sales-by-day.png")
    document.write(figures, by_category, by_day, OUTPUT / "sales-report.pdf")
    workbook.write(figures, OUTPUT / "sales.xlsx")

    print(f"파일: {', '.join(figures.files)} (판매 {len(sales):,}건)")
    print(f"총 매출: {figures.total:,}원")
    for file in sorted(OUTPUT.iterdir()):
        print(f"  {file.name}: {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
