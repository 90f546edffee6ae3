"""Totals the sales CSV files in data/ and writes a report to output/. Standard library only."""

import csv
import io
import json
import sys
import unicodedata
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

DATA = Path("data")
OUTPUT = Path("output")
NEEDED = ("날짜", "카테고리", "수량", "금액")


@dataclass
class Totals:
    """Sums of one category."""

    sales: int = 0
    pieces: int = 0
    won: int = 0


def read_text(file: Path) -> str:
    """The text of a CSV from a Korean Excel: UTF-8 with or without a byte order mark, or CP949."""
    data = file.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp949")


def read_rows(files: list[Path]) -> list[dict[str, str]]:
    """The rows of all files; a missing column ends the program with a message."""
    rows: list[dict[str, str]] = []
    for file in files:
        reader = csv.DictReader(io.StringIO(read_text(file), newline=""))
        missing = [name for name in NEEDED if name not in (reader.fieldnames or ())]
        if missing:
            sys.exit(f"{file}: 열이 없습니다: {', '.join(missing)}")
        rows += reader
    return rows


def padded(text: str, width: int) -> str:
    """The text, padded to a width on the screen; a Korean letter takes two columns."""
    shown = sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
    return text + " " * (width - shown)


def write_report(files: list[Path], rows: int, by_won: list[tuple[str, Totals]]) -> None:
    """Write output/report.json for programs and output/categories.csv for Excel."""
    OUTPUT.mkdir(exist_ok=True)
    report = {
        "total": sum(totals.won for _, totals in by_won),
        "currency": "KRW",
        "rows": rows,
        "files": [file.name for file in files],
        "categories": {name: totals.won for name, totals in by_won},
    }
    text = json.dumps(report, ensure_ascii=False, indent=2)
    (OUTPUT / "report.json").write_text(text + "\n", encoding="utf-8")
    with (OUTPUT / "categories.csv").open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("카테고리", "판매건수", "수량", "금액"))
        writer.writerows((name, t.sales, t.pieces, t.won) for name, t in by_won)


def main() -> None:
    files = sorted(DATA.glob("*.csv"))
    rows = read_rows(files)
    if not rows:
        sys.exit("data/: 판매 내역이 없습니다")  # never invent a total
    categories: defaultdict[str, Totals] = defaultdict(Totals)
    for row in rows:
        totals = categories[row["카테고리"]]
        totals.sales += 1
        totals.pieces += int(row["수량"])
        totals.won += int(row["금액"])
    by_won = sorted(categories.items(), key=lambda item: -item[1].won)
    total = sum(totals.won for _, totals in by_won)

    days = [row["날짜"] for row in rows]
    print(f"파일: {', '.join(file.name for file in files)} (판매 {len(rows):,}건)")
    print(f"기간: {min(days)} ~ {max(days)}")
    print(f"총 매출: {total:,}원")
    for name, totals in by_won:
        share = 100 * totals.won / total if total else 0
        print(f"  {padded(name, 10)} {totals.won:>12,}원 {share:5.1f}%")
    write_report(files, len(rows), by_won)


if __name__ == "__main__":
    main()
