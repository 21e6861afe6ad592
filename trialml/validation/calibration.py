"""Do predicted risks come true? Observed against predicted at the horizon."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.disclosure import suppressed
from trialml.errors import AnalysisError
from trialml.result import COLOURS, Z95, Estimate, Result, format_count, format_number, with_limits
from trialml.survival.aalen_johansen import aalen_johansen, incidence_limits
from trialml.survival.calibration import calibration_slope, observed_over_expected
from trialml.survival.ipcw import Outcome, checked_outcome
from trialml.survival.kaplan_meier import kaplan_meier
from trialml.survival.product_limit import step_at
from trialml.survival.ties import not_after
from trialml.validation.crossvalidation import ArmUse, HeldOut

__all__ = ["Calibration", "calibration", "risk_groups"]


@dataclass(frozen=True, eq=False)
class Calibration(Result):
    """Observed over expected, calibration slope, and observed against predicted risk in groups."""

    title = "Calibration of the risk model"
    figure_size = (5.2, 5.0)
    methods = (
        "Calibration at the horizon compares Kaplan-Meier (with competing events Aalen-Johansen) risks with predicted risks, overall "
        "(observed over expected) and in five groups of predicted risk; the slope is the coefficient of log(-log(1 - predicted risk)) "
        "in a Cox model (with competing events Fine and Gray's) of the events up to the horizon (1 is perfect, below 1 the predictions "
        "are too extreme), averaged over repeats. In the rest a predicted risk is the average over repeats of the patient's "
        "out-of-fold predictions. Where the model was judged on both arms, observed over expected and the slope are given over both and "
        "in each; for a risk under control the control arm's figures speak."
    )
    references = (
        "Crowson CS, Atkinson EJ, Therneau TM. Assessing calibration of prognostic risk scores. Stat Methods Med "
        "Res 2016;25:1692-1706.",
    )

    groups: pd.DataFrame
    """Columns group, n, events (NaN where suppressed), predicted, observed, low, high (risks)."""
    ratio: Estimate
    slope: Estimate
    ratio_by_arm: Mapping[str, Estimate]
    """Observed over expected, by ``control`` and ``experimental``."""
    slope_by_arm: Mapping[str, Estimate]
    horizon: float
    unit: str
    arm: ArmUse = "covariate"
    """The arm's part in the model."""

    def frame(self) -> pd.DataFrame:
        """Return one row a group of predicted risk."""
        return self.groups

    @property
    def ratio_under_control(self) -> Estimate:
        """Observed over expected in the control arm."""
        return self.ratio_by_arm["control"]

    @property
    def slope_under_control(self) -> Estimate:
        """The calibration slope in the control arm."""
        return self.slope_by_arm["control"]

    def text(self) -> str:
        """Return observed over expected and the slope, over both arms and under control."""
        whom = "of the control arm" if self.arm == "control arm" else "of both arms"
        said = (
            f"By {self.horizon:g} {self.unit} the observed over the mean predicted risk is {self.ratio.text()} and the "
            f"calibration slope {self.slope.text()} ({format_count(self.slope.n or 0)} patients {whom}, "
            f"{format_count(self.slope.events or 0)} events by then; cross-fitted, the predictions taken as fixed)."
        )
        if self.arm == "control arm":
            return said
        given = ", whose risk new patients are given," if self.arm == "covariate" else ""
        return (
            f"{said} In the control arm alone{given} they are {self.ratio_under_control.text()} and {self.slope_under_control.text()} "
            f"({format_count(self.slope_under_control.events or 0)} events)."
        )

    def scalars(self) -> dict[str, float]:
        """Return both summaries with limits, over both arms and under control."""
        at = f"{self.horizon:g}{self.unit}"
        named = {
            f"calibration_slope_{at}_crossfit": self.slope,
            f"observed_over_expected_{at}_crossfit": self.ratio,
            f"calibration_slope_{at}_control_crossfit": self.slope_under_control,
            f"observed_over_expected_{at}_control_crossfit": self.ratio_under_control,
        }
        return with_limits(named)

    def table(self) -> pd.DataFrame:
        """Return the groups as words."""
        rows = [
            (
                row.group,
                format_count(row.n),
                "suppressed" if math.isnan(row.events) else format_count(row.events),
                f"{100 * row.predicted:.1f} %",
                f"{100 * row.observed:.1f} % ({100 * row.low:.1f} to {100 * row.high:.1f})",
            )
            for row in self.groups.itertuples()
        ]
        heads = ["Fifth of predicted risk", "Patients", "Events", "Mean predicted risk", "Observed risk (95% CI)"]
        return pd.DataFrame(rows, columns=heads)

    def draw(self, figure: Any) -> None:
        """Draw observed against predicted risk, with the line of perfect calibration."""
        axes = figure.subplots()
        reach = 1.05 * float(max(self.groups["high"].max(), self.groups["predicted"].max()))
        axes.plot([0, reach], [0, reach], color=COLOURS["reference"], linestyle="--", linewidth=1)
        spread = np.abs(self.groups[["low", "high"]].to_numpy().T - self.groups["observed"].to_numpy())
        axes.errorbar(
            self.groups["predicted"],
            self.groups["observed"],
            yerr=spread,
            fmt="o",
            color=COLOURS["experimental"],
            capsize=3,
            markersize=6,
        )
        axes.annotate(
            "dashed: perfect calibration",
            (0.98, 0.03),
            xycoords="axes fraction",
            ha="right",
            color=COLOURS["control"],
            fontsize=9,
        )
        axes.set_xlim(0, reach)
        axes.set_ylim(0, reach)
        axes.set_aspect("equal")
        axes.set_xlabel(f"Predicted risk at {self.horizon:g} {self.unit}")
        axes.set_ylabel(f"Observed risk at {self.horizon:g} {self.unit}")
        axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")


def calibration(
    time: NDArray[np.float64],
    event: NDArray[np.bool_],
    treated: NDArray[np.bool_],
    held: HeldOut,
    *,
    horizon: float,
    unit: str,
    groups: int = 5,
    competing: NDArray[np.bool_] | None = None,
    arm: ArmUse = "covariate",
) -> Calibration:
    """Compare out-of-fold risks with Kaplan-Meier risks, over both arms and in each.

    Parameters
    ----------
    time, event, treated
        Outcome and arm, each of shape (n,).
    held
        Out-of-fold predictions.
    horizon, unit
        Where risks are read.
    groups
        Groups of equal size by predicted risk; fewer where predictions are tied.
    competing
        True where another event ended follow-up, shape (n,); None for no such.
    arm
        The arm's part in the model.

    Returns
    -------
    Calibration
        The interval of observed over expected is on the log scale and takes the predictions as fixed.
    """
    arms = {"control": ~treated, "experimental": treated}
    every = np.ones(len(time), dtype=np.bool_)
    outcome = checked_outcome(time, event, competing)
    return Calibration(
        groups=_by_group(outcome, held.risk.mean(axis=0), horizon, groups),
        ratio=_ratio(outcome, held.risk, horizon, every),
        slope=_slope(outcome, held.risk, horizon, every),
        ratio_by_arm={arm: _ratio(outcome, held.risk, horizon, who) for arm, who in arms.items()},
        slope_by_arm={arm: _slope(outcome, held.risk, horizon, who) for arm, who in arms.items()},
        horizon=horizon,
        unit=unit,
        arm=arm,
    )


def _known(outcome: Outcome, horizon: float, who: NDArray[np.bool_]) -> dict[str, Any]:
    happened = outcome.event & not_after(outcome.time, horizon)
    return {"n": int(who.sum()), "events": int(happened[who].sum()), "kind": "crossfit"}


def _ratio(outcome: Outcome, risks: NDArray[np.float64], horizon: float, who: NDArray[np.bool_]) -> Estimate:
    known = _known(outcome, horizon, who)
    if not known["events"]:
        return Estimate(math.nan, scale="observed over expected", **known)
    found = observed_over_expected(
        outcome.time[who], outcome.event[who], risks[:, who].mean(axis=0), horizon, competing=outcome.competing[who]
    )
    return Estimate(found.value, found.low, found.high, scale="observed over expected", se=found.se, **known)


def _slope(outcome: Outcome, risks: NDArray[np.float64], horizon: float, who: NDArray[np.bool_]) -> Estimate:
    known = _known(outcome, horizon, who)
    # Repeat by repeat: predictions averaged over repeats are less extreme than those of any one model.
    values, errors = [], []
    for risk in risks[:, who]:
        try:
            one, error = calibration_slope(
                outcome.time[who], outcome.event[who], risk, horizon, competing=outcome.competing[who]
            )
        except AnalysisError:
            return Estimate(math.nan, scale="calibration slope", **known)
        values.append(one)
        errors.append(error)
    value, se = float(np.mean(values)), float(np.mean(errors))
    half = Z95 * se
    return Estimate(value, value - half, value + half, scale="calibration slope", se=se, **known)


def _by_group(outcome: Outcome, risk: NDArray[np.float64], horizon: float, groups: int) -> pd.DataFrame:
    place, names = risk_groups(risk, groups)
    rows = []
    for group in np.unique(place):
        who = place == group
        observed, low, high = _observed(Outcome(*(part[who] for part in outcome)), horizon)
        rows.append(
            {
                "group": names[group],
                "n": int(who.sum()),
                "events": float(_known(outcome, horizon, who)["events"]),
                "predicted": float(risk[who].mean()),
                "observed": observed,
                "low": low,
                "high": high,
            }
        )
    frame = pd.DataFrame(rows)
    frame.loc[suppressed([int(events) for events in frame["events"]]), "events"] = math.nan
    return frame


def _observed(outcome: Outcome, horizon: float) -> tuple[float, float, float]:
    """Return the observed risk by the horizon with its limits, NaN where nobody is followed so long."""
    if not not_after(horizon, outcome.time.max()):
        return math.nan, math.nan, math.nan
    if not outcome.competing.any():
        at = kaplan_meier(outcome.time, outcome.event).at(horizon)
        return 1 - at.value, 1 - at.high, 1 - at.low
    curves = aalen_johansen(outcome.time, outcome.event + 2 * outcome.competing, 2)
    risk, se = (step_at(curves.time, part[:, 0], horizon, initial=0.0) for part in (curves.incidence, curves.se))
    low, high = incidence_limits(risk, se, "log-log", Z95)
    return float(risk), float(low), float(high)


def risk_groups(risk: NDArray[np.float64], groups: int) -> tuple[NDArray[np.intp], list[str]]:
    """Return each patient's group of equal size by predicted risk, fewer where risks are tied, and the groups' names."""
    edges = np.unique(np.quantile(risk, np.linspace(0, 1, groups + 1)[1:-1]))
    return np.searchsorted(edges, risk, side="left"), _between(edges)


def _between(edges: NDArray[np.float64]) -> list[str]:
    """Name the groups by their inner limits; the outer ones would be single patients' predictions."""
    shown = [format_number(100 * edge, 2) for edge in edges]
    if not shown:
        return ["all"]
    inner = [f"{low} to {high} %" for low, high in itertools.pairwise(shown)]
    return [f"up to {shown[0]} %", *inner, f"above {shown[-1]} %"]
