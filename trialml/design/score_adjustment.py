"""What it gains to adjust the next trial's analysis for the risk model's score, by kind of endpoint and by estimand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.design.covariate_adjustment import adjusted_size
from trialml.design.recalibration import Recalibrated, recalibrated, recalibrated_draws
from trialml.design.refusals import require_positive, require_power
from trialml.design.risk_evidence import RiskEvidence
from trialml.design.sample_size import survival_events
from trialml.errors import AnalysisError
from trialml.result import Result, format_number

__all__ = ["ScoreAdjustment", "explained_by_risks", "explained_of_score", "marginal_hazard_ratio", "score_adjustment"]

Vector = NDArray[np.float64]

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)
_MOST = 0.99


@dataclass(frozen=True, eq=False)
class ScoreAdjustment(Result):
    """The size of a trial whose analysis is adjusted for the score, relative to the unadjusted analysis.

    Attributes
    ----------
    rows
        One row an analysis: ``analysis, estimand`` (``"marginal"`` or ``"conditional on the score"``), ``effect`` (the hazard ratio that it
        estimates; NaN of other endpoints), ``r_squared``, ``relative_size`` with ``_low`` and ``_high`` (1 for the unadjusted analysis).
    kind
        Of the endpoint.
    draws
        Of slope, concordance and observed risk, for the limits; 0 where they come from those of R squared.
    """

    title: ClassVar[str] = "The gain from adjusting for the score"
    methods: ClassVar[str] = (
        "Adjusting for a score that explains the share R squared of the outcome's variance within arms multiplies the size by 1 less R squared, for the "
        "same marginal effect. Of a binary endpoint R squared is the variance of the calibrated risks over that of the outcome; of a time to event it is "
        "the share of the variance of the log-rank score, without effect and with everybody followed for as long. A Cox model with the score needs "
        "fewer events because it estimates another number, the conditional hazard ratio: that is no gain for the marginal one."
    )
    references: ClassVar[tuple[str, ...]] = (
        "Borm GF, Fransen J, Lemmens WAJG. A simple sample size formula for analysis of covariance in randomized clinical trials. J Clin "
        "Epidemiol 2007;60:1234-1238.",
        "Lu X, Tsiatis AA. Improving the efficiency of the log-rank test using auxiliary covariates. Biometrika 2008;95:679-694.",
    )

    rows: pd.DataFrame
    kind: str
    draws: int

    def frame(self) -> pd.DataFrame:
        """Return one row an analysis."""
        return self.rows.assign(kind=self.kind)

    def text(self) -> str:
        """Return what the adjusted analysis saves, and which gain is another estimand."""
        row = self.rows.iloc[1]
        said = (
            f"Adjusting for the score ({row['analysis']}) takes {_percent(row['relative_size'])} of the size of the unadjusted analysis "
            f"({_percent(row['relative_size_low'])} to {_percent(row['relative_size_high'])}; R squared {format_number(row['r_squared'])}) for the "
            "same marginal effect."
        )
        if len(self.rows) > 2:
            cox = self.rows.iloc[2]
            said += (
                f" {cox['analysis']} would take {_percent(cox['relative_size'])} of the events, but of another number: the hazard ratio conditional on the "
                f"score is {format_number(cox['effect'])} where the marginal one is {format_number(row['effect'])}."
            )
        return said

    def scalars(self) -> Mapping[str, float]:
        """Return R squared and the relative size of the adjusted analysis."""
        row = self.rows.iloc[1]
        names = ("relative_size", "relative_size_low", "relative_size_high")
        return {"adjustment_r_squared": float(row["r_squared"])} | {
            f"adjusted_{name}": float(row[name]) for name in names
        }

    def table(self) -> pd.DataFrame:
        """Return the analyses as they are read."""
        records = self.rows.to_dict("records")
        table = pd.DataFrame(
            {
                "Analysis": [row["analysis"] for row in records],
                "Estimand": [row["estimand"] for row in records],
                "Hazard ratio": [format_number(row["effect"]) for row in records],
                "Relative size (95% interval)": [
                    _percent(row["relative_size"])
                    + (
                        ""
                        if row["relative_size_low"] == row["relative_size_high"]
                        else f" ({_percent(row['relative_size_low'])} to {_percent(row['relative_size_high'])})"
                    )
                    for row in records
                ],
            }
        )
        return table if self.kind == "time to event" else table.drop(columns="Hazard ratio")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def score_adjustment(
    evidence: RiskEvidence,
    *,
    relative_effect: float = 0.75,
    follow_up_months: float = math.nan,
    alpha: float = 0.025,
    power: float = 0.9,
    draws: int = 500,
    seed: int = 1,
) -> ScoreAdjustment:
    """Return what adjusting for the score saves.

    Parameters
    ----------
    evidence
        The model's performance on patients not seen.
    relative_effect, follow_up_months
        Of a time to event: the hazard ratio conditional on the score, and how long each patient is followed.
    alpha, power
        One-sided alpha.
    draws, seed
        Of slope, concordance and observed risk, for the limits.

    Returns
    -------
    ScoreAdjustment

    Raises
    ------
    AnalysisError
        If a number is outside its range, or the model explains nothing that a continuous endpoint's R squared could say.
    """
    kind = evidence.endpoint.kind
    if kind == "continuous":
        share = evidence.r_squared
        if math.isnan(share.value):
            raise AnalysisError(
                "the risk model has no R squared of patients not seen: a continuous endpoint's gain rests on it"
            )
        value, low, high = (min(max(one, 0.0), _MOST) for one in (share.value, share.low, share.high))
        sizes = (adjusted_size(1.0, value), adjusted_size(1.0, high), adjusted_size(1.0, low))
        return ScoreAdjustment(_rows(("t-test", "analysis of covariance"), value, sizes), kind, 0)
    centre, drawn = recalibrated(evidence), list(recalibrated_draws(evidence, draws, seed))
    if kind == "binary":
        value = explained_by_risks(centre)
        sizes = _sizes(value, [explained_by_risks(one) for one in drawn])
        return ScoreAdjustment(
            _rows(("difference of proportions", "standardised risk difference"), value, sizes), kind, draws
        )
    require_power(power, alpha)
    effect = require_positive("relative_effect", relative_effect)
    if effect >= 1:
        raise AnalysisError(
            f"relative_effect is {effect:g}, which does not favour the experimental arm: give one below 1"
        )
    times = require_positive("follow_up_months", follow_up_months) / evidence.endpoint.horizon_months
    value = explained_of_score(centre, times)
    sizes = _sizes(value, [explained_of_score(one, times) for one in drawn])
    marginal = marginal_hazard_ratio(centre, effect, times)
    rows = _rows(("log-rank test", "covariate-adjusted log-rank test"), value, sizes).assign(effect=marginal)
    conditional = [_events(effect, power, alpha) / _events(one, power, alpha)
                   for one in (marginal, *(marginal_hazard_ratio(kept, effect, times) for kept in drawn))]  # fmt: skip
    low, high = np.percentile(conditional[1:], [2.5, 97.5])
    cox = {
        "analysis": "Cox model with the score", "estimand": "conditional on the score", "effect": effect, "r_squared": math.nan,
        "relative_size": conditional[0], "relative_size_low": low, "relative_size_high": high,
    }  # fmt: skip
    return ScoreAdjustment(pd.concat([rows, pd.DataFrame([cox])], ignore_index=True), kind, draws)


def _events(ratio: float, power: float, alpha: float) -> float:
    return survival_events(ratio, alpha=alpha, power=power)


def _sizes(value: float, drawn: list[float]) -> tuple[float, float, float]:
    low, high = np.percentile([adjusted_size(1.0, min(one, _MOST)) for one in drawn], [2.5, 97.5])
    return adjusted_size(1.0, min(value, _MOST)), float(low), float(high)


def _rows(analyses: tuple[str, str], share: float, sizes: tuple[float, float, float]) -> pd.DataFrame:
    size, low, high = sizes
    return pd.DataFrame(
        {
            "analysis": list(analyses),
            "estimand": "marginal",
            "effect": math.nan,
            "r_squared": [0.0, share],
            "relative_size": [1.0, size],
            "relative_size_low": [1.0, low],
            "relative_size_high": [1.0, high],
        }
    )


def explained_by_risks(risks: Recalibrated) -> float:
    """Return the share of a binary outcome's variance that risks explain if they come true: ``Var(risk) / (p (1 - p))``."""
    mean = float(risks.risk @ risks.share)
    return float(((risks.risk - mean) ** 2) @ risks.share) / (mean * (1 - mean))


def explained_of_score(risks: Recalibrated, times: float) -> float:
    """Return the share of the variance of the log-rank score that risks explain if they come true, without effect.

    Parameters
    ----------
    risks
        Risks by the horizon, hazards constant in time.
    times
        How long each patient is followed, in horizons.

    Returns
    -------
    float
        ``Var(E[M | risk]) / Var(M)``, M the martingale residual under the marginal hazard: with H the cumulative hazards at the end,
        ``E[M | H] = 1 - exp(-H) - integral of exp(-H u) dL(u)``, L the marginal cumulative hazard on u from 0 to 1, and ``Var(M)`` the
        probability of an event.
    """
    total = -np.log1p(-risks.risk) * times
    u, weight = (1 + _NODES) / 2, _WEIGHTS / 2
    free = np.exp(-total[:, None] * u)
    hazard = (risks.share * total) @ free / (risks.share @ free)
    residual = -np.expm1(-total) - free @ (hazard * weight)
    return float(risks.share @ residual**2 / (risks.share @ -np.expm1(-total)))


def marginal_hazard_ratio(risks: Recalibrated, conditional: float, times: float) -> float:
    """Return the ratio of the arms' marginal cumulative hazards at the end of follow-up, under one conditional hazard ratio."""
    total = -np.log1p(-risks.risk) * times
    arms = [float(risks.share @ np.exp(-total * ratio)) for ratio in (1.0, conditional)]
    return math.log(arms[1]) / math.log(arms[0])
