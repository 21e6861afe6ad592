"""Doubly robust scores of a binary or continuous outcome: for each patient an unbiased, noisy reading of the effect.

With m_a(x) the mean outcome given x in arm a, learned on other patients, and the known allocation probability p, the score
is

    m_1(x) - m_0(x) + A / p w (Y - m_1(x)) - (1 - A) / (1 - p) w (Y - m_0(x)),

w = 1 where every outcome is known (Robins, Rotnitzky and Zhao 1994, JASA 89:846-866). Its mean is unbiased for the risk
difference or the mean difference whatever the outcome models are. A missing outcome is refused, unless weights are given: 1
over the probability of being known where it is known, 0 where it is not. The mean is then unbiased if either the weights or
the outcome models are right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.effects.arm_scores import (
    Allocation,
    Arms,
    augmented_contrasts,
    checked_arms,
    crossfit,
    refuse_arm_as_covariate,
    refuse_contradicted_allocation,
    refuse_small_arms,
)
from trialml.errors import AnalysisError, DataError

__all__ = ["OutcomeLearner", "OutcomeNuisance", "crossfit_outcome_scores", "fit_outcome_nuisance"]

Floats = NDArray[np.float64]
Mean = Callable[[pd.DataFrame], Floats]

OutcomeLearner = Callable[[pd.DataFrame, Floats, Floats], Mean]
"""Fits the outcome model of one arm to covariates (n, p), outcomes (n,) and weights (n,), and returns the function that
predicts the mean outcome, shape (n,), of other patients."""


class _Known(NamedTuple):
    """Outcomes and weights, both of shape (n,); where the weight is 0 the outcome is 0 and counts for nothing."""

    outcome: Floats
    weights: Floats


@dataclass(frozen=True)
class OutcomeNuisance:
    """The outcome models of every arm, learned on some patients, used on others."""

    means: tuple[Mean, ...]
    """One an arm, control first."""
    shares: Floats
    """The known probability of each arm."""
    binary: bool
    higher_is_better: bool

    def scores(self, X: pd.DataFrame, outcome: Any, treated: Any, weights: Any = None) -> Floats:
        """Return the doubly robust scores of patients, in the outcome's unit; positive is benefit.

        Parameters
        ----------
        X
            Covariates, shape (n, p).
        outcome, treated, weights
            As in `crossfit_outcome_scores`. Here one arm may be empty.

        Returns
        -------
        ndarray of shape (n,) for two arms, (n, arms - 1) for more
        """
        known = _checked_outcome(outcome, weights, binary=self.binary)
        arms = Arms(np.asarray(treated).astype(np.intp), self.shares)
        expected = np.column_stack([mean(X) for mean in self.means])
        found = augmented_contrasts(arms, expected, known.outcome, known.weights)
        return found if self.higher_is_better else -found


def fit_outcome_nuisance(
    X: pd.DataFrame,
    outcome: Any,
    treated: Any,
    *,
    allocation: Allocation,
    learner: OutcomeLearner,
    weights: Any = None,
    binary: bool = False,
    higher_is_better: bool = True,
) -> OutcomeNuisance:
    """Learn the outcome models, arm by arm, on patients whose outcome is known.

    Parameters
    ----------
    X, outcome, treated, allocation, learner, weights, binary, higher_is_better
        As in `crossfit_outcome_scores`.

    Raises
    ------
    DataError
        If the arrays do not fit each other or an outcome is missing and has no weight of 0.
    AnalysisError
        If an arm has no patient whose outcome is known.
    """
    known = _checked_outcome(outcome, weights, binary=binary)
    arms = checked_arms(treated, allocation, known.outcome.size)
    means = []
    for arm in range(len(arms.shares)):
        who = (arms.codes == arm) & (known.weights > 0)
        if not who.any():
            raise AnalysisError(
                "The outcome of no patient of an arm is known: there is nothing to learn its outcome model from."
            )
        means.append(_fit_mean(X[who], known.outcome[who], known.weights[who], learner))
    return OutcomeNuisance(tuple(means), arms.shares, binary, higher_is_better)


def _fit_mean(X: pd.DataFrame, outcome: Floats, weights: Floats, learner: OutcomeLearner) -> Mean:
    """Return the learner's model, or the one value where all patients have it, which many a model refuses."""
    only = float(outcome[0])
    if (outcome == only).all():
        return lambda others: np.full(len(others), only)
    return learner(X, outcome, weights)


def crossfit_outcome_scores(
    X: pd.DataFrame,
    outcome: Any,
    treated: Any,
    *,
    allocation: Allocation,
    learner: OutcomeLearner,
    folds: int,
    seed: int,
    weights: Any = None,
    binary: bool = False,
    higher_is_better: bool = True,
) -> Floats:
    """Return doubly robust scores, each from outcome models that never saw the patient.

    Parameters
    ----------
    X
        Covariates, shape (n, p).
    outcome
        Numbers, or for `binary` True/False or 1/0, shape (n,).
    treated
        True in the experimental arm, shape (n,); with more than two arms the arm's number, 0 for control.
    allocation
        The known probability of the experimental arm; with more than two arms one probability an arm, control first.
    learner
        Fits the outcome model of one arm. It is not asked where all outcomes of an arm are the same.
    folds, seed
        Folds are balanced by arm and, for a binary outcome, by the outcome.
    weights
        1 over the probability of a known outcome, 0 for patients whose outcome is not known, shape (n,); None where all
        are known. Who has weight 0 may have a missing outcome; the score is then the difference of the outcome models.
    binary
        Whether only 0 and 1 may stand in `outcome`.
    higher_is_better
        Whether a higher outcome is the better one. If not, signs are turned, so that positive is benefit.

    Returns
    -------
    ndarray of shape (n,) for two arms, (n, arms - 1) for more
        In the outcome's unit; of a binary outcome risk differences. Their mean is the cross-fitted effect.

    Raises
    ------
    DataError
        If the arrays do not fit each other, an outcome is missing and has no weight of 0, an arm or a probability is none,
        or a covariate is the arm.
    AnalysisError
        If an arm has fewer than 15 patients, or the arms' sizes contradict the allocation.
    """
    known = _checked_outcome(outcome, weights, binary=binary)
    arms = checked_arms(treated, allocation, known.outcome.size)
    refuse_arm_as_covariate(X, arms.codes)
    refuse_small_arms(arms)
    refuse_contradicted_allocation(arms)
    asked: dict[str, Any] = {"binary": binary, "higher_is_better": higher_is_better}

    def part(rows: NDArray[np.intp]) -> tuple[pd.DataFrame, Floats, NDArray[np.intp]]:
        return X.iloc[rows], known.outcome[rows], arms.codes[rows]

    def fit(train: NDArray[np.intp]) -> Callable[[NDArray[np.intp]], Floats]:
        nuisance = fit_outcome_nuisance(
            *part(train), allocation=allocation, learner=learner, weights=known.weights[train], **asked
        )
        return lambda test: nuisance.scores(*part(test), known.weights[test])

    cells = arms.codes.astype(np.str_)
    if binary:
        cells = np.char.add(cells, np.where(known.outcome > 0, "/yes", "/no"))
    if weights is not None:
        cells = np.char.add(cells, np.where(known.weights > 0, "", "/unknown"))
    return crossfit(fit, cells, folds=folds, seed=seed)


def _checked_outcome(outcome: Any, weights: Any, *, binary: bool) -> _Known:
    """Return outcomes and weights, those without weight as 0, or refuse."""
    try:
        values = np.asarray(outcome, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError("outcome holds values that are not numbers: turn them into numbers first") from error
    if values.ndim != 1:
        raise DataError(f"outcome has shape {values.shape}: pass one value a patient")
    factors = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=np.float64)
    if factors.shape != values.shape or not (np.isfinite(factors) & (factors >= 0)).all():
        raise DataError(f"weights must hold one finite number of 0 or more for each of the {len(values)} patients")
    values = np.where(factors > 0, values, 0.0)
    lost = int((~np.isfinite(values)).sum())
    if lost:
        raise DataError(
            f"outcome is missing or infinite in {lost} of {len(values)} rows: impute it, leave the patients out and say so, or give "
            "`weights` with 0 there"
        )
    if binary and not np.isin(values, (0.0, 1.0)).all():
        odd = values[~np.isin(values, (0.0, 1.0))][0]
        raise DataError(f"a binary outcome holds the value {odd:g}, but it must be 1 (yes) or 0 (no)")
    return _Known(values, factors)
