"""The forest plot of subgroups: one logarithmic scale, squares as large as their information, one p a factor."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from trialml.result import COLOURS, format_count, format_number, format_p, plain_text

__all__ = ["draw_forest"]

_LONGEST = 22
"""Letters of a subgroup's name that leave room for its counts."""

_TICKS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10)


def draw_forest(figure: Any, rows: pd.DataFrame, tests: pd.DataFrame, experimental: str) -> None:
    """Draw hazard ratios of subgroups under headings of their factors.

    Parameters
    ----------
    figure
        A matplotlib figure or subfigure.
    rows, tests
        As `SubgroupEffects` holds them.
    experimental
        The words of the direction.
    """
    axes = figure.subplots()
    places, headings = _places(rows)
    height = max(places) + 1.0
    figure.set_size_inches(7.2, 1.5 + 0.27 * height)
    known = rows["hazard_ratio"].notna()
    information = np.where(known, 1 / rows["se"] ** 2, 0.0)
    most = float(information[1:].max(initial=0.0)) or float(information.max())
    low, high = _reach(rows[known])
    for place, (row, weight) in zip(places, zip(rows.itertuples(), information, strict=True), strict=True):
        if weight > 0:
            _estimate(axes, row, place, weight / most, (low, high))
        words = _interval(row) if weight > 0 else "not estimable"
        axes.annotate(words, (1.02, place), xycoords=("axes fraction", "data"), va="center", fontsize=9)
        counts = f"{_count(row.events)} / {_count(row.n)}"
        axes.annotate(counts, (-0.02, place), xycoords=("axes fraction", "data"), va="center", ha="right", fontsize=9)
    _labels(axes, rows, tests, places, headings)
    _axis(axes, low, high, height, experimental)
    overall = float(rows["hazard_ratio"].iloc[0])
    axes.axvline(overall, color=COLOURS["experimental"], linewidth=0.8, linestyle=":", zorder=0)
    axes.axvline(1, color="black", linewidth=0.8, zorder=0)


def _places(rows: pd.DataFrame) -> tuple[list[float], dict[str, float]]:
    """Return the row of each subgroup and of each factor's heading, from the top."""
    places: list[float] = []
    headings: dict[str, float] = {}
    at = 0.0
    for place, factor in enumerate(rows["factor"]):
        if place and factor not in headings:
            headings[factor] = at + 0.35
            at += 1.35
        places.append(at)
        at += 1.0
    return places, headings


def _estimate(axes: Any, row: Any, place: float, share: float, reach: tuple[float, float]) -> None:
    overall = row.factor == "Overall"
    colour = "black" if overall else COLOURS["experimental"]
    axes.plot(
        [max(row.low, reach[0]), min(row.high, reach[1])],
        [place, place],
        color=colour,
        linewidth=1.4,
        solid_capstyle="butt",
    )
    for limit, edge, arrow in ((row.low, reach[0], "<"), (row.high, reach[1], ">")):
        if (limit < edge) if arrow == "<" else (limit > edge):
            axes.plot(edge, place, arrow, color=colour, markersize=5)
    # The area of a square is in proportion to the information, 1 / se^2; the overall effect is a diamond of its own.
    size = 9.0 if overall else max(3.0, 11.0 * math.sqrt(share))
    axes.plot(row.hazard_ratio, place, "D" if overall else "s", color=colour, markersize=size)
    if not math.isnan(row.shrunk):
        below = place + 0.36
        axes.plot([row.shrunk_low, row.shrunk_high], [below, below], color=COLOURS["third"], linewidth=1.0)
        axes.plot(row.shrunk, below, "o", mfc="white", mec=COLOURS["third"], markersize=4)


def _labels(
    axes: Any, rows: pd.DataFrame, tests: pd.DataFrame, places: list[float], headings: dict[str, float]
) -> None:
    p = dict(zip(tests["factor"], tests["p"], strict=True))
    bold = {"fontweight": "bold", "fontsize": 9.5, "va": "center"}
    left, across = -0.56, ("axes fraction", "data")
    for row, place in zip(rows.itertuples(), places, strict=True):
        overall = row.factor == "Overall"
        words = plain_text("Overall" if overall else row.subgroup)
        words = words if len(words) <= _LONGEST else f"{words[: _LONGEST - 1]}\N{HORIZONTAL ELLIPSIS}"
        axes.annotate(words, (left if overall else left + 0.03, place), xycoords=across, va="center", fontsize=9.5)
    for factor, place in headings.items():
        axes.annotate(plain_text(factor), (left, place), xycoords=across, **bold)
        words = (
            "interaction not estimable"
            if math.isnan(p[factor])
            else f"interaction p = {format_p(p[factor])}".replace("= <", "< ")
        )
        axes.annotate(words, (1.02, place), xycoords=across, va="center", fontsize=9, style="italic")
    top = -1.2
    axes.annotate("Events / patients", (-0.02, top), xycoords=across, ha="right", **bold)
    axes.annotate("Hazard ratio (95% CI)", (1.02, top), xycoords=across, **bold)


def _axis(axes: Any, low: float, high: float, height: float, experimental: str) -> None:
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    ticks = [tick for tick in _TICKS if low <= tick <= high]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_yticks([])
    axes.set_ylim(height - 0.2, -0.7)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(
        f"Hazard ratio, logarithmic scale (left of 1 favours {plain_text(experimental)})\n"
        "squares: as estimated, area by information; circles: shrunk; dotted: overall",
        fontsize=9,
    )


def _reach(rows: pd.DataFrame) -> tuple[float, float]:
    """Return the ends of the axis: the intervals with a margin, within a factor of 12 of 1."""
    low = max(min(0.7, float(rows["low"].min()) * 0.9), 1 / 12)
    high = min(max(1.4, float(rows["high"].max()) * 1.1), 12.0)
    return low, high


def _interval(row: Any) -> str:
    return f"{format_number(row.hazard_ratio)} ({format_number(row.low)} to {format_number(row.high)})"


def _count(value: float) -> str:
    return "–" if math.isnan(value) else format_count(value)
