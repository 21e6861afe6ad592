"""The picture of Kaplan-Meier curves: curves and limits above, numbers at risk under the same axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from trialml.result import plain_text

if TYPE_CHECKING:
    import pandas as pd

    from trialml.survival.kaplan_meier import KaplanMeier

__all__ = ["draw_kaplan_meier", "drawn_rows"]

LEAST_AT_RISK = 0.1
"""The share of a group at risk below which its curve is not drawn: the tail rests on a handful of patients."""
LINE_STYLES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
STEPS = {
    "days": (1, 2, 7, 14, 30, 60, 90, 180, 365, 730, 1825),
    "weeks": (1, 2, 4, 13, 26, 52, 104, 260),
    "months": (1, 2, 3, 6, 12, 24, 60, 120),
    "years": (0.25, 0.5, 1, 2, 5, 10),
}


def draw_kaplan_meier(result: KaplanMeier, figure: Any) -> None:
    """Draw `result` on a matplotlib figure or subfigure.

    Parameters
    ----------
    result
        The curves.
    figure
        A matplotlib ``Figure`` or ``SubFigure``; its text size and style are taken as they are.
    """
    drawn = {group: drawn_rows(result.curve(group)) for group in result.groups}
    ticks = axis_ticks(max(float(rows["time"].iloc[-1]) for rows in drawn.values()), result.unit)
    rows = len(result.groups)
    height = float(figure.bbox.height / figure.dpi) if hasattr(figure, "dpi") else 4.8
    risk_height = min(0.19 * rows + 0.1, 0.4 * height)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[max(height - risk_height - 1.0, 1.0), risk_height])
    for i, (group, rows_drawn) in enumerate(drawn.items()):
        _curve(above, rows_drawn, result.colours[i], LINE_STYLES[i % len(LINE_STYLES)], group)
    _axis(above, result, ticks)
    _numbers_at_risk(below, result, drawn, ticks)


def axis_ticks(last: float, unit: str) -> list[float]:
    """Return ticks from 0 to just past `last` at steps that readers know, such as 90 days or 6 months."""
    known = STEPS.get(unit)
    if known is None or last > 7.5 * known[-1] or last < known[0]:
        exponent = 10 ** np.floor(np.log10(last / 5))
        step = float(next(s for s in (exponent, 2 * exponent, 5 * exponent, 10 * exponent) if last <= 7 * s))
    else:
        step = float(next((s for s in known if last <= 7.5 * s), known[-1]))
    return [float(step * i) for i in range(int(np.floor(last / step * (1 + 1e-9))) + 1)]


def drawn_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the steps of a curve up to the last at which a tenth of its largest risk set is there."""
    enough = np.flatnonzero(rows["n_risk"] >= LEAST_AT_RISK * rows["n_risk"].max())
    return rows.iloc[: enough[-1] + 1]


def _curve(axes: Any, rows: pd.DataFrame, colour: str, style: Any, label: str) -> None:
    time = np.concatenate(([0.0], rows["time"].to_numpy(float)))
    survival = np.concatenate(([1.0], rows["survival"].to_numpy(float)))
    low, high = (np.concatenate(([1.0], rows[name].to_numpy(float))) for name in ("low", "high"))
    axes.fill_between(time, low, high, step="post", color=colour, alpha=0.13, linewidth=0)
    axes.step(time, survival, where="post", color=colour, linestyle=style, linewidth=1.6, label=plain_text(label))


def _axis(axes: Any, result: KaplanMeier, ticks: list[float]) -> None:
    last = max(float(line.get_xdata()[-1]) for line in axes.lines)
    axes.set_xlim(0, max(last, ticks[-1]) * 1.01)
    axes.set_ylim(0, 1.02)
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.set_ylabel("Event-free probability")
    axes.set_xticks(ticks)
    axes.tick_params(axis="x", labelbottom=True)
    axes.set_xlabel(f"Time from randomisation ({plain_text(result.unit)})")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if len(result.groups) > 1:
        longest = max(len(group) for group in result.groups)
        columns = min(len(result.groups), max(1, 72 // (longest + 8)))
        axes.legend(
            loc="lower left", bbox_to_anchor=(0, 1.0), ncols=columns, frameon=False, borderaxespad=0.2,
            handlelength=2.6,
        )  # fmt: skip


def _numbers_at_risk(axes: Any, result: KaplanMeier, drawn: dict[str, pd.DataFrame], ticks: list[float]) -> None:
    count = len(result.groups)
    axes.set_ylim(count - 0.4, -0.6)
    axes.set_yticks(range(count))
    names = [plain_text(group) for group in result.groups]
    axes.set_yticklabels([name if len(name) <= 24 else f"{name[:22]}\N{HORIZONTAL ELLIPSIS}" for name in names])
    for label, colour in zip(axes.get_yticklabels(), result.colours, strict=True):
        label.set_color(colour)
    axes.set_title("Number at risk", loc="left", fontsize="medium", pad=3)
    axes.tick_params(axis="x", length=0)
    # Room for half of the widest number, which stands centred on time 0.
    axes.tick_params(axis="y", length=0, pad=18)
    axes.tick_params(axis="x", labelbottom=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    at_risk = result.numbers_at_risk(ticks)
    for i, group in enumerate(drawn):
        for tick, number in zip(ticks, at_risk[group], strict=True):
            axes.text(tick, i, f"{number:.0f}", ha="center", va="center_baseline", fontsize="medium")
