"""The figure of a plan: expected events over calendar time with its looks, beside the bounds as hazard ratios."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from trialml.result import COLOURS, format_count, format_number

if TYPE_CHECKING:
    from trialml.design.operating_characteristics import OperatingCharacteristics

__all__ = ["draw_plan", "format_events"]


def format_events(value: float) -> str:
    """Return events as they are printed: whole where they are whole."""
    return format_count(value) if abs(value - round(value)) < 1e-6 else f"{value:,.1f}"


def draw_plan(plan: OperatingCharacteristics, figure: Any) -> None:
    """Draw expected events over calendar time with the looks marked, beside the bounds as hazard ratios."""
    left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": [1.25, 1]})
    _draw_calendar(plan, left)
    _draw_bounds(plan, right)


def _draw_calendar(plan: OperatingCharacteristics, axes: Any) -> None:
    months = np.linspace(0.0, 1.08 * plan.duration_months, 200)
    colour = COLOURS["experimental"]
    axes.plot(months, plan.scenario.enrolled(months), color=COLOURS["reference"], linestyle="--", linewidth=1.4)
    axes.plot(months, plan.scenario.expected_events(months), color=colour, linewidth=1.8)
    axes.plot(plan.looks["calendar_months"], plan.looks["events"], "o", color=colour, markersize=6, zorder=3)
    for month, events in zip(plan.looks["calendar_months"], plan.looks["events"], strict=True):
        words = f"{format_events(events)} events\nmonth {month:.1f}"
        axes.annotate(
            words, (month, events), (-4, 5), textcoords="offset points", ha="right", va="bottom", fontsize=7.5
        )
    top = max(plan.patients, plan.events)
    axes.annotate(
        f"{format_count(plan.patients)} patients enrolled",
        (months[-1], plan.patients),
        (0, 3),
        textcoords="offset points",
        ha="right",
        va="bottom",
        fontsize=7.5,
        color=COLOURS["control"],
    )
    axes.set(xlim=(0, 1.3 * plan.duration_months), ylim=(0, 1.15 * top))
    axes.set_xlabel("Months since the first patient")
    axes.set_ylabel("Expected number")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_bounds(plan: OperatingCharacteristics, axes: Any) -> None:
    events, bound = plan.looks["events"], plan.looks["hazard_ratio_at_bound"]
    assumed = plan.hazard_ratio
    axes.axhline(1.0, color=COLOURS["reference"], linewidth=0.8)
    axes.axhline(assumed, color=COLOURS["third"], linestyle=":", linewidth=1.2)
    axes.plot(events, bound, "o-", color=COLOURS["experimental"], linewidth=1.4, markersize=6)
    if plan.design.has_futility:
        futility = plan.looks["hazard_ratio_at_futility"].to_numpy()
        axes.plot(events, futility, "s--", color=COLOURS["control"], linewidth=1.2, markersize=5)
    small = {"textcoords": "offset points", "fontsize": 7.5}
    for place, value in zip(events, bound, strict=True):
        axes.annotate(f"{value:.3f}", (place, value), (-4, 5), ha="right", va="bottom", **small)
    low = min(float(bound.min()), assumed)
    right = float(events.max()) * 1.12
    words = f"assumed {format_number(assumed)}"
    axes.annotate(words, (right, assumed), (0, -2), ha="right", va="top", color=COLOURS["third"], **small)
    axes.set(xlim=(0, right), ylim=(low - 0.1, 1.05))
    axes.set_xlabel("Events at the look")
    axes.set_ylabel("Reject at or below this hazard ratio")
    axes.spines[["top", "right"]].set_visible(False)
