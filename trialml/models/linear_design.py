"""What the models on a linear predictor share: covariates encoded, and the arm, where it is one, as the first column."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from trialml.errors import AnalysisError, ModelInputError
from trialml.models.columns import names_of, require_columns
from trialml.models.encode import CovariateEncoder

__all__ = ["LinearDesign", "copies_of", "refuse_perfect_line", "refuse_perfect_prediction"]

Floats = NDArray[np.float64]

EXPLAINED_TOO_WELL = 1 - 1e-10
TOO_WELL = 0.95
"""A column that never errs, and orders this share of the pairs, was measured after the outcome or is the outcome."""
FEWEST_TO_ORDER = 20
"""Distinct values of an outcome: fewer may come in the order of a column by chance."""


class LinearDesign(BaseEstimator):  # type: ignore[misc]
    """Covariates of a frame as standardised columns behind the arm's own, which is neither scaled nor penalised."""

    treatment: str | None
    knots: int
    encoder_: CovariateEncoder

    def _learn_design(self, X: pd.DataFrame) -> Floats:
        self.feature_names_in_ = names_of(X)
        arm = self._arm(X)
        self.encoder_ = CovariateEncoder(knots=self.knots)
        columns = self.encoder_.fit_transform(self._covariates(X))
        return columns if arm is None else np.column_stack([arm, columns])

    def _design(self, X: pd.DataFrame) -> Floats:
        columns, arm = self.encoder_.transform(X), self._arm(X)
        return columns if arm is None else np.column_stack([arm, columns])

    def _arm(self, X: pd.DataFrame) -> Floats | None:
        if self.treatment is None:
            return None
        require_columns(X, [self.treatment])
        arm = pd.to_numeric(X[self.treatment], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        if not np.isin(arm, (0.0, 1.0)).all():
            odd = int((~np.isin(arm, (0.0, 1.0))).sum())
            raise ModelInputError(
                f"The arm's column '{self.treatment}' is neither 0 nor 1 in {odd} of {len(arm)} patients: give the arm of each."
            )
        return np.asarray(arm, dtype=np.float64)

    def _covariates(self, X: pd.DataFrame) -> pd.DataFrame:
        return X.drop(columns=[self.treatment]) if self.treatment is not None else X

    def _free(self, design: Floats) -> NDArray[np.bool_]:
        """Return which columns of the design no penalty touches, shape (k,)."""
        free = np.zeros(design.shape[1], dtype=np.bool_)
        free[:1] = self.treatment is not None
        return free

    def _column_names(self) -> list[str]:
        arm = [] if self.treatment is None else [self.treatment]
        return arm + [str(name) for name in self.encoder_.get_feature_names_out()]

    @property
    def selected_(self) -> tuple[str, ...]:
        """The covariates with a coefficient other than 0, in the order of the frame."""
        coefficients: Any = getattr(self, "coefficients_")  # noqa: B009  (set by fit, in classes to the right)
        kept = zip(self.encoder_.covariate_of_column(), coefficients, strict=True)
        return tuple(dict.fromkeys(name for name, value in kept if value != 0))


def copies_of(X: pd.DataFrame) -> pd.Index | None:
    """Return the patient of each row where a patient has several, as in a bootstrap sample; None where nobody has.

    Rows of one index are copies of one patient: the folds of a tuning never part them.
    """
    return None if X.index.is_unique else X.index


def refuse_perfect_prediction(design: Floats, names: list[str], time: Floats, event: NDArray[np.bool_]) -> None:
    """Refuse a column that alone orders the events without an error.

    Parameters
    ----------
    design, names
        Columns, shape (n, k), and what they are called.
    time, event
        Follow-up; for a binary outcome any time with the event and any later one without.

    Raises
    ------
    AnalysisError
        If in every risk set the patient with the event has the largest value of a column, or in every one the smallest,
        and the concordance is 0.95 or more: the likelihood has no maximum there, and no baseline value does that.
    """
    from trialml.survival.concordance import concordance

    if not event.any():
        return
    first = time[event].min()
    at_risk, gone = design[time >= first], design[event & (time == first)]
    bounds = np.array([at_risk.max(axis=0), at_risk.min(axis=0)])
    # What fails at the first event need not be followed through the others.
    places = np.flatnonzero((gone == bounds[:, None]).all(axis=1).any(axis=0) & (bounds[0] > bounds[1]))
    if not places.size:
        return
    order = np.lexsort((~event, time))
    ranked, dead = design[order][:, places], event[order]
    starts = np.searchsorted(time[order], time[order], side="left")
    for sign in (1.0, -1.0):
        largest = np.maximum.accumulate((sign * ranked)[::-1], axis=0)[::-1]
        monotone = (sign * ranked[dead] >= largest[starts[dead]]).all(axis=0)
        for place in places[monotone]:
            found = concordance(time, event, sign * design[:, place]).value
            if found >= TOO_WELL:
                raise AnalysisError(
                    f"'{names[place]}' alone puts the events in order without an error (concordance {found:.3f}), which no "
                    "baseline value does: it was measured later, or is the outcome; leave it out."
                )


def refuse_perfect_line(columns: Floats, names: list[str], values: Floats) -> None:
    """Refuse a column that alone, as a straight line or in its order, explains a continuous outcome without an error.

    Parameters
    ----------
    columns, names
        Without missing values, shape (n, k), and what they are called.
    values
        The outcome, not the same for all, shape (n,).

    Raises
    ------
    AnalysisError
        If a column has a squared correlation of 1 with the outcome, but for rounding, or puts twenty or more distinct values in their
        order, ties included.
    """
    spread, centred = values - values.mean(), columns - columns.mean(axis=0)
    size = (centred**2).sum(axis=0) * (spread @ spread)
    explained = (centred.T @ spread) ** 2 / np.where(size > 0, size, np.inf)
    if explained.max(initial=0.0) <= EXPLAINED_TOO_WELL and np.unique(values).size >= FEWEST_TO_ORDER:
        explained = np.where(_same_order(columns, values), 1.0, explained)
    if explained.max(initial=0.0) > EXPLAINED_TOO_WELL:
        raise AnalysisError(
            f"'{names[int(np.argmax(explained))]}' alone explains the outcome without an error, which no baseline value does: it "
            "is the outcome, or was measured later; leave it out."
        )


def _same_order(columns: Floats, values: Floats) -> NDArray[np.bool_]:
    """Return which columns rise, or fall, strictly with the values, shape (k,)."""
    order = np.argsort(values, kind="stable")
    step, steps = np.sign(np.diff(values[order])), np.sign(np.diff(columns[order], axis=0))
    return np.asarray((steps == step[:, None]).all(axis=0) | (steps == -step[:, None]).all(axis=0))
