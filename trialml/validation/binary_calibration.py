"""Do predicted probabilities of a binary endpoint come true? Observed against predicted, overall, by arm and in groups."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.disclosure import suppressed
from trialml.errors import AnalysisError, DataError
from trialml.result import COLOURS, Z95, Estimate, Kind, Result, format_count, kind_words, with_limits
from trialml.survival.binomial import recalibration
from trialml.survival.intervals import wilson_limits
from trialml.survival.ipcw import checked_risk
from trialml.validation.binary import known_events
from trialml.validation.calibration import risk_groups

__all__ = ["BinaryCalibration", "binary_calibration", "logistic_slope", "observed_share_over_expected"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
EVERYBODY = "both arms"


@dataclass(frozen=True, eq=False)
class BinaryCalibration(Result):
    """Observed over expected, calibration slope and calibration in the large, and observed against predicted risk in groups."""

    title = "Calibration of the predicted probabilities"
    figure_size = (5.2, 5.0)
    methods = (
        "Calibration compares the share of patients with the event with the mean predicted probability, overall (observed over expected, "
        "limits on the log scale) and in groups of predicted probability (Wilson's limits); the slope is the coefficient of the log odds of "
        "the predicted probability in a logistic regression of the event (1 is right, below 1 the predictions are too extreme), averaged "
        "over repeats, and calibration in the large that regression's intercept at a slope of 1 (0 is right, above 0 predictions are too low). In the rest a "
        "prediction is the average over repeats. No Hosmer-Lemeshow test is done: its groups are arbitrary and its p-value says nothing of "
        "the size of an error."
    )
    references = (
        "Cox DR. Two further applications of a model for binary regression. Biometrika 1958;45:562-565.",
        "Van Calster B, McLernon DJ, van Smeden M, Wynants L, Steyerberg EW. Calibration: the Achilles heel of predictive analytics. "
        "BMC Med 2019;17:230.",
    )

    groups: pd.DataFrame
    """Columns group, n, events (NaN where suppressed), predicted, observed, low, high (probabilities)."""
    ratio: Mapping[str, Estimate]
    """Observed over expected of ``both arms`` and, where arms are known, of ``control`` and ``experimental``."""
    slope: Mapping[str, Estimate]
    """The calibration slope of the same patients."""
    in_the_large: Mapping[str, Estimate]
    """Log odds observed beyond those predicted, of the same patients."""
    kind: Kind

    def frame(self) -> pd.DataFrame:
        """Return one row a group of predicted probability."""
        return self.groups

    def text(self) -> str:
        """Return observed over expected, slope and calibration in the large, over everybody and under control."""
        ratio = self.ratio[EVERYBODY]
        text = (
            f"The observed share over the mean predicted probability is {ratio.text()}, the calibration slope "
            f"{self.slope[EVERYBODY].text()} and calibration in the large {self.in_the_large[EVERYBODY].text()} (log odds; "
            f"{format_count(ratio.n or 0)} patients, {format_count(ratio.events or 0)} with the event; {kind_words(self.kind)}, the predictions taken "
            "as fixed)."
        )
        if "control" not in self.ratio:
            return text
        own = self.ratio["control"]
        return (
            f"{text} In the control arm alone observed over expected is {own.text()} and the slope {self.slope['control'].text()} "
            f"({format_count(own.events or 0)} with the event)."
        )

    def scalars(self) -> dict[str, float]:
        """Return the summaries with limits, over everybody and under control."""
        named: dict[str, Estimate] = {}
        for arm in [one for one in (EVERYBODY, "control") if one in self.ratio]:
            of = "" if arm == EVERYBODY else "_control"
            named |= {
                f"calibration_slope{of}_{self.kind}": self.slope[arm],
                f"observed_over_expected{of}_{self.kind}": self.ratio[arm],
                f"calibration_in_the_large{of}_{self.kind}": self.in_the_large[arm],
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
        heads = ["Group of predicted probability", "Patients", "With the event", "Mean predicted", "Observed (95% CI)"]
        return pd.DataFrame(rows, columns=heads)

    def draw(self, figure: Any) -> None:
        """Draw observed against predicted probability in groups, with the line of perfect calibration."""
        axes, rows = figure.subplots(), self.groups
        reach = min(1.05 * float(max(rows["high"].max(), rows["predicted"].max())), 1.02)
        axes.plot([0, reach], [0, reach], color=COLOURS["reference"], linestyle="--", linewidth=1, label="perfect")
        spread = [rows["observed"] - rows["low"], rows["high"] - rows["observed"]]
        axes.errorbar(rows["predicted"], rows["observed"], yerr=spread, fmt="o", color=COLOURS["experimental"], capsize=3,
                      label="observed (95% CI)")  # fmt: skip
        axes.set(xlim=(0, reach), ylim=(0, reach), aspect="equal")
        axes.set_xlabel("Mean predicted probability")
        axes.set_ylabel("Share with the event")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
        axes.legend(frameon=False, loc="upper left")


def binary_calibration(
    event: Any, risks: Any, *, kind: Kind, treated: Any = None, groups: int = 5
) -> BinaryCalibration:
    """Compare predicted probabilities of a binary endpoint with what happened.

    Parameters
    ----------
    event
        True where the event happened, known of everybody, shape ``(n,)``; where follow-up may have been cut before, use
        `calibration`.
    risks
        Predicted probabilities, shape ``(n,)`` or, of several repeats of a cross-validation, ``(repeats, n)``.
    kind
        What the predictions are.
    treated
        True in the experimental arm, shape ``(n,)``; None gives no numbers by arm.
    groups
        Groups of equal size by predicted probability; fewer where predictions are tied.

    Returns
    -------
    BinaryCalibration
        A summary of an arm where nobody or everybody has the event is NaN.

    Raises
    ------
    DataError
        If an event is missing, or a risk missing or outside 0 to 1.
    AnalysisError
        If all or none have the event.
    """
    happened = known_events(event)
    n = happened.size
    matrix = np.stack(
        [checked_risk(risk, n, "a row of risks") for risk in np.atleast_2d(np.asarray(risks, dtype=float))]
    )
    if happened.all() or not happened.any():
        raise AnalysisError(
            f"{int(happened.sum())} of {n} patients have the event: calibration needs some with and some without"
        )
    who = {EVERYBODY: np.ones(n, dtype=bool)}
    if treated is not None:
        arm = np.asarray(treated)
        if arm.shape != (n,) or not np.isin(arm, (0, 1)).all():
            raise DataError(f"treated must be True or False for each of the {n} patients")
        who |= {"control": arm == 0, "experimental": arm == 1}
    known = {name: {"n": int(own.sum()), "events": int(happened[own].sum()), "kind": kind} for name, own in who.items()}
    mean = matrix.mean(axis=0)
    return BinaryCalibration(
        _by_group(happened, mean, groups),
        {name: observed_share_over_expected(happened[own], mean[own], known[name]) for name, own in who.items()},
        {name: logistic_slope(happened[own], matrix[:, own], known[name]) for name, own in who.items()},
        {name: _in_the_large(happened[own], mean[own], known[name]) for name, own in who.items()},
        kind,
    )


def observed_share_over_expected(happened: Flags, risk: Floats, known: Mapping[str, Any]) -> Estimate:
    """Return the share with the event over the mean predicted probability, ``se(log) = sqrt((1 - share) / events)``.

    Parameters
    ----------
    happened, risk
        Of each patient, shape ``(n,)``.
    known
        What else the estimate says: n, events, kind.
    """
    scale, events = "observed over expected", int(happened.sum())
    if not events or risk.mean() <= 0:
        return Estimate(math.nan, scale=scale, **known)
    share = events / happened.size
    value, spread = share / float(risk.mean()), math.sqrt((1 - share) / events)
    return Estimate(value, value * math.exp(-Z95 * spread), value * math.exp(Z95 * spread), scale=scale, se=spread,
                    method="predictions taken as fixed, limits on the log scale", **known)  # fmt: skip


def logistic_slope(happened: Flags, risks: Floats, known: Mapping[str, Any]) -> Estimate:
    """Return the logistic calibration slope averaged over repeats; NaN where it cannot be had.

    Parameters
    ----------
    happened
        Of each patient, shape ``(n,)``.
    risks
        Of each repeat and patient, shape ``(repeats, n)``: predictions averaged over repeats are less extreme than those
        of any one model.
    known
        What else the estimate says: n, events, kind.
    """
    scale = "calibration slope"
    try:
        found = [recalibration(happened, risk) for risk in risks]
    except AnalysisError:
        return Estimate(math.nan, scale=scale, **known)
    value, se = float(np.mean([one.slope for one in found])), float(np.mean([one.slope_se for one in found]))
    return Estimate(
        value, value - Z95 * se, value + Z95 * se, scale=scale, se=se, method="logistic regression", **known
    )


def _in_the_large(happened: Flags, risk: Floats, known: Mapping[str, Any]) -> Estimate:
    scale = "log odds observed beyond predicted"
    try:
        found = recalibration(happened, risk)
    except AnalysisError:
        return Estimate(math.nan, scale=scale, **known)
    value, se = found.in_the_large, found.in_the_large_se
    return Estimate(
        value, value - Z95 * se, value + Z95 * se, scale=scale, se=se, method="logistic regression", **known
    )


def _by_group(happened: Flags, risk: Floats, groups: int) -> pd.DataFrame:
    place, names = risk_groups(risk, groups)
    rows = []
    for group in np.unique(place):
        own = place == group
        share = float(happened[own].mean())
        low, high = wilson_limits(share, int(own.sum()), Z95)
        counts = {"group": names[group], "n": int(own.sum()), "events": float(happened[own].sum())}
        rows.append(counts | {"predicted": float(risk[own].mean()), "observed": share, "low": low, "high": high})
    frame = pd.DataFrame(rows)
    frame.loc[suppressed([int(events) for events in frame["events"]]), "events"] = math.nan
    return frame
