"""Multiple imputation of missing outcomes by arm, and Rubin's rules."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trialml.effects.two_arms import checked_treated
from trialml.errors import AnalysisError, DataError

__all__ = ["Pooled", "impute_outcome", "rubin"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Kind = Literal["continuous", "binary"]

_CYCLES = 10
"""Rounds of chained equations where an intermediate outcome is missing after a later one was seen."""

_LOGISTIC_SD = 2.5
"""Prior standard deviation of the logistic imputation model's slopes, for one standard deviation of a predictor: it keeps a
separated model finite and is of no account elsewhere (Gelman et al., Ann Appl Stat 2008;2:1360-1383 use a similar scale)."""


class Pooled(NamedTuple):
    """An estimate pooled over imputations.

    Attributes
    ----------
    value, se
        On the scale of the estimates.
    df
        Barnard and Rubin's degrees of freedom.
    missing_information
        Share of the variance that is due to the missing values, (1 + 1/m) B / T.
    """

    value: float
    se: float
    df: float
    missing_information: float


def rubin(estimates: Any, variances: Any, df_complete: float = math.inf) -> Pooled:
    """Pool estimates from imputed data sets by Rubin's rules.

    Parameters
    ----------
    estimates, variances
        One a data set, each of shape (m,), m at least 2.
    df_complete
        Degrees of freedom that the analysis of complete data would have.

    Returns
    -------
    Pooled
        ``T = W + (1 + 1/m) B``; with ``g = (1 + 1/m) B / T``, ``v = (m - 1) / g^2`` and
        ``u = (d + 1) / (d + 3) d (1 - g)``, d = `df_complete`, the degrees of freedom are ``1 / (1 / v + 1 / u)``.

    Raises
    ------
    DataError
        If there are fewer than two, or a number is not finite or a variance not above 0.

    References
    ----------
    Rubin DB. Multiple Imputation for Nonresponse in Surveys. Wiley, 1987. Barnard J, Rubin DB. Small-sample degrees of
    freedom with multiple imputation. Biometrika 1999;86:948-955.
    """
    q, u = np.asarray(estimates, dtype=np.float64), np.asarray(variances, dtype=np.float64)
    if q.ndim != 1 or q.shape != u.shape or q.size < 2:
        raise DataError(
            f"Rubin's rules need two estimates or more and a variance for each: {q.size} and {u.size} were given"
        )
    if not (np.isfinite(q) & np.isfinite(u) & (u > 0)).all() or not df_complete > 0:
        raise DataError(
            "estimates must be finite, variances and degrees of freedom above 0: leave out what is not estimable"
        )
    m, within, between = q.size, float(u.mean()), float(q.var(ddof=1))
    total = within + (1 + 1 / m) * between
    share = (1 + 1 / m) * between / total
    by_imputation = 0.0 if share == 0 else share**2 / (m - 1)
    observed = (
        0.0
        if math.isinf(df_complete) and share < 1
        else 1 / ((df_complete + 1) / (df_complete + 3) * df_complete * (1 - share))
    )
    rate = by_imputation + observed
    return Pooled(float(q.mean()), math.sqrt(total), math.inf if rate == 0 else 1 / rate, share)


def impute_outcome(
    outcome: Any,
    treated: Any,
    baseline: Any,
    *,
    kind: Kind,
    intermediate: Any = None,
    imputations: int = 20,
    shift: float = 0.0,
    seed: int = 1,
) -> Floats:
    """Impute missing outcomes several times, arm by arm, from baseline and from outcomes measured on the way.

    Parameters
    ----------
    outcome
        The final outcome, shape (n,), NaN where it is missing.
    treated
        True in the experimental arm, shape (n,).
    baseline
        Baseline covariates without missing values, shape (n, k); k may be 0.
    kind
        ``"continuous"`` or ``"binary"``.
    intermediate
        Continuous outcomes measured before the final one, in order, shape (n, v), NaN where missing; None for none.
    imputations
        How many data sets.
    shift
        For sensitivity: added to the imputed outcomes of the experimental arm, in their unit (continuous) or on the log odds
        (binary). The same seed draws the same numbers for every shift.
    seed
        Of the draws.

    Returns
    -------
    ndarray of shape (imputations, n)
        Observed outcomes as they are, missing ones drawn.

    Notes
    -----
    Missing at random given arm, baseline and earlier outcomes. Each arm is imputed by itself, so that no effect is forced to
    be the same for everybody. Visits are imputed in order, each from baseline and the visits before it (continuous: a
    Bayesian linear regression with the usual flat prior, parameters and residuals drawn; binary: a logistic regression whose
    slopes have normal priors with standard deviation 2.5 for one standard deviation, drawn from the normal approximation at
    the mode). Where a visit is missing although a later one was seen, ten rounds of chained equations use the later ones too.

    Raises
    ------
    DataError
        If shapes differ, a baseline value is missing, or a binary outcome holds something other than 0 and 1.
    AnalysisError
        If an arm has fewer than three observed outcomes more than predictors, or its observed outcomes are all alike.

    References
    ----------
    Rubin DB. Multiple Imputation for Nonresponse in Surveys. Wiley, 1987. van Buuren S. Flexible Imputation of Missing Data,
    2nd ed. Chapman & Hall/CRC, 2018.
    """
    values, arm, X, visits = _checked(outcome, treated, baseline, intermediate, kind)
    if imputations < 2:
        raise DataError(f"imputations is {imputations}, but the spread between data sets needs at least 2")
    generator = np.random.default_rng(seed)
    table = np.column_stack([visits, values])
    drawn = np.empty((imputations, values.size))
    for place in range(imputations):
        for rows, name in ((np.flatnonzero(~arm), "control"), (np.flatnonzero(arm), "experimental")):
            moved = shift if name == "experimental" else 0.0
            drawn[place, rows] = _impute_arm(X[rows], table[rows], kind, name, moved, generator)
    return drawn


def _checked(
    outcome: Any, treated: Any, baseline: Any, intermediate: Any, kind: Kind
) -> tuple[Floats, Flags, Floats, Floats]:
    if kind not in ("continuous", "binary"):
        raise DataError(f"kind is '{kind}', but it must be 'continuous' or 'binary'")
    try:
        values = np.asarray(outcome, dtype=np.float64)
        X = np.asarray(baseline, dtype=np.float64)
        visits = np.empty((values.size, 0)) if intermediate is None else np.asarray(intermediate, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(
            "outcome, baseline or intermediate holds values that are not numbers: encode them first"
        ) from error
    if values.ndim != 1 or np.isinf(values).any():
        raise DataError(
            f"outcome has shape {values.shape} or an infinite value: pass one finite number or NaN a patient"
        )
    X = X[:, None] if X.ndim == 1 else X
    visits = visits[:, None] if visits.ndim == 1 else visits
    if X.ndim != 2 or len(X) != values.size or len(visits) != values.size:
        raise DataError(
            f"baseline has shape {X.shape} and intermediate {visits.shape} for {values.size} patients: one row a patient"
        )
    if not np.isfinite(X).all():
        lost = int((~np.isfinite(X)).any(axis=1).sum())
        raise DataError(
            f"baseline is missing or infinite in {lost} of {values.size} rows: fill it in blind to arm and outcome first"
        )
    if np.isinf(visits).any():
        raise DataError("intermediate holds an infinite value: use NaN for a missing one")
    if kind == "binary" and not np.isin(values[~np.isnan(values)], (0.0, 1.0)).all():
        raise DataError("a binary outcome holds a value other than 0 and 1: recode it")
    return values, checked_treated(treated, values.size), X, visits


def _impute_arm(
    X: Floats, table: Floats, kind: Kind, name: str, shift: float, generator: np.random.Generator
) -> Floats:
    """Return one completed final outcome of one arm; `table` holds the visits and then the outcome."""
    lost = np.isnan(table)
    seen = ~lost[:, -1]
    if not lost[:, -1].any():
        return np.asarray(table[:, -1])
    predictors = X.shape[1] + table.shape[1] - 1
    if int(seen.sum()) < predictors + 3:
        raise AnalysisError(
            f"the {name} arm has {int(seen.sum())} observed outcomes for {predictors} predictors: use fewer predictors or pool visits"
        )
    if np.ptp(table[seen, -1]) == 0 and kind == "continuous":
        raise AnalysisError(
            f"the observed outcomes of the {name} arm are all alike, so nothing can be drawn: check the column"
        )
    filled = table.copy()
    last = table.shape[1] - 1
    for visit in range(last + 1):
        before = np.column_stack([X, filled[:, :visit]])
        what, moved = (kind, shift) if visit == last else ("continuous", 0.0)
        filled[:, visit] = _drawn(before, filled[:, visit], lost[:, visit], what, moved, generator)
    # Patients who came back: a later visit, once seen, tells about an earlier one.
    came_back = (lost[:, :-1] & (np.cumsum(~lost[:, ::-1], axis=1)[:, ::-1][:, 1:] > 0)).any()
    for _ in range(_CYCLES if came_back else 0):
        for visit in range(last + 1):
            others = np.column_stack([X, np.delete(filled, visit, axis=1)])
            column = np.where(lost[:, visit], np.nan, filled[:, visit])
            what, moved = (kind, shift) if visit == last else ("continuous", 0.0)
            filled[:, visit] = _drawn(others, column, lost[:, visit], what, moved, generator)
    return np.asarray(filled[:, -1])


def _drawn(X: Floats, y: Floats, lost: Flags, kind: Kind, shift: float, generator: np.random.Generator) -> Floats:
    """Return `y` with its missing values drawn given X."""
    if not lost.any():
        return y
    spread = X[~lost].std(axis=0)
    kept = spread > 1e-12
    Z = (X[:, kept] - X[~lost][:, kept].mean(axis=0)) / spread[kept]
    Z = np.column_stack([np.ones(len(Z)), Z])
    filled = y.copy()
    if kind == "continuous":
        filled[lost] = shift + _normal_draw(Z[~lost], y[~lost], Z[lost], generator)
    else:
        log_odds = shift + _logistic_draw(Z[~lost], y[~lost], Z[lost], generator)
        filled[lost] = generator.random(int(lost.sum())) < 1 / (1 + np.exp(-log_odds))
    return filled


def _normal_draw(Z: Floats, y: Floats, at: Floats, generator: np.random.Generator) -> Floats:
    n, k = Z.shape
    # A trace of ridge on the slopes keeps collinear predictors from having no answer.
    precision = Z.T @ Z + 1e-8 * n * np.diag(np.r_[0.0, np.ones(k - 1)])
    slope = np.linalg.solve(precision, Z.T @ y)
    rest = y - Z @ slope
    sigma = math.sqrt(float(rest @ rest) / generator.chisquare(n - k))
    root = np.linalg.cholesky(np.linalg.inv(precision))
    slope = slope + sigma * (root @ generator.standard_normal(k))
    return np.asarray(at @ slope + sigma * generator.standard_normal(len(at)))


def _logistic_draw(Z: Floats, y: Floats, at: Floats, generator: np.random.Generator) -> Floats:
    """Return log odds of the event at one draw of the coefficients."""
    prior = np.full(Z.shape[1], 1 / _LOGISTIC_SD**2)
    # The intercept's prior is wider by four, so that a rare event is not made common.
    prior[0] /= 16
    beta = np.zeros(Z.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-(Z @ beta)))
        information = (Z * (p * (1 - p))[:, None]).T @ Z + np.diag(prior)
        step = np.linalg.solve(information, Z.T @ (y - p) - prior * beta)
        beta = beta + step * min(1.0, 2.0 / float(np.abs(step).max() or 1.0))
        if np.abs(step).max() < 1e-8:
            break
    beta = beta + np.linalg.cholesky(np.linalg.inv(information)) @ generator.standard_normal(beta.size)
    return np.asarray(at @ beta)
