"""The covariate-adjusted log-rank test: the log-rank test's hypothesis with the precision that covariates give.

Each patient's contribution to the log-rank score is a derived outcome

    O_i = integral of w(t) (dN_i(t) - Y_i(t) dN(t) / Y(t)),   w = Y_0 / Y in the experimental arm, Y_1 / Y in control,

within strata where there are any; the score is the mean of O over the experimental patients less that over controls, as
shares of all patients. The adjusted score takes from each O_i what a linear regression of O on the covariates, fitted by
arm within strata, expects for the patient's deviation from the stratum's mean. Ye T, Shao J, Yi Y, Biometrika 2024.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.effects.two_arms import checked_covariates, checked_treated, refuse_dependent
from trialml.errors import AnalysisError
from trialml.result import Result, counted, format_number, format_p
from trialml.survival.logrank import logrank_arrays
from trialml.survival.ties import checked_labels, checked_times, time_blocks

__all__ = ["AdjustedLogRank", "AdjustedScore", "adjusted_logrank", "adjusted_score", "derived_outcomes"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Codes = NDArray[np.intp]


class AdjustedScore(NamedTuple):
    """The log-rank scores, unadjusted and adjusted, each with the standard error of its null distribution.

    Attributes
    ----------
    score, se
        Observed less expected events of the experimental arm, and the standard error (hypergeometric).
    adjusted, adjusted_se
        The same after adjustment.
    df
        Degrees of freedom of Student's t for ``adjusted / adjusted_se``; infinite without the small-sample correction.
    """

    score: float
    se: float
    adjusted: float
    adjusted_se: float
    df: float


@dataclass(frozen=True, eq=False)
class AdjustedLogRank(Result):
    """The covariate-adjusted log-rank test beside the unadjusted one.

    Attributes
    ----------
    z, p, p_one_sided
        The unadjusted statistic (below 0: fewer events than expected in the experimental arm), two-sided p and one-sided p.
    adjusted_z, adjusted_p, adjusted_p_one_sided
        The adjusted ones, referred to Student's t with `df` degrees of freedom.
    variance_ratio
        The adjusted score's variance over the unadjusted one's: below 1 where the covariates foretell the outcome.
    covariates
        Columns adjusted for.
    n, events, strata
        Patients, events, and stratification cells (1 where unstratified).
    experimental
        What the experimental arm is called.
    """

    title = "Covariate-adjusted log-rank test"
    methods = (
        "The log-rank test was adjusted for baseline covariates through linear regressions of the patients' contributions to "
        "its score, by arm and within the stratification cells; it tests the same hypothesis as the unadjusted test, that "
        "survival is the same in both arms, whatever the regressions are worth, and holds under stratified randomisation. Its standard "
        "error has a small-sample correction: residual degrees of freedom, the chance imbalance of the covariates, and Student's t."
    )
    references = (
        "Ye T, Shao J, Yi Y. Covariate-adjusted log-rank test: guaranteed efficiency gain and universal applicability. "
        "Biometrika 2024;111:691-705.",
    )

    z: float
    p: float
    p_one_sided: float
    adjusted_z: float
    adjusted_p: float
    adjusted_p_one_sided: float
    variance_ratio: float
    df: float
    covariates: tuple[str, ...]
    n: int
    events: int
    strata: int
    experimental: str

    def frame(self) -> pd.DataFrame:
        """Return one row a test."""
        rows = [
            ("unadjusted", self.z, self.p, self.p_one_sided, math.inf),
            ("adjusted", self.adjusted_z, self.adjusted_p, self.adjusted_p_one_sided, self.df),
        ]
        return pd.DataFrame(rows, columns=["test", "z", "p", "p_one_sided", "df"])

    def text(self) -> str:
        """Return both tests and what adjustment gained."""
        kind = f", stratified by {self.strata} cells," if self.strata > 1 else ""
        gain = 100 * (1 / self.variance_ratio - 1)
        worth = (
            f"the covariates foretell as much of the outcome as {gain:.0f} % more events would be worth"
            if gain >= 0.5
            else "the covariates foretell next to nothing of the outcome"
        )
        return (
            f"Adjusted for {counted(len(self.covariates), 'column')} of baseline covariates, the log-rank test{kind} gives z = "
            f"{format_number(self.adjusted_z)} (two-sided p {_equals(self.adjusted_p)}; one-sided {_equals(self.adjusted_p_one_sided)}; "
            f"t with {self.df:.0f} degrees of freedom) against z = {format_number(self.z)} (p {_equals(self.p)}) unadjusted; below 0 "
            f"means fewer events than expected with {self.experimental} ({counted(self.n, 'patient')}, "
            f"{counted(self.events, 'event')}; {worth})."
        )

    def scalars(self) -> Mapping[str, float]:
        """Return the adjusted test's numbers."""
        return {
            "adjusted_logrank_z": self.adjusted_z,
            "adjusted_logrank_p": self.adjusted_p,
            "adjusted_logrank_variance_ratio": self.variance_ratio,
        }

    def table(self) -> pd.DataFrame:
        """Return both tests as words."""
        frame = self.frame()
        return pd.DataFrame(
            {
                "Log-rank test": frame["test"],
                "z": [format_number(value) for value in frame["z"]],
                "p (two-sided)": [format_p(value) for value in frame["p"]],
                "p (one-sided)": [format_p(value) for value in frame["p_one_sided"]],
            }
        )


def _equals(p: float) -> str:
    words = format_p(p)
    return words if words[0] in "<>" else f"= {words}"


def derived_outcomes(time: Floats, event: Flags, treated: Flags, codes: Codes | None = None) -> Floats:
    """Return each patient's contribution to the log-rank score, shape (n,).

    Parameters
    ----------
    time, event, treated
        Checked outcome and arm, each of shape (n,).
    codes
        The stratum of each patient as a whole number; None for one.

    Returns
    -------
    ndarray
        The sum over experimental patients less that over controls is observed less expected events.
    """
    outcomes = np.zeros(time.size)
    rows = [np.arange(time.size)] if codes is None else [np.flatnonzero(codes == one) for one in np.unique(codes)]
    for row in rows:
        blocks = time_blocks(time[row], event[row])
        arm = np.bincount(blocks.position, treated[row].astype(np.float64), blocks.time.size)
        experimental = np.cumsum(arm[::-1])[::-1] / blocks.n_risk
        hazard = blocks.n_event / blocks.n_risk
        for who, weight in ((treated[row], 1 - experimental), (~treated[row], experimental)):
            place = blocks.position[who]
            outcomes[row[who]] = weight[place] * event[row[who]] - np.cumsum(weight * hazard)[place]
    return outcomes


def adjusted_score(
    time: Floats, event: Flags, treated: Flags, X: Floats, codes: Codes | None = None, *, small_sample: bool = True
) -> AdjustedScore:
    """Return the log-rank score, unadjusted and adjusted.

    Parameters
    ----------
    time, event, treated
        Checked outcome and arm, each of shape (n,).
    X
        Covariates, shape (n, k); none may be constant or a combination of others within strata and arm.
    codes
        The stratum of each patient as a whole number; None for one.
    small_sample
        Without it the variance is Ye, Shao and Yi's, ``sigma^2 - pi (1 - pi) (b1 + b0)' S (b1 + b0)``, which takes
        the fitted slopes for the true ones. With it, sigma^2 is multiplied by

            [sum_a pi_a s_a^2 (1 + n_a d_a' S_a^-1 d_a) + g' S g - sum_a pi_a^2 s_a^2 tr(S_a^-1 S)] / [sum_a pi_a v_a],

        s_a^2 the residual and v_a the total variance of O in arm a within strata, each over its degrees of freedom,
        d_a the mean deviation of the arm's covariates from the strata's means and S_a the arm's sums of squares
        (the conditional variance of the predicted means under a linear model); g = pi_1 b1 - pi_0 b0, whose square
        is taken less its expectation from the slopes' own errors, and not below 0. To first order the two agree.
        Degrees of freedom are those of the two variances s_a^2 (Satterthwaite).

    Raises
    ------
    AnalysisError
        If no event has both arms at risk, a covariate is constant or a combination of others within an arm's strata, or
        an arm has too few patients for its covariates.
    """
    n = len(X)
    outcomes = derived_outcomes(time, event, treated, codes)
    stratum = np.zeros(n, dtype=np.intp) if codes is None else codes
    sums = logrank_arrays(time, event, treated.astype(np.intp), 2, stratum)
    variance = float(sums.covariance[1, 1])
    if variance <= 0:
        raise AnalysisError("no event happened while both arms were at risk: use coarser strata or longer follow-up")
    away = X - _means(X, stratum)
    scatter = _scatter(away, stratum)
    score, unadjusted = 0.0, float(sums.observed[1] - sums.expected[1])
    slopes, parts, own, inverses, total, freedoms = [], [], [], [], 0.0, []
    for mask, sign in ((treated, 1.0), (~treated, -1.0)):
        arm = _arm(outcomes[mask], X[mask], away[mask], stratum[mask])
        score += sign * (float(outcomes[mask].sum()) - float(away[mask].sum(axis=0) @ arm.slope))
        slopes.append(arm.slope)
        parts.append(mask.mean() * arm.residual * (1 + arm.imbalance))
        own.append(mask.mean() ** 2 * arm.residual)
        inverses.append(arm.inverse)
        freedoms.append(arm.df)
        total += float(mask.mean()) * arm.total
    share = float(treated.mean())
    if not small_sample:
        both = slopes[0] + slopes[1]
        gone = n * share * (1 - share) * float(both @ scatter @ both)
        if gone >= variance:
            raise AnalysisError("the covariates fit the outcome perfectly in this sample: adjust for fewer")
        return AdjustedScore(unadjusted, math.sqrt(variance), score, math.sqrt(variance - gone), math.inf)
    # Exact zeros: where every stratum but a pair of patients has one arm, no outcome differs from its stratum's mean.
    if not sum(parts) > 1e-14 * total:
        raise AnalysisError(
            "within the strata of an arm no outcome is left to vary beside the covariates: use coarser strata or adjust for fewer"
        )
    gap = share * slopes[0] - (1 - share) * slopes[1]
    noise = sum(part * float(np.trace(inverse @ scatter)) for part, inverse in zip(own, inverses, strict=True))
    ratio = (sum(parts) + max(float(gap @ scatter @ gap) - noise, 0.0)) / total
    df = sum(parts) ** 2 / sum(part**2 / one for part, one in zip(parts, freedoms, strict=True))
    return AdjustedScore(unadjusted, math.sqrt(variance), score, math.sqrt(variance * ratio), df)


class _Arm(NamedTuple):
    slope: Floats
    residual: float
    total: float
    imbalance: float
    df: float
    inverse: Floats


def _arm(outcomes: Floats, X: Floats, away: Floats, stratum: Codes) -> _Arm:
    """Regress the derived outcomes of one arm on its covariates within strata."""
    n, k = X.shape
    centred, response = X - _means(X, stratum), outcomes - _means(outcomes[:, None], stratum)[:, 0]
    squares = centred.T @ centred
    inverse = np.asarray(np.linalg.inv(squares), dtype=np.float64)
    slope = inverse @ (centred.T @ response)
    free = n - np.unique(stratum).size
    rest = response - centred @ slope
    mean = away.mean(axis=0)
    return _Arm(
        slope,
        float(rest @ rest) / (free - k),
        float(response @ response) / free,
        n * float(mean @ inverse @ mean),
        float(free - k),
        inverse,
    )


def _scatter(away: Floats, stratum: Codes) -> Floats:
    """Return the covariates' covariance within strata, each stratum's (n_z - 1) estimate weighted by its share."""
    _, place = np.unique(stratum, return_inverse=True)
    size = np.bincount(place).astype(np.float64)
    weight = (size / np.maximum(size - 1, 1.0))[place]
    return np.asarray((away * weight[:, None]).T @ away / len(away))


def _means(values: Floats, stratum: Codes) -> Floats:
    """Return the mean of each row's stratum, in the shape of `values`."""
    _, place = np.unique(stratum, return_inverse=True)
    size = np.bincount(place).astype(np.float64)
    sums = np.zeros((size.size, values.shape[1]))
    np.add.at(sums, place, values)
    return np.asarray((sums / size[:, None])[place])


def adjusted_logrank(
    time: Any,
    event: Any,
    treated: Any,
    covariates: Any,
    *,
    strata: Any = None,
    experimental: str = "experimental treatment",
    small_sample: bool = True,
) -> AdjustedLogRank:
    """Return the covariate-adjusted log-rank test of two arms, stratified or not.

    Parameters
    ----------
    time, event
        Follow-up times and True where the event happened, each of shape (n,).
    treated
        True in the experimental arm, shape (n,).
    covariates
        A DataFrame or an array of shape (n, k) of baseline covariates without missing values.
    strata
        The stratification cell of each patient, shape (n,). A covariate that does not vary within the cells is left out.
    experimental
        What the experimental arm is called.
    small_sample
        Whether the standard error has the small-sample correction of `adjusted_score`.

    Returns
    -------
    AdjustedLogRank
        Ties take the hypergeometric variance, as `logrank`.

    Raises
    ------
    DataError
        If the arrays cannot be used.
    AnalysisError
        If there is no event, all patients are in one arm, no event has both arms at risk, or an arm has too few patients for
        its covariates.
    """
    from scipy import special

    times, flags = checked_times(time, event, needs_event=True)
    arm = checked_treated(treated, times.size)
    X, names = checked_covariates(covariates, times.size)
    labels, codes = checked_labels(strata, times.size, "strata")
    within = X - _means(X, codes)
    kept = within.std(axis=0) > 1e-10 * X.std(axis=0)
    if not kept.any():
        raise AnalysisError("no covariate varies within the strata, so there is nothing to adjust for: name others")
    X, names = X[:, kept], tuple(name for name, keep in zip(names, kept, strict=True) if keep)
    for mask, word in ((~arm, "the control arm"), (arm, "the experimental arm")):
        _refuse_arm(X[mask], codes[mask], names, word)
    found = adjusted_score(times, flags, arm, X, codes, small_sample=small_sample)
    z, adjusted = found.score / found.se, found.adjusted / found.adjusted_se
    tail = special.stdtr if math.isfinite(found.df) else lambda _, t: special.ndtr(t)
    return AdjustedLogRank(
        z, 2 * float(special.ndtr(-abs(z))), float(special.ndtr(z)),
        adjusted, 2 * float(tail(found.df, -abs(adjusted))), float(tail(found.df, adjusted)),
        (found.adjusted_se / found.se) ** 2, found.df, names, times.size, int(flags.sum()), int(labels.size), experimental,
    )  # fmt: skip


def _refuse_arm(X: Floats, codes: Codes, names: tuple[str, ...], word: str) -> None:
    strata = np.unique(codes).size
    if len(X) - strata - X.shape[1] < 2:
        over = f" in {strata} strata" if strata > 1 else ""
        raise AnalysisError(
            f"{word} has {counted(len(X), 'patient')}{over} for {counted(X.shape[1], 'column')} of covariates: adjust for fewer"
        )
    refuse_dependent(X - _means(X, codes), names, word, np.abs(X).max(axis=0))
