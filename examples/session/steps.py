"""The work of an analyst in one session: sixteen executions that build on each other.

Code without a context runs in its own process; its files stay in /app. A context keeps variables.
The session has the modules of examples/sales/report in /app and the CSV in /app/data.
"""

from typing import NamedTuple


class Step(NamedTuple):
    """One execution: code, context, and a text that its stdout must contain."""

    code: str
    expected: str
    context: str | None = None
    fails: bool = False


ANALYSIS = "analysis"

STEPS = (
    Step("BASH: ls data", "fresh-food-sales.csv"),
    Step(
        """
import csv, json
with open("data/fresh-food-sales.csv", encoding="utf-8-sig", newline="") as file:
    rows = list(csv.DictReader(file))
json.dump(rows, open("rows.json", "w", encoding="utf-8"), ensure_ascii=False)
print(len(rows), "rows", list(rows[0]))
""",
        "2056 rows ['날짜', '카테고리', '제품명', '수량', '단가', '금액']",
    ),
    Step(
        """
import json
rows = json.load(open("rows.json", encoding="utf-8"))
print(f"총 매출: {sum(int(r['금액']) for r in rows):,}원")
""",
        "총 매출: 128,425,270원",
    ),
    Step(
        """
import collections, json
totals = collections.Counter()
for row in json.load(open("rows.json", encoding="utf-8")):
    totals[row["카테고리"]] += int(row["금액"])
json.dump(totals, open("categories.json", "w", encoding="utf-8"), ensure_ascii=False)
print(totals.most_common(1)[0][0])
""",
        "정육",
    ),
    Step("BASH: python3 -m json.tool categories.json | wc -l", "8"),
    Step(
        "import json; print(json.load(open('rows.json'))[0]['없는 열'])",
        "",
        fails=True,
    ),
    Step(
        "import json; print(sorted(json.load(open('rows.json', encoding='utf-8'))[0])[0])",
        "금액",
    ),
    Step("BASH: mkdir -p artifacts && cp categories.json artifacts/ && ls artifacts", "categories"),
    Step(
        """
from pathlib import Path
from main import read_sales
sales = read_sales(sorted(Path("data").glob("*.csv")))
print(len(sales))
""",
        "2056",
        ANALYSIS,
    ),
    Step("print(f\"{sales['금액'].sum():,}\")", "128,425,270", ANALYSIS),
    Step("sales.groupby('카테고리')['금액'].sum().to_frame()", "", ANALYSIS),
    Step(
        """
from figures import Figures
figures = Figures(sales, ["fresh-food-sales.csv"])
print(f"{figures.total:,}")
""",
        "128,425,270",
        ANALYSIS,
    ),
    Step(
        """
import matplotlib.pyplot as plt
ax = sales.groupby("카테고리")["금액"].sum().plot.bar(rot=0)
print("drawn")
""",
        "drawn",
        ANALYSIS,
    ),
    Step(
        """
import charts
art = Path("artifacts")
pictures = [charts.by_category(figures, art / "by-category.png"),
            charts.by_day(figures, art / "by-day.png")]
print(len(list(art.glob("*.png"))))
""",
        "2",
        ANALYSIS,
    ),
    Step(
        """
import document
document.write(figures, art / "by-category.png", art / "by-day.png", art / "report.pdf")
print((art / "report.pdf").read_bytes()[:4])
""",
        "b'%PDF'",
        ANALYSIS,
    ),
    Step("BASH: ls artifacts | sort | tr '\\n' ' '", "by-category.png by-day.png categories.json"),
)
