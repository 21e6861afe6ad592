"""The primary comparison of a binary or a continuous endpoint: one estimate, one test, and which way is better."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from trialml.effects.binary import binary_contrast, mantel_haenszel
from trialml.effects.continuous import continuous_contrast, mean_difference
from trialml.effects.standardisation import Kind, standardised_contrast, standardised_means
from trialml.effects.two_arms import checked_cells, checked_outcome
from trialml.result import Estimate, Result, format_p, with_limits

__all__ = ["PrimaryOutcome", "benefit_scale", "prediction_name", "primary_outcome"]


@dataclass(frozen=True, eq=False)
class PrimaryOutcome(Result):
    """The primary difference with its two-sided p.

    Attributes
    ----------
    difference
        Experimental less control, of means or of shares with the event.
    p
        Two-sided.
    test
        What the test is called.
    outcome
        The words for the outcome.
    kind
        ``"binary"`` or ``"continuous"``.
    higher_is_better
        Whether a larger mean or share is better for the patient.
    means
        Control, experimental: as the data have them, not adjusted.
    sd
        Standard deviation within an arm, pooled.
    r_squared
        What the adjusted analysis' covariates explain within arms: one less the ratio of the variances of the adjusted
        and the unadjusted difference, 0 at least; 0 for an unadjusted analysis.
    """

    title = "Primary analysis"
    methods = (
        "The primary analysis of a continuous endpoint compares means by the t-test (within the strata of the randomisation, weighted by "
        "their share of the patients, degrees of freedom by Satterthwaite), that of a binary endpoint shares by the test of Cochran, Mantel and "
        "Haenszel; where the study file names covariates for it, both compare standardised means or risks instead."
    )

    difference: Estimate
    p: float
    test: str
    outcome: str
    kind: Literal["binary", "continuous"]
    higher_is_better: bool
    means: tuple[float, float]
    sd: float
    r_squared: float

    @property
    def direction(self) -> Literal["better", "worse", "not shown"]:
        """What the test at 5 % two-sided says of the experimental arm."""
        if not self.p < 0.05:
            return "not shown"
        return "better" if (self.difference.value > 0) == self.higher_is_better else "worse"

    def frame(self) -> pd.DataFrame:
        """Return the difference as one row."""
        one = dataclasses.asdict(self.difference)
        return pd.DataFrame(
            [{**one, "p": self.p, "test": self.test, "control": self.means[0], "experimental": self.means[1]}]
        )

    def text(self) -> str:
        """Return the difference, the test and which way is better."""
        better = "more" if self.higher_is_better else "less"
        p = format_p(self.p)
        return (
            f"{self.outcome}: {self.difference.scale}, experimental less control, {self.difference.text()}; {self.test}, p "
            f"{p if p[0] in '<>' else f'= {p}'} two-sided ({better} is better; {self.difference.method})."
        )

    def scalars(self) -> dict[str, float]:
        """Return the difference with limits, and p."""
        return with_limits({"primary_difference": self.difference}) | {"primary_p": self.p}

    def table(self) -> None:
        """The sentence says it all."""


def primary_outcome(
    outcome: Any,
    treated: Any,
    *,
    kind: Kind,
    higher_is_better: bool,
    strata: Any = None,
    covariates: Any = None,
    unit: str = "",
    label: str = "Outcome",
) -> PrimaryOutcome:
    """Compare a binary or continuous outcome between two arms by the one analysis that decides.

    Parameters
    ----------
    outcome, treated
        Outcome and arm (True experimental), each of shape (n,).
    kind
        ``"binary"`` or ``"continuous"``.
    higher_is_better
        Whether a larger mean or share is better for the patient.
    strata
        The stratification cell of each patient, shape (n,); None for one.
    covariates
        Covariates without missing values that the analysis adjusts for, shape (n, k); None for an unadjusted one.
    unit, label
        Unit of a continuous outcome, and words for the outcome.

    Returns
    -------
    PrimaryOutcome
        Adjusted: the standardised difference and Wald's test with Student's t. Unadjusted: for a continuous outcome the
        (stratified) difference of means and Student's t; for a binary one the difference of risks (Mantel and Haenszel's
        where there are strata) and the test of Cochran, Mantel and Haenszel without continuity correction.

    Raises
    ------
    DataError, AnalysisError
        As `standardised_means`, `mean_difference` and `mantel_haenszel`.
    """
    values, arm = checked_outcome(outcome, treated, binary=kind == "binary")
    cells = None if strata is None or checked_cells(strata, values.size).labels.size < 2 else strata
    within = [values[~arm], values[arm]]
    means = (float(within[0].mean()), float(within[1].mean()))
    squares = sum(float(((own - own.mean()) ** 2).sum()) for own in within)
    sd = math.sqrt(squares / (values.size - 2))
    common: dict[str, Any] = {
        "outcome": label,
        "kind": kind,
        "higher_is_better": higher_is_better,
        "means": means,
        "sd": sd,
    }
    if covariates is not None:
        difference, p, explained = _adjusted(values, arm, covariates, kind, cells, unit)
        test = "Wald's test of standardised risks" if kind == "binary" else "analysis of covariance by arm"
        return PrimaryOutcome(difference, p, test, r_squared=explained, **common)
    difference, p, test = _binary(values, arm, cells) if kind == "binary" else _continuous(values, arm, cells, unit)
    return PrimaryOutcome(difference, p, test, r_squared=0.0, **common)


def _adjusted(
    values: Any, arm: Any, covariates: Any, kind: Kind, cells: Any, unit: str
) -> tuple[Estimate, float, float]:
    found = standardised_means(values, arm, covariates, kind=kind, strata=cells)
    contrast = standardised_contrast(values, arm, covariates, kind=kind, strata=cells, unit=unit)
    difference = contrast.estimate("risk_difference" if kind == "binary" else "mean_difference")
    plain = mean_difference(values, arm).se
    return difference, _student(difference.value / difference.se, found.df), max(0.0, 1 - (difference.se / plain) ** 2)


def _continuous(values: Any, arm: Any, cells: Any, unit: str) -> tuple[Estimate, float, str]:
    found = mean_difference(values, arm, cells)
    contrast = continuous_contrast(values, arm, strata=cells, unit=unit)
    name, test = (
        ("mean_difference", "Welch's t-test") if cells is None else ("stratified_mean_difference", "stratified t-test")
    )
    return contrast.estimate(name), _student(found.value / found.se, found.df), test


def _binary(values: Any, arm: Any, cells: Any) -> tuple[Estimate, float, str]:
    codes = np.zeros(values.size, dtype=np.intp) if cells is None else checked_cells(cells, values.size).codes
    x1, n1, x0, n0 = (np.bincount(codes, weights) for weights in (values * arm, arm, values * ~arm, ~arm))
    chi_square = mantel_haenszel(x1, n1, x0, n0).chi_square
    name, test = (
        ("risk_difference", "chi-square test")
        if cells is None
        else ("mh_risk_difference", "Cochran-Mantel-Haenszel test")
    )
    difference = binary_contrast(values, arm, strata=cells).estimate(name)
    return difference, math.erfc(math.sqrt(chi_square / 2)), test


def _student(t: float, df: float) -> float:
    from scipy.special import stdtr

    return float(2 * stdtr(df, -abs(t)))


def prediction_name(kind: str, *, higher_is_better: bool) -> str:
    """Return what a model of prognosis predicts, in words: only of harm is there a risk."""
    if kind == "continuous":
        return "expected outcome"
    return "probability" if higher_is_better else "risk"


def benefit_scale(kind: str, *, higher_is_better: bool) -> str:
    """Return what a benefit on a binary or continuous endpoint is, in words: always more is better."""
    arms = "experimental less control" if higher_is_better else "control less experimental"
    return f"{'risk difference' if kind == 'binary' else 'difference in means'}, {arms}"
