"""Predicted risks made true: their spread by the calibration slope, their level by the risk observed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit

from trialml.design.risk_evidence import RiskEvidence
from trialml.errors import AnalysisError
from trialml.result import Z95, Estimate

__all__ = ["Recalibrated", "recalibrated", "recalibrated_draws"]

Vector = NDArray[np.float64]


class Recalibrated(NamedTuple):
    """Calibrated risks under control, ascending, and their shares, which sum to 1; each of shape (bins,)."""

    risk: Vector
    share: Vector

    def threshold(self, left_out: float) -> float:
        """Return the risk below which this share of the patients lies: that of the bin that is cut."""
        at = int(np.searchsorted(np.cumsum(self.share), left_out + 1e-12, side="right"))
        return float(self.risk[min(at, len(self.risk) - 1)])

    def above(self, left_out: float) -> Recalibrated:
        """Return the risks of the patients who are left, a bin cut in the middle kept in part."""
        before = np.concatenate([[0.0], np.cumsum(self.share)[:-1]])
        kept = self.share - np.clip(left_out - before, 0.0, self.share)
        inside = kept > 1e-12
        return Recalibrated(self.risk[inside], kept[inside] / kept[inside].sum())

    def concordance(self) -> float:
        """Return the probability that a patient with the event has a higher risk than one without, ties counted half."""
        cases, others = self.share * self.risk, self.share * (1 - self.risk)
        below = np.cumsum(others) - others / 2
        return float(cases @ below / (cases.sum() * others.sum()))


def recalibrated(
    evidence: RiskEvidence,
    *,
    slope: float | None = None,
    concordance: float | None = None,
    observed: float | None = None,
) -> Recalibrated:
    """Return the calibrated risks.

    Parameters
    ----------
    evidence
        Bins of predicted risk, slope, concordance and observed risk.
    slope, concordance, observed
        In place of the evidence's.

    Returns
    -------
    Recalibrated
        ``g(risk) = a + k * g(predicted)``, g the complementary log-log of a time to event and the log odds of a binary endpoint, a such that the
        mean is the risk observed. k is the calibration slope, or the smaller spread at which risks that came true would have the concordance:
        a design does not count on a spread that only one of the two bears out.

    Raises
    ------
    AnalysisError
        If the slope is not above 0: then the model orders nobody.
    """
    return _Spread.of(evidence).risks(
        evidence.slope.value if slope is None else slope,
        evidence.concordance.value if concordance is None else concordance,
        evidence.observed.value if observed is None else observed,
    )


class _Spread(NamedTuple):
    """Predicted scores about their mean, and the concordance that risks would have by how far they are spread."""

    timed: bool
    score: Vector
    share: Vector
    factors: Vector
    concordances: Vector

    @classmethod
    def of(cls, evidence: RiskEvidence) -> _Spread:
        """Return the scores with the concordance at a grid of factors."""
        timed = evidence.endpoint.timed
        predicted = evidence.bins["risk"].to_numpy(dtype=np.float64)
        share = evidence.bins["share"].to_numpy(dtype=np.float64)
        score = np.log(-np.log1p(-predicted)) if timed else logit(predicted)
        score = score - score @ share
        blank = cls(timed, score, share, np.empty(0), np.empty(0))
        factors = np.geomspace(LEAST_SPREAD, 20.0, 60)
        found = np.array([blank.concordance(factor, evidence.observed.value) for factor in factors])
        return blank._replace(factors=factors, concordances=np.maximum.accumulate(found))

    def concordance(self, factor: float, observed: float) -> float:
        """Return the concordance of risks spread by a factor, if they came true.

        Of a time to event, that of two patients' times under proportional hazards, ``h / (h + h')`` for the larger hazard h (Goenen and
        Heller), pairs of one bin counted half; of a binary endpoint that of patients with and without the event.
        """
        if not self.timed:
            return self.at(factor, observed).concordance()
        gaps = np.abs(factor * (self.score[:, None] - self.score[None, :]))
        pairs = self.share[:, None] * self.share[None, :]
        return float((pairs * expit(gaps)).sum())

    def at(self, factor: float, observed: float) -> Recalibrated:
        """Return the risks spread by a factor, their mean the risk observed."""
        score = factor * self.score

        def risks(level: float) -> Vector:
            return np.asarray(-np.expm1(-np.exp(score + level)) if self.timed else expit(score + level))

        level = brentq(lambda one: float(risks(one) @ self.share) - observed, -60.0, 60.0, xtol=1e-12)
        return Recalibrated(risks(float(level)), self.share)

    def risks(self, slope: float, concordance: float, observed: float) -> Recalibrated:
        """Return the risks spread by the slope, or by what the concordance bears out where that is less."""
        if not slope > 0:
            raise AnalysisError(
                f"the calibration slope of the risk model is {slope:.3g}: higher predicted risks do not come true as higher risks, so no "
                "threshold selects patients with more events"
            )
        borne_out = math.inf
        if math.isfinite(concordance):
            borne_out = float(np.interp(concordance, self.concordances, self.factors))
        return self.at(min(slope, borne_out), observed)


LEAST_SPREAD = 0.01
"""The least factor on the spread: the model then orders hardly anybody."""


def recalibrated_draws(evidence: RiskEvidence, draws: int, seed: int) -> Iterator[Recalibrated]:
    """Yield calibrated risks at draws of slope, concordance and observed risk from their normal approximations, independent of each other.

    Slopes at or below 0 are taken as 0.01. The observed risk is drawn on the log odds.
    """
    normal = np.random.default_rng(seed).standard_normal((draws, 3))
    spread, at = _Spread.of(evidence), evidence.observed
    odds = float(logit(at.value))
    odds_se = (float(logit(at.high)) - float(logit(at.low))) / (2 * Z95) if at.low > 0 and at.high < 1 else 0.0
    moves = normal * np.array([standard_error(evidence.slope), standard_error(evidence.concordance), odds_se])
    for slope, concordance, level in moves:
        yield spread.risks(
            max(evidence.slope.value + slope, LEAST_SPREAD),
            evidence.concordance.value + concordance,
            float(expit(odds + level)),
        )


def standard_error(estimate: Estimate) -> float:
    """Return an estimate's standard error, from its limits where it has none of its own; 0 where it has neither."""
    if math.isfinite(estimate.se):
        return estimate.se
    width = estimate.high - estimate.low
    return width / (2 * Z95) if math.isfinite(width) else 0.0
