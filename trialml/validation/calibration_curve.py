"""A smooth calibration curve with its band, and how far it is from the predictions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from trialml.data.disclosure import outward_range
from trialml.errors import AnalysisError
from trialml.result import COLOURS, Z95, Estimate, Kind, Result, format_count, kind_words, with_limits
from trialml.survival.calibration import (
    SmoothCalibration,
    calibration_gaps,
    calibration_slope,
    observed_over_expected,
    smooth_calibration,
    smooth_curve,
)
from trialml.survival.ipcw import Censoring, Outcome, checked_outcome, checked_risk
from trialml.survival.product_limit import Curve
from trialml.survival.ties import not_after
from trialml.validation.binary import known_events
from trialml.validation.binary_calibration import logistic_slope, observed_share_over_expected

__all__ = ["CalibrationCurve", "binary_calibration_curve", "calibration_curve"]

POINTS = 50
"""Of the curve, between the outward-rounded 1st and 99th percentiles of the predicted risks."""


@dataclass(frozen=True, eq=False)
class CalibrationCurve(Result):
    """Observed against predicted risk at a horizon as a smooth curve, with its summaries."""

    title = "Calibration curve of the predicted risk"
    figure_size = (5.2, 5.0)
    methods = (
        "The calibration curve is a complementary log-log regression of the event by the horizon on a restricted cubic spline (four "
        "knots) of log(-log(1 - predicted risk)), weighted by the inverse probability of remaining uncensored; its band is pointwise. "
        "The integrated calibration index (ICI), E50 and E90 are the mean, median and 0.9 quantile of the absolute difference of curve "
        "and prediction, with limits from a Bayesian bootstrap. The slope is that of a Cox model, with competing events of a "
        "Fine-Gray model; observed over expected compares the Kaplan-Meier or Aalen-Johansen risk with the mean prediction. Of a binary "
        "endpoint without follow-up the regression is logistic, in the log odds of the predicted risk, and so is that of the slope."
    )
    references = (
        "Austin PC, Harrell FE, van Klaveren D. Graphical calibration curves and the integrated calibration index (ICI) for "
        "survival models. Stat Med 2020;39:2714-2742.",
        "Austin PC, Putter H, Giardiello D, van Klaveren D. Graphical calibration curves and the integrated calibration index (ICI) "
        "for competing risk models. Diagn Progn Res 2022;6:2.",
    )

    curve: pd.DataFrame
    """Columns predicted, observed, low, high."""
    ratio: Estimate
    slope: Estimate
    ici: Estimate
    e50: Estimate
    e90: Estimate
    horizon: float | None
    """Where risks are read; None where there is no follow-up."""
    unit: str

    def frame(self) -> pd.DataFrame:
        """Return one row a point of the curve."""
        return self.curve

    def text(self) -> str:
        """Return the ICI, E50 and E90; the ratio and the slope are attributes, and what `Calibration` reports."""
        start = "Predicted" if self.horizon is None else f"By {self.horizon:g} {self.unit} predicted"
        return (
            f"{start} and observed risks differ by {self.ici.text()} on average over patients (integrated "
            f"calibration index; half of them by at most {self.e50.value:.3f}, nine in ten by at most {self.e90.value:.3f}; "
            f"{format_count(self.ratio.n or 0)} patients, {format_count(self.ratio.events or 0)} "
            f"{'with the event' if self.horizon is None else 'events by then'}; {kind_words(self.ratio.kind)}). "
            "The index is above 0 by chance alone where predictions are right."
        )

    def scalars(self) -> dict[str, float]:
        """Return what the curve comes to, with limits."""
        at = "" if self.horizon is None else f"{self.horizon:g}{self.unit}_"
        named = {"ici": self.ici, "e50": self.e50, "e90": self.e90}
        return with_limits({f"{name}_{at}{one.kind}": one for name, one in named.items()})

    def table(self) -> pd.DataFrame:
        """Return the summaries as words."""
        rows = [("Integrated calibration index (0 is right)", self.ici), ("E50", self.e50), ("E90", self.e90)]
        return pd.DataFrame(
            [(name, one.text(), one.kind) for name, one in rows], columns=["Measure", "Value (95% CI)", "Kind"]
        )

    def draw(self, figure: Any) -> None:
        """Draw the curve with its band and the line of perfect calibration."""
        axes = figure.subplots()
        rows = self.curve
        reach = 1.05 * float(max(rows["observed"].max(), rows["predicted"].max()))
        axes.plot([0, reach], [0, reach], color=COLOURS["reference"], linestyle="--", linewidth=1, label="perfect")
        axes.fill_between(rows["predicted"], rows["low"], rows["high"], color=COLOURS["experimental"], alpha=0.2,
                          linewidth=0, label="95% CI, pointwise")  # fmt: skip
        axes.plot(rows["predicted"], rows["observed"], color=COLOURS["experimental"], label="observed")
        axes.set_xlim(0, reach)
        axes.set_ylim(0, reach)
        axes.set_aspect("equal")
        at = "" if self.horizon is None else f" at {self.horizon:g} {self.unit}"
        axes.set_xlabel(f"Predicted risk{at}")
        axes.set_ylabel(f"Observed risk{at}")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
        axes.legend(frameon=False, loc="upper left")


def calibration_curve(
    time: Any,
    event: Any,
    risk_at_horizon: Any,
    *,
    horizon: float,
    unit: str,
    kind: Kind,
    competing: Any = None,
    censoring: Curve | Censoring | None = None,
    knots: int = 4,
    draws: int = 500,
    seed: int = 0,
) -> CalibrationCurve:
    """Compare predicted with observed risks at a horizon, smoothly and in summaries.

    Parameters
    ----------
    time, event
        Follow-up times and True where the event happened, shape ``(n,)``.
    risk_at_horizon
        Predicted probabilities of the event by `horizon`, shape ``(n,)``; taken as fixed.
    horizon, unit
        Where risks are read; at least 10 patients must be followed beyond it.
    kind
        What the predictions are: ``"apparent"``, ``"crossfit"``, ``"external"`` and so on.
    competing
        True where a competing event ended follow-up, shape ``(n,)``.
    censoring
        As in `brier`; Kaplan-Meier of these patients by default.
    knots
        Of the spline: 3, 4 or 5.
    draws, seed
        Of the Bayesian bootstrap of ICI, E50 and E90.

    Returns
    -------
    CalibrationCurve

    Raises
    ------
    DataError
        If the data cannot be used or a risk is missing or outside 0 to 1.
    AnalysisError
        If fewer than 10 patients are followed beyond the horizon, events are too few or all risks are equal.
    """
    outcome = checked_outcome(time, event, competing)
    risk = checked_risk(risk_at_horizon, outcome.time.size)
    happened = outcome.event & not_after(outcome.time, horizon)
    smooth = smooth_calibration(*outcome[:2], risk, horizon, competing=outcome.competing, censoring=censoring,
                                knots=knots)  # fmt: skip
    known: dict[str, Any] = {"n": risk.size, "events": int(happened.sum()), "kind": kind}
    ratio = observed_over_expected(*outcome[:2], risk, horizon, competing=outcome.competing)
    return CalibrationCurve(
        curve=_points(smooth),
        ratio=Estimate(ratio.value, ratio.low, ratio.high, scale="observed over expected", se=ratio.se,
                       method="predictions taken as fixed, limits on the log scale", **known),
        slope=_slope(outcome, risk, horizon, known),
        horizon=horizon,
        unit=unit,
        **_gaps(smooth, draws, seed, known),
    )  # fmt: skip


def binary_calibration_curve(
    event: Any, risk: Any, *, kind: Kind, knots: int = 4, draws: int = 500, seed: int = 0
) -> CalibrationCurve:
    """Compare predicted with observed risks of a binary endpoint, smoothly and in summaries.

    Parameters
    ----------
    event
        True where the event happened, known of everybody, shape ``(n,)``; where follow-up may have been cut before, use
        `calibration_curve`.
    risk
        Predicted probabilities of the event, shape ``(n,)``; taken as fixed.
    kind, knots, draws, seed
        As in `calibration_curve`.

    Returns
    -------
    CalibrationCurve
        A logistic regression on a restricted cubic spline of the log odds of the predicted risk.

    Raises
    ------
    DataError
        If an event is missing, or a risk is missing or outside 0 to 1.
    AnalysisError
        If too few have the event, or too few do not, all risks are equal, or the risk parts them without an error.

    References
    ----------
    Austin PC, Steyerberg EW. The Integrated Calibration Index (ICI) and related metrics for quantifying the
    calibration of logistic regression models. Stat Med 2019;38:4051-4065.
    """
    happened = known_events(event)
    risks = checked_risk(risk, happened.size, "risk")
    smooth = smooth_curve(
        happened, risks, np.ones(risks.size), lambda part: np.zeros(part.size), knots=knots, link="logit"
    )
    known: dict[str, Any] = {"n": risks.size, "events": int(happened.sum()), "kind": kind}
    return CalibrationCurve(
        curve=_points(smooth),
        ratio=observed_share_over_expected(happened, risks, known),
        slope=logistic_slope(happened, risks[None], known),
        horizon=None,
        unit="",
        **_gaps(smooth, draws, seed, known),
    )


def _points(smooth: SmoothCalibration) -> pd.DataFrame:
    low, high = outward_range(smooth.risk)
    grid = np.linspace(max(low, 0.0), min(high, 1.0), POINTS)
    return pd.DataFrame(dict(zip(("predicted", "observed", "low", "high"), (grid, *smooth.at(grid)), strict=True)))


def _gaps(smooth: SmoothCalibration, draws: int, seed: int, known: dict[str, Any]) -> dict[str, Estimate]:
    gaps = calibration_gaps(smooth, draws=draws, seed=seed)
    summaries = {}
    for name in ("ici", "e50", "e90"):
        value, least, most, se = getattr(gaps, name)
        # The error of a normal sample's 0.025 quantile, by its density there.
        error = se * math.sqrt(0.025 * 0.975 / draws) / (math.exp(-(Z95**2) / 2) / math.sqrt(2 * math.pi))
        summaries[name] = Estimate(
            value, least, most, scale="absolute difference of risks", se=se, mc_error=error,
            method=f"limits from {draws} draws of a Bayesian bootstrap; the Monte Carlo error is that of a limit", **known,
        )  # fmt: skip
    return summaries


def _slope(outcome: Outcome, risk: Any, horizon: float, known: dict[str, Any]) -> Estimate:
    try:
        value, se = calibration_slope(outcome.time, outcome.event, risk, horizon, competing=outcome.competing)
    except AnalysisError:
        return Estimate(math.nan, scale="calibration slope", **known)
    half = Z95 * se
    method = "Fine-Gray model" if outcome.competing.any() else "Cox model"
    return Estimate(value, value - half, value + half, scale="calibration slope", se=se, method=method, **known)
