"""The picture of cumulative incidences: a panel a cause, numbers at risk under the same axis."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from trialml.result import COLOURS, plain_text
from trialml.survival.kaplan_meier_figure import LINE_STYLES, axis_ticks, drawn_rows
from trialml.survival.product_limit import step_at

if TYPE_CHECKING:
    from trialml.survival.cumulative_incidence import CumulativeIncidence

__all__ = ["draw_cumulative_incidence"]

MOST_PANELS = 3


def draw_cumulative_incidence(result: CumulativeIncidence, figure: Any) -> None:
    """Draw `result` on a matplotlib figure or subfigure, its first three causes beside each other.

    Parameters
    ----------
    result
        The curves.
    figure
        A matplotlib ``Figure`` or ``SubFigure``; its text size and style are taken as they are.
    """
    causes = result.causes[:MOST_PANELS]
    palette = [colour for name, colour in COLOURS.items() if name != "reference"]
    colours = {group: palette[i % len(palette)] for i, group in enumerate(result.groups)}
    height = float(figure.bbox.height / figure.dpi) if hasattr(figure, "dpi") else 4.8
    at_risk = min(0.19 * len(result.groups) + 0.1, 0.4 * height)
    panels = figure.subplots(
        2, len(causes), sharex=True, squeeze=False, height_ratios=[max(height - at_risk - 1.0, 1.0), at_risk]
    )
    last, top = 0.0, 0.0
    for column, cause in enumerate(causes):
        for i, group in enumerate(result.groups):
            rows = drawn_rows(result.curve(cause, group))
            style = LINE_STYLES[i % len(LINE_STYLES)]
            _curve(panels[0, column], rows, colours[group], style, group)
            last = max(last, float(rows["time"].iloc[-1]))
            top = max(top, float(np.nanmax(np.append(rows["high"], 0.0))), float(rows["incidence"].iloc[-1]))
    ticks = axis_ticks(last, result.unit)
    for column, cause in enumerate(causes):
        _axis(panels[0, column], result, cause, ticks[:: len(causes)], top, first=column == 0)
        _numbers_at_risk(panels[1, column], result, ticks[:: len(causes)], colours, named=column == 0)
    panels[0, 0].set_xlim(0, last * 1.01)
    if len(result.groups) > 1:
        # Above the curves, over all panels: long names of arms would cover a narrow panel's curves.
        figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=len(result.groups), frameon=False,
                      handlelength=2.6)  # fmt: skip


def _curve(axes: Any, rows: Any, colour: str, style: Any, label: str) -> None:
    time = np.concatenate(([0.0], rows["time"].to_numpy(float)))
    value, low, high = (
        np.nan_to_num(np.concatenate(([0.0], rows[name].to_numpy(float)))) for name in ("incidence", "low", "high")
    )
    axes.fill_between(time, low, high, step="post", color=colour, alpha=0.13, linewidth=0)
    axes.step(time, value, where="post", color=colour, linestyle=style, linewidth=1.6, label=plain_text(label))


def _axis(axes: Any, result: CumulativeIncidence, cause: str, ticks: list[float], top: float, *, first: bool) -> None:
    words = textwrap.fill(plain_text(cause), 60 // min(len(result.causes), MOST_PANELS))
    axes.set_title(words, loc="left", fontsize="medium")
    axes.set_ylim(0, min(1.0, 1.08 * top) or 1.0)
    axes.set_xticks(ticks)
    axes.tick_params(axis="x", labelbottom=True)
    # Beside two others a label of one line would run into the next.
    gap = " " if min(len(result.causes), MOST_PANELS) < MOST_PANELS else "\n"
    axes.set_xlabel(f"Time from {plain_text(result.since)}{gap}({plain_text(result.unit)})")
    axes.spines[["top", "right"]].set_visible(False)
    if first:
        axes.set_ylabel("Cumulative incidence")
    else:
        axes.tick_params(axis="y", labelleft=False)


def _numbers_at_risk(
    axes: Any, result: CumulativeIncidence, ticks: list[float], colours: dict[str, str], *, named: bool
) -> None:
    count = len(result.groups)
    axes.set_ylim(count - 0.4, -0.6)
    axes.set_yticks(range(count))
    axes.set_yticklabels([plain_text(group)[:24] if named else "" for group in result.groups])
    for label, colour in zip(axes.get_yticklabels(), colours.values(), strict=True):
        label.set_color(colour)
    axes.set_title("Number at risk", loc="left", fontsize="medium", pad=3)
    axes.tick_params(axis="both", length=0)
    axes.tick_params(axis="x", labelbottom=False)
    axes.tick_params(axis="y", pad=18)
    for spine in axes.spines.values():
        spine.set_visible(False)
    for i, group in enumerate(result.groups):
        rows = result.curve(result.causes[0], group)
        steps = rows["n_risk"].to_numpy(float)
        at = step_at(rows["time"], np.append(steps[1:], 0.0), ticks, initial=float(steps[0]), left=True)
        for tick, number in zip(ticks, at, strict=True):
            axes.text(tick, i, f"{number:.0f}", ha="center", va="center_baseline", fontsize="medium")
