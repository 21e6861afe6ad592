"""What the doubly robust scores of every endpoint share: arms, the augmentation, and cross-fitting once and repeatedly.

For a patient with covariates x in arm A, an outcome Y (or what replaces it where it is censored) and the arms' known
probabilities p_a, the value of arm a is

    m_a(x) + 1{A = a} / p_a (Y - m_a(x)),

m_a an outcome model learned on other patients. Its mean is E[Y under a] whatever m_a is, since p_a is known from the
randomisation (Robins, Rotnitzky and Zhao 1994, JASA 89:846-866). The score of an experimental arm is its value less that
of the control arm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.folds import fold_labels, splits
from trialml.data.impute import numeric_names
from trialml.data.sufficiency import IMPOSSIBLE_ALLOCATION
from trialml.effects.two_arms import checked_treated
from trialml.errors import AnalysisError, DataError
from trialml.result import counted, format_p

__all__ = [
    "Allocation",
    "Arms",
    "augmented_contrasts",
    "checked_arms",
    "crossfit",
    "refuse_arm_as_covariate",
    "refuse_contradicted_allocation",
    "refuse_small_arms",
    "repeated_scores",
]

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]
Allocation = float | Sequence[float]
"""The known probability of the experimental arm; with more arms one probability each, the control arm's first."""

FEWEST_IN_AN_ARM = 15
"""A run asks for 20 in each arm, and a model inside its five folds sees 16 of them."""
CLEARLY_POSSIBLE = 4.0
"""Standard errors between a count and its expectation up to which the exact test need not be computed."""


class Arms(NamedTuple):
    """Which arm each patient is in, and how the arms were drawn.

    Attributes
    ----------
    codes
        0 for the control arm, 1 and above for the experimental arms, shape (n,).
    shares
        The known probability of each arm, shape (arms,).
    """

    codes: NDArray[np.intp]
    shares: Floats


def checked_arms(treated: Any, allocation: Allocation, n: int) -> Arms:
    """Return arms and their probabilities, or refuse.

    Parameters
    ----------
    treated
        True in the experimental arm, shape (n,); with more than two arms the arm's number, 0 for control.
    allocation
        The probability of the experimental arm; with more than two arms a sequence of one probability an arm.
    n
        The number of patients.

    Raises
    ------
    DataError
        If the arms are not given as said, or the probabilities are none.
    AnalysisError
        If an arm has no patients.
    """
    try:
        shares = np.asarray(allocation, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"allocation is {allocation!r}, but it must be a probability, or one for each arm") from error
    if shares.ndim == 0:
        if not 0 < shares < 1:
            raise DataError(f"allocation is {shares:g}, but the experimental arm's probability is between 0 and 1")
        return Arms(checked_treated(treated, n).astype(np.intp), np.array([1 - shares, shares]))
    if shares.ndim != 1 or len(shares) < 2 or not (shares > 0).all() or abs(shares.sum() - 1) > 1e-6:
        raise DataError(
            f"allocation is {np.round(shares, 6).tolist()}, but it must be one probability above 0 for each arm, the control "
            "arm's first, and they must add up to 1"
        )
    numbers = np.asarray(treated)
    if numbers.shape != (n,):
        raise DataError(f"treated has shape {numbers.shape} for {n} patients: pass one arm number a patient")
    if not np.isin(numbers, np.arange(len(shares))).all():
        raise DataError(
            f"treated holds a value that is no arm's number: pass 0 for control and 1 to {len(shares) - 1} for the experimental arms"
        )
    codes = numbers.astype(np.intp)
    empty = np.flatnonzero(np.bincount(codes, minlength=len(shares)) == 0)
    if empty.size:
        raise AnalysisError(f"{_arm_words(int(empty[0]), len(shares))} has no patients: a comparison needs both arms")
    return Arms(codes, shares / shares.sum())


def refuse_contradicted_allocation(arms: Arms) -> None:
    """Refuse probabilities that the arms' sizes contradict: every score would be weighted wrongly.

    Raises
    ------
    AnalysisError
        If the exact binomial p of an arm's size is below one in a million.
    """
    from scipy.stats import binomtest

    n, sizes = len(arms.codes), np.bincount(arms.codes, minlength=len(arms.shares))
    for place in range(len(sizes) - 1, -1, -1):
        share, size = float(arms.shares[place]), int(sizes[place])
        if abs(size - n * share) < CLEARLY_POSSIBLE * np.sqrt(n * share * (1 - share)):
            continue
        p = float(binomtest(size, n, share).pvalue)
        if p < IMPOSSIBLE_ALLOCATION:
            where = _arm_words(place, len(sizes)).lower()
            raise AnalysisError(
                f"allocation is {share:g} for {where}, but {size:,} of the {n:,} patients are in it (exact binomial p {format_p(p)}): "
                "give the probability that the randomisation used."
            )


def refuse_small_arms(arms: Arms) -> None:
    """Refuse arms on which no outcome model can be learned.

    Raises
    ------
    AnalysisError
        If an arm has fewer than 15 patients.
    """
    sizes = np.bincount(arms.codes, minlength=len(arms.shares))
    smallest = int(np.argmin(sizes))
    if sizes[smallest] < FEWEST_IN_AN_ARM:
        raise AnalysisError(
            f"{_arm_words(smallest, len(sizes))} has {counted(sizes[smallest], 'patient')}; the outcome models behind the scores need "
            f"at least {FEWEST_IN_AN_ARM} in each arm, within a cross-validation too: use more data or more folds."
        )


def refuse_arm_as_covariate(X: pd.DataFrame, codes: NDArray[np.intp]) -> None:
    """Refuse a covariate that is the arm under another name: its known values are constant in every arm and not over all.

    Raises
    ------
    DataError
        If X is no data frame or has another number of rows, or a column tells the arms apart.
    """
    if not isinstance(X, pd.DataFrame):
        raise DataError(f"X is a {type(X).__name__}: give a data frame with one named column a covariate")
    if len(X) != len(codes):
        raise DataError(f"X has {len(X)} rows for {len(codes)} patients: pass one row a patient")
    members = [codes == arm for arm in range(int(codes.max()) + 1)]
    for name in _perhaps_the_arm(X, members):
        values = pd.factorize(X[name], use_na_sentinel=True)[0]
        known = values >= 0
        of_arms = [values[who & known] for who in members]
        first = {int(one[0]) for one in of_arms if one.size}
        # Of a handful of known values chance alone can tell the arms apart.
        if known.sum() >= FEWEST_IN_AN_ARM and len(first) > 1 and all((one == one[:1]).all() for one in of_arms):
            raise DataError(
                f"The covariate '{name}' is the treatment: it has one value in each arm; leave it out of the covariates."
            )


def _perhaps_the_arm(X: pd.DataFrame, members: list[NDArray[np.bool_]]) -> list[str]:
    """Return the columns that may have one value in each arm: of numbers those whose first patients of an arm agree."""
    numeric = numeric_names(X)
    if len(numeric) < X.shape[1] or len(members) < 2:
        return list(X.columns)
    values = X.to_numpy(dtype=np.float64, na_value=np.nan)
    same = np.ones(len(numeric), dtype=bool)
    for who in members:
        part = values[np.flatnonzero(who)[:FEWEST_IN_AN_ARM]]
        # fmax and fmin pass over missing values.
        same &= ~(np.fmax.reduce(part, axis=0, initial=-np.inf) > np.fmin.reduce(part, axis=0, initial=np.inf))
    return [name for name, perhaps in zip(numeric, same, strict=True) if perhaps]


def _arm_words(place: int, arms: int) -> str:
    if place == 0:
        return "The control arm"
    return "The experimental arm" if arms == 2 else f"Experimental arm {place}"


def augmented_contrasts(arms: Arms, expected: Floats, outcome: Floats, weights: Floats | None = None) -> Floats:
    """Return each experimental arm's value less the control arm's, as in the module's docstring.

    Parameters
    ----------
    arms
        The patients' arms.
    expected
        m_a(x) of each patient under each arm, shape (n, arms).
    outcome
        Y, shape (n,).
    weights
        Factors of the residuals, shape (n,): 0 where the outcome is not known; None for 1 each.

    Returns
    -------
    ndarray of shape (n,) for two arms, (n, arms - 1) for more
    """
    rows = np.arange(len(arms.codes))
    residual = (outcome - expected[rows, arms.codes]) / arms.shares[arms.codes]
    value = np.array(expected)
    value[rows, arms.codes] += residual if weights is None else np.where(weights > 0, weights * residual, 0.0)
    contrast = value[:, 1:] - value[:, :1]
    return np.asarray(contrast[:, 0] if contrast.shape[1] == 1 else contrast)


def crossfit(
    fit: Callable[[Rows], Callable[[Rows], Floats]], cells: NDArray[np.str_], *, folds: int, seed: int
) -> Floats:
    """Return every patient's scores, each from models that never saw the patient.

    Parameters
    ----------
    fit
        Learns on some rows and returns the scores of others.
    cells
        What the folds are balanced by, shape (n,).
    folds, seed
        As in `fold_labels`.

    Returns
    -------
    ndarray of shape (n,) or (n, arms - 1)
    """
    parts, order = [], []
    for train, test in splits(fold_labels(cells, folds, seed)):
        parts.append(fit(train)(test))
        order.append(test)
    scores = np.empty((len(cells), *parts[0].shape[1:]))
    scores[np.concatenate(order)] = np.concatenate(parts)
    return scores


def repeated_scores(
    crossfitted: Callable[[int], Floats],
    *,
    repeats: int,
    seed: int,
    advance: Callable[[], None] | None = None,
) -> Floats:
    """Return cross-fitted scores over several random splits; a single split moves an effect by half its standard error.

    Parameters
    ----------
    crossfitted
        Returns the scores of one split, given the split's seed.
    repeats
        How many splits, at least 1; six or more are advised.
    seed
        Of the splits' seeds: the first of them do not depend on `repeats`.
    advance
        Called after each split.

    Returns
    -------
    ndarray of shape (repeats, n) or (repeats, n, arms - 1)

    Raises
    ------
    DataError
        If `repeats` is below 1.
    """
    if repeats < 1:
        raise DataError(f"repeats is {repeats}, but cross-fitting needs at least 1, better 6 or more")
    found = []
    for one in np.random.SeedSequence(seed).generate_state(repeats):
        found.append(crossfitted(int(one)))
        if advance is not None:
            advance()
    return np.stack(found)
