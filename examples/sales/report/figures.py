"""The figures of charts, PDF and workbook; each is computed once."""

import pandas as pd

MAN = 10_000  # Koreans count money in units of ten thousand won

INK, MUTED, LINE, BAND = "#1f2a37", "#6b7280", "#d6dbe1", "#f3f6f8"
ACCENT, ACCENT_SOFT = "#1f6f5c", "#a9cfc3"


class Figures:
    """Sums of the sales of some files."""

    def __init__(self, sales: pd.DataFrame, files: list[str]) -> None:
        self.sales = sales
        self.files = files
        self.total = int(sales["금액"].sum())
        self.categories = self._summed(["카테고리"])
        self.products = self._summed(["제품명", "카테고리"])
        # A day without sales has the value 0.
        self.days = sales.groupby("날짜")["금액"].sum().asfreq("D", fill_value=0)
        self.months = self._summed([sales["날짜"].dt.strftime("%Y년 %-m월")], sort=False)

    def _summed(self, by: list, sort: bool = True) -> pd.DataFrame:
        """Sales, pieces, won and share of each group; the largest first, or in the given order."""
        groups = self.sales.groupby(by, sort=False).agg(
            판매건수=("금액", "size"), 수량=("수량", "sum"), 금액=("금액", "sum")
        )
        groups["비중"] = groups["금액"] / (self.total or 1)
        groups = groups.reset_index()
        return groups.sort_values("금액", ascending=False, ignore_index=True) if sort else groups
