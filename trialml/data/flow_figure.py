"""The picture of the flow of patients: a CONSORT diagram as far as the data hold it."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from trialml.result import COLOURS, format_count, plain_text

if TYPE_CHECKING:
    import pandas as pd

    from trialml.data.analysis_set import AnalysisSet

__all__ = ["draw_flow"]

_SHOWN_REASONS = 4
_WIDE = 34


def draw_flow(result: AnalysisSet, figure: Any) -> None:
    """Draw boxes from the patients randomised down to those analysed in each arm.

    Parameters
    ----------
    result
        The analysis set; every count drawn is one of its frame.
    figure
        A matplotlib ``Figure`` or ``SubFigure``.

    Notes
    -----
    The steps follow the CONSORT 2025 diagram (Hopewell S, Chan AW, Collins GS, et al. BMJ 2025;389:e081123). A step that the
    data do not hold, such as screening, is left out: the diagram then begins where the data begin.
    """
    axes = figure.subplots()
    axes.set_axis_off()
    arms = [str(arm) for arm in result.by_arm["arm"]]
    trunk = _trunk(result)
    heights = [1.0 + 0.34 * max(0, words.count("\n") - 1) for words, _ in trunk]
    lowest = -1.25 * len(trunk) - 0.5
    columns = len(arms)
    middle = (columns - 1) / 2
    beside = middle + max(0.9, columns / 3.2)
    for place, (words, aside) in enumerate(trunk):
        y = -1.25 * place
        _box(axes, middle, y, words, main=True)
        if aside:
            _box(axes, beside, y - 0.62, aside, main=False)
            axes.plot([middle, beside], [y - 0.62] * 2, color="#444444", linewidth=0.9, zorder=0)
        if place:
            _arrow(axes, (middle, y + 1.25), (middle, y))
    last = -1.25 * (len(trunk) - 1)
    for place, (arm, steps) in enumerate(_by_arm(result, arms)):
        axes.plot([middle, place, place], [last - 0.62, last - 0.62, lowest], color="#444444", linewidth=0.9, zorder=0)
        for level, words in enumerate((arm, *steps)):
            y = lowest - 0.25 - 1.15 * level
            _box(axes, place, y, words, main=level == 0, width=20)
            if level:
                _arrow(axes, (place, y + 1.15), (place, y))
    axes.plot([middle, middle], [last, last - 0.62], color="#444444", linewidth=0.9, zorder=0)
    deepest = max(len(steps) for _, steps in _by_arm(result, arms))
    axes.set_xlim(-0.6, max(columns - 0.4, middle + 1.6))
    axes.set_ylim(lowest - 0.9 - 1.15 * deepest, 0.3 + 0.2 * max(heights))


_ARROW = {"arrowstyle": "-|>", "color": "#444444", "linewidth": 0.9, "shrinkA": 0, "shrinkB": 0}


def _arrow(axes: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.annotate("", (end[0], end[1] + 0.28), start, arrowprops=_ARROW, zorder=0)


def _box(axes: Any, x: float, y: float, words: str, *, main: bool, width: int = _WIDE) -> None:
    lines = [piece for line in words.split("\n") for piece in textwrap.wrap(plain_text(line), width) or [""]]
    axes.text(
        x,
        y,
        "\n".join(lines),
        ha="center",
        va="center",
        fontsize=8.5,
        linespacing=1.25,
        bbox={
            "boxstyle": "square,pad=0.45",
            "facecolor": "white",
            "edgecolor": COLOURS["experimental"] if main else COLOURS["reference"],
            "linewidth": 1.1 if main else 0.8,
        },
    )


def _trunk(result: AnalysisSet) -> list[tuple[str, str]]:
    """Return the boxes before the arms part, each with what left on the way to the next."""
    first = result.rows.iloc[0]
    boxes = []
    if result.randomised is not None and result.randomised > result.read:
        gone = f"Not in the data file\nn = {format_count(result.randomised - result.read)}"
        boxes.append((f"Randomised\nn = {format_count(result.randomised)}", gone))
    excluded = result.rows[result.rows["excluded"]]
    told = [f"{row.step}: {format_count(row.patients)}" for row in excluded.itertuples()]
    left = f"Excluded\nn = {format_count(excluded['patients'].sum())}\n" + "\n".join(told) if told else ""
    boxes.append((f"{first['step']}\nn = {format_count(first['patients'])}", left))
    boxes.append((f"Analysis set\nn = {format_count(result.analysed)}", ""))
    return boxes


def _by_arm(result: AnalysisSet, arms: list[str]) -> list[tuple[str, list[str]]]:
    """Return for each arm its name, and the boxes under it."""
    found = []
    for arm, row in zip(arms, result.by_arm.to_dict("records"), strict=True):
        events = row["events"]
        end = f"Analysed\nn = {format_count(row['patients'])}"
        if events == events:  # noqa: PLR0124  (NaN: the endpoint has no events)
            end += f"\n{format_count(events)} with the event"
        found.append((f"{arm}\n({row['role']})", [*_disposition(result.consort, arm), end]))
    return found


def _disposition(consort: pd.DataFrame, arm: str) -> list[str]:
    counts = consort[consort["arm"] == arm].set_index("step")["patients"] if len(consort) else {}
    boxes = [f"{step}\nn = {format_count(counts[step])}" for step in ("Randomised", "Treated") if step in counts]
    if "Discontinued" in counts:
        reasons = [(str(step).strip(), count) for step, count in counts.items() if str(step).startswith("  ") and count]
        reasons.sort(key=lambda pair: -pair[1])
        told = [f"{reason}: {format_count(count)}" for reason, count in reasons[:_SHOWN_REASONS]]
        rest = sum(count for _, count in reasons[_SHOWN_REASONS:])
        told += [f"Other reasons: {format_count(rest)}"] if rest else []
        boxes.append("\n".join([f"Discontinued\nn = {format_count(counts['Discontinued'])}", *told]))
    return boxes
