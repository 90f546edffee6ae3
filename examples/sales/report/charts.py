"""The charts. Korean text needs no setup, because the runtime image's default font supports it."""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from figures import ACCENT, ACCENT_SOFT, INK, LINE, MAN, MUTED, Figures
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, DateFormatter
from matplotlib.ticker import FuncFormatter, MaxNLocator

DPI = 200


def by_category(figures: Figures, file: Path) -> Path:
    """Horizontal bars, the largest on top, with won and share."""
    figure, axes = plt.subplots(figsize=(8, 4.4), layout="constrained")
    rows = figures.categories[::-1]
    bars = axes.barh(rows["카테고리"], rows["금액"], color=ACCENT, height=0.6)
    labels = [f"{in_man(row.금액)}원 · {row.비중:.1%}" for row in rows.itertuples()]
    boxed = {"facecolor": "white", "edgecolor": "none", "pad": 2}  # hides the grid behind a label
    axes.bar_label(bars, labels, padding=7, color=INK, fontsize=10, bbox=boxed)
    _quiet(axes, grid="x")
    axes.tick_params(axis="y", labelsize=11, colors=INK)
    axes.set_xlim(0, rows["금액"].max() * 1.24)  # room for the labels
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(in_man))
    _title(axes, "카테고리별 매출 (원)")
    return _save(figure, file)


def by_day(figures: Figures, file: Path) -> Path:
    """A bar for each day, and the seven-day mean as a line."""
    figure, axes = plt.subplots(figsize=(8, 3.9), layout="constrained")
    days = figures.days
    bars = axes.bar(days.index, days, color=ACCENT_SOFT, width=0.78, label="하루 매출")
    mean = days.rolling(7).mean()
    (line,) = axes.plot(mean.index, mean, color=ACCENT, linewidth=2.2, label="7일 이동평균")
    _quiet(axes, grid="y")
    axes.tick_params(axis="x", pad=7)
    edge = pd.Timedelta(hours=18)  # no tick after the last day
    axes.set_xlim(days.index[0] - edge, days.index[-1] + edge)
    axes.set_ylim(0, days.max() * 1.1)
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(in_man))
    axes.xaxis.set_major_locator(AutoDateLocator(minticks=5, maxticks=9))
    longer = len(days) > 366
    axes.xaxis.set_major_formatter(DateFormatter("%Y년 %-m월" if longer else "%-m월 %-d일"))
    _title(axes, "일별 매출 (원)")
    axes.legend(
        handles=[bars, line], loc="lower right", bbox_to_anchor=(1, 1.005), ncols=2,
        frameon=False, labelcolor=INK, borderaxespad=0,
    )  # fmt: skip
    return _save(figure, file)


def in_man(won: float, _position: int = 0) -> str:
    """12,340,000 as 1,234만."""
    return f"{won / MAN:,.0f}만" if won else "0"


def _quiet(axes: Axes, grid: str) -> None:
    """Hide borders and ticks, and show a light grid."""
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    axes.grid(axis=grid, color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=MUTED, labelsize=10)


def _title(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", color=INK, weight="bold", fontsize=13, pad=12)


def _save(figure: plt.Figure, file: Path) -> Path:
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1)
    figure.savefig(file, dpi=DPI)
    plt.close(figure)
    return file
