"""Covariates that tell the arm or the outcome: found in the data, whatever the study file calls them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from trialml.data.roles import Covariate, Endpoint, Treatment
from trialml.errors import DataError

__all__ = ["refuse_restatement"]

_ENOUGH = 20
"""Patients below which an agreement with the arm or the outcome may be chance."""
_MOST_LEVELS = 50
_FEW_LEVELS = 10
_SAMPLE = 200


def refuse_restatement(frame: pd.DataFrame, covariate: Covariate, endpoint: Endpoint, treatment: Treatment) -> None:
    """Refuse a covariate that is a function of the arm or a restatement of the outcome, or has too many categories.

    Parameters
    ----------
    frame
        Columns ``arm``, the outcome (``time``, ``event`` or ``value``) and the covariate, one row a patient.
    covariate, endpoint, treatment
        The roles, for the sentences.

    Raises
    ------
    DataError
        If, among the arms of the primary contrast or among all, the covariate or whether it is recorded follows from
        the arm; if it orders patients as the endpoint's time or value does; if it, or whether it is recorded, tells the event;
        or if a categorical covariate has so many categories that they are names or numbers.
    """
    name = covariate.name
    remedy = "it is no baseline characteristic; take it out of [covariates]."
    pair = frame[["arm", name]]
    primary = pair[pair["arm"].isin([treatment.control, treatment.experimental])]
    if _follows_arm(pair, name) or _follows_arm(primary, name):
        raise DataError(f"The covariate '{name}' is a function of the arm '{treatment.column}': {remedy}")
    recorded = frame[name].notna()
    by_arm = recorded.groupby(frame["arm"]).sum().reindex([treatment.control, treatment.experimental])
    if by_arm.min() == 0 and by_arm.max() >= _ENOUGH:
        arm = treatment.label(str(by_arm.idxmin()))
        raise DataError(
            f"The covariate '{name}' is recorded in no patient of the arm '{arm}', but in the other arm: {remedy}"
        )
    _refuse_outcome(frame, covariate, endpoint, remedy)
    _refuse_names(frame[name].dropna(), covariate)


def _refuse_outcome(frame: pd.DataFrame, covariate: Covariate, endpoint: Endpoint, remedy: str) -> None:
    name = covariate.name
    for outcome, column in (("time", endpoint.time), ("value", endpoint.value)):
        if outcome in frame and _same_order(frame[name], frame[outcome], covariate.kind):
            raise DataError(f"The covariate '{name}' is a copy of the endpoint's column '{column}': {remedy}")
    if "event" not in frame:
        return
    if _tells(frame[name], frame["event"]):
        raise DataError(f"The covariate '{name}' is a copy of the endpoint's column '{endpoint.event}': {remedy}")
    if _tells(frame[name].notna(), frame["event"]):
        message = f"The covariate '{name}' is recorded exactly where the endpoint's column '{endpoint.event}' has one of its codes: {remedy}"
        raise DataError(message)


def _follows_arm(frame: pd.DataFrame, name: str) -> bool:
    # A few patients settle it where two of one arm differ.
    few = frame.iloc[:_SAMPLE].dropna()
    if few.groupby("arm")[name].nunique().max() > 1:
        return False
    known = frame[[name, "arm"]].dropna()
    by_arm = known.groupby("arm")[name].nunique()
    return len(known) >= _ENOUGH and len(by_arm) > 1 and bool((by_arm == 1).all()) and len(known[name].unique()) > 1


def _same_order(values: pd.Series, time: pd.Series, kind: str) -> bool:
    """Whether a numeric covariate ranks patients as the time does, or the other way round, ties and all."""
    both = values.notna() & time.notna()
    if kind != "numeric" or both.sum() < _ENOUGH or time[both].nunique() <= 2:
        return False
    # A few patients out of order settle it without ranking them all.
    few = np.flatnonzero(both)[:_SAMPLE]
    when, what = time.iloc[few].to_numpy(dtype=np.float64), values.iloc[few].to_numpy(dtype=np.float64)
    order = when.argsort(kind="stable")
    steps = np.diff(what[order])[np.diff(when[order]) > 0]
    if (steps > 0).any() and (steps < 0).any():
        return False
    ranks = time[both].rank().to_numpy()
    ours = values[both].astype(float)
    return bool((ours.rank().to_numpy() == ranks).all() or ((-ours).rank().to_numpy() == ranks).all())


def _tells(values: pd.Series, event: pd.Series) -> bool:
    """Whether a covariate of few values has one event code for each of them, and both codes occur."""
    few = values.iloc[:_SAMPLE].notna() & event.iloc[:_SAMPLE].notna()
    if event.iloc[:_SAMPLE][few].astype(np.float64).groupby(values.iloc[:_SAMPLE][few]).nunique().max() > 1:
        return False
    both = values.notna() & event.notna()
    levels = values[both]
    if len(levels) < _ENOUGH or not 2 <= levels.nunique() <= _FEW_LEVELS or event[both].nunique() < 2:
        return False
    rates = event[both].astype(np.float64).groupby(levels).mean()
    return set(rates) == {0.0, 1.0}


def _refuse_names(known: pd.Series, covariate: Covariate) -> None:
    levels = known.nunique()
    if covariate.kind == "categorical" and (
        levels > _MOST_LEVELS or (levels > _FEW_LEVELS and levels > len(known) / 5)
    ):
        message = (
            f"The categorical covariate '{covariate.name}' has {levels:,} categories in {len(known):,} patients: join categories, list it "
            "as numeric, or take it out of [covariates]."
        )
        raise DataError(message)
