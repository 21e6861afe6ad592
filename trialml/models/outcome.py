"""Outcomes as scikit-learn wants them: one array a patient at a time, whose rows a resampling fold can pick."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trialml.errors import AnalysisError, DataError
from trialml.survival.ipcw import FEWEST_AT_RISK
from trialml.survival.product_limit import censoring_curve, step_at
from trialml.survival.ties import not_after

__all__ = [
    "BinaryOutcome",
    "binary_outcome",
    "checked_competing",
    "checked_survival",
    "competing_outcome",
    "scored_outcome",
    "scores_of",
    "survival_outcome",
    "window_outcome",
]

Floats = NDArray[np.float64]


def survival_outcome(time: ArrayLike, event: ArrayLike) -> NDArray[np.void]:
    """Return a structured array with fields ``event`` (boolean) and ``time`` (float), shape (n,)."""
    times = np.asarray(time, dtype=np.float64)
    outcome = np.empty(len(times), dtype=[("event", np.bool_), ("time", np.float64)])
    outcome["event"], outcome["time"] = np.asarray(event, dtype=np.bool_), times
    return outcome


def competing_outcome(time: ArrayLike, cause: ArrayLike) -> NDArray[np.void]:
    """Return a structured array with fields ``cause`` (int) and ``time`` (float), shape (n,).

    Parameters
    ----------
    time
        Follow-up times, finite and above 0, shape (n,).
    cause
        What ended each: 0 censoring, 1 the event whose risk is asked for, 2 and above competing events, shape (n,).

    Notes
    -----
    There is no field ``event``, so that a model of one kind of event cannot take competing events for censoring.

    Raises
    ------
    DataError
        If times or causes are missing or out of range, or do not match in number.
    """
    times, causes = _checked(time, cause)
    outcome = np.empty(len(times), dtype=[("cause", np.int64), ("time", np.float64)])
    outcome["cause"], outcome["time"] = causes, times
    return outcome


def scored_outcome(y: ArrayLike, scores: ArrayLike) -> NDArray[np.void]:
    """Return an outcome with the doubly robust score of each patient beside it, shape (n,).

    Response models that learn from outcomes shrink what they say by these scores.

    Parameters
    ----------
    y
        Any outcome of this module, a boolean array or an array of numbers, shape (n,).
    scores
        Doubly robust scores, finite, shape (n,).

    Returns
    -------
    structured ndarray, shape (n,)
        The fields of `y`, or ``value`` where it has none, and ``score``.

    Raises
    ------
    DataError
        If there is not one finite score a patient.
    """
    outcome, read = np.asarray(y), np.asarray(scores, dtype=np.float64)
    if outcome.ndim != 1 or read.shape != outcome.shape or not np.isfinite(read).all():
        raise DataError(
            f"the doubly robust scores have shape {read.shape}, {int((~np.isfinite(read)).sum())} of them not finite, for "
            f"outcomes of shape {outcome.shape}: pass one finite score a patient"
        )
    fields = outcome.dtype.descr if outcome.dtype.names else [("value", outcome.dtype)]
    scored = np.empty(len(outcome), dtype=[*fields, ("score", np.float64)])
    for name, *_ in fields:
        scored[name] = outcome[name] if outcome.dtype.names else outcome
    scored["score"] = read
    return scored


def scores_of(y: Any) -> tuple[NDArray[Any], Floats]:
    """Return the outcome and the scores that `scored_outcome` joined, shape (n,) each.

    Raises
    ------
    DataError
        If y has no scores.
    """
    names = getattr(y, "dtype", np.dtype(float)).names or ()
    if "score" not in names:
        raise DataError(
            "a response model that learns from outcomes needs the doubly robust scores beside them, for its shrinkage: make y "
            "with scored_outcome"
        )
    rest = [name for name in names if name != "score"]
    outcome = y["value"] if rest == ["value"] else y[rest]
    return outcome, np.asarray(y["score"], dtype=np.float64)


def checked_survival(y: Any, what: str = "a model of a time to event") -> tuple[Floats, NDArray[np.bool_]]:
    """Return times and events of a `survival_outcome`, shape (n,) each; `what` takes them, for the sentence of a refusal.

    Raises
    ------
    DataError
        If y is another kind of outcome, or a time is missing or negative.
    """
    names = getattr(y, "dtype", np.dtype(float)).names or ()
    if "cause" in names or "known" in names or not {"time", "event"} <= set(names):
        raise DataError(
            f"the outcome has the fields {', '.join(names) or 'none'}, but {what} takes event and time: make "
            "it with survival_outcome, or choose a model of its own endpoint"
        )
    time = np.asarray(y["time"], dtype=np.float64)
    if not (np.isfinite(time) & (time >= 0)).all():
        raise DataError("time must hold finite numbers that are not negative")
    return time, np.asarray(y["event"], dtype=np.bool_)


def checked_competing(y: Any) -> tuple[Floats, NDArray[np.int64]]:
    """Return times and causes of a `competing_outcome`, shape (n,) each.

    Raises
    ------
    DataError
        If y is another kind of outcome.
    """
    names = getattr(y, "dtype", np.dtype(float)).names or ()
    if not {"time", "cause"} <= set(names):
        raise DataError(
            f"the outcome has the fields {', '.join(names) or 'none'}, but a model of competing risks takes cause and time: make "
            "it with competing_outcome"
        )
    return np.asarray(y["time"]), np.asarray(y["cause"])


def window_outcome(time: ArrayLike, cause: ArrayLike, window: float) -> NDArray[np.void]:
    """Return whether the event happened within a window, with what is needed to weight for earlier censoring.

    Parameters
    ----------
    time
        Follow-up times, finite and above 0, shape (n,).
    cause
        What ended each: 0 censoring, 1 the event, 2 and above events after which it cannot happen; True and False
        serve as 1 and 0; shape (n,).
    window
        Time by which the event counts, in the unit of `time`.

    Returns
    -------
    structured ndarray, shape (n,)
        Fields ``event`` (happened by the window), ``known`` (False for a patient censored before the window ends:
        neither with nor free of the event) and ``time`` (cut at the window). Weights are left to `BinaryOutcome.of`,
        which learns the censoring from the patients it is given: in a resampling fold, from those of the fold.

    Raises
    ------
    DataError
        If times or causes are not usable, or the window is not a time above 0.
    AnalysisError
        If follow-up is censored before the window and fewer than 10 patients are followed through it.
    """
    times, causes = _checked(time, cause)
    if not np.isfinite(window) or window <= 0:
        raise DataError(f"window is {window:g}, but it must be a time above 0")
    through = not_after(window, times)
    known = through | (causes > 0)
    if not known.all() and through.sum() < FEWEST_AT_RISK:
        raise AnalysisError(
            f"{int(through.sum())} patients are followed through the window {window:g} (the longest follow-up is "
            f"{times.max():g}): choose a window through which at least {FEWEST_AT_RISK} are followed"
        )
    outcome = np.empty(len(times), dtype=[("event", np.bool_), ("known", np.bool_), ("time", np.float64)])
    outcome["event"], outcome["known"] = (causes == 1) & not_after(times, window), known
    outcome["time"] = np.minimum(times, window)
    return outcome


def binary_outcome(event: ArrayLike, weight: ArrayLike) -> NDArray[np.void]:
    """Return a structured array with fields ``event`` (boolean) and ``weight`` (float), shape (n,).

    Without weights a boolean array alone is an outcome.
    """
    events, weights = np.asarray(event), np.asarray(weight, dtype=np.float64)
    if weights.shape != events.shape or not (np.isfinite(weights) & (weights >= 0)).all():
        raise DataError(f"weight must hold one finite number of 0 or more for each of the {events.size} patients")
    outcome = np.empty(len(events), dtype=[("event", np.bool_), ("weight", np.float64)])
    outcome["event"], outcome["weight"] = _flags(events), weights
    return outcome


class BinaryOutcome(NamedTuple):
    """A binary outcome as a model fits it: who had the event, and how much each patient counts; shape (n,) each."""

    event: NDArray[np.bool_]
    weight: Floats

    @classmethod
    def of(cls, y: Any) -> BinaryOutcome:
        """Return event and weight of a boolean array, of `binary_outcome` or of `window_outcome`.

        Of a window, a patient whose outcome is known counts ``1 / G(u-)``, u the earlier of the own time and the
        window's end and G the Kaplan-Meier curve of being uncensored among these patients; one censored before counts 0. The
        weights add up to about n. A competing event is an outcome without the event.

        Raises
        ------
        DataError
            If an outcome is missing or neither true nor false.
        AnalysisError
            If nobody that counts has the event, or everybody.

        References
        ----------
        Vock DM, Wolfson J, Bandyopadhyay S, et al. Adapting machine learning techniques to censored time-to-event
        health record data: a general-purpose approach using inverse probability of censoring weighting. J Biomed
        Inform 2016;61:119-131.
        """
        names = getattr(y, "dtype", np.dtype(float)).names or ()
        if "known" in names:
            curve = censoring_curve(y["time"], y["known"])
            before = step_at(curve.time, curve.survival, y["time"], left=True)
            found = cls(np.asarray(y["event"]), np.where(y["known"], 1 / np.where(y["known"], before, 1.0), 0.0))
        elif "weight" in names:
            found = cls(np.asarray(y["event"]), np.asarray(y["weight"]))
        elif names:
            raise DataError(
                f"the outcome has the fields {', '.join(names)}, but a binary model takes True and False: for an event "
                "within a window make it with window_outcome"
            )
        else:
            events = _flags(np.asarray(y))
            found = cls(events, np.ones(len(events)))
        found._refuse_one_kind()
        return found

    def _refuse_one_kind(self) -> None:
        counted = self.event[self.weight > 0]
        if counted.all() or not counted.any():
            raise AnalysisError(
                f"{int(counted.sum())} of the {counted.size} patients whose outcome is known have the event: a model needs "
                "some with and some without"
            )


def _checked(time: ArrayLike, cause: ArrayLike) -> tuple[Floats, NDArray[np.int64]]:
    times, causes = np.asarray(time, dtype=np.float64), np.asarray(cause)
    if times.ndim != 1 or times.shape != causes.shape or not times.size:
        raise DataError(f"time has shape {times.shape} and cause {causes.shape}: pass one of each a patient")
    if not (np.isfinite(times) & (times > 0)).all():
        raise DataError("time must hold finite numbers above 0: correct the others, or leave the patients out")
    codes = np.asarray(causes, dtype=np.float64)
    whole = np.isfinite(codes) & (codes >= 0) & (codes == np.round(codes))
    if not whole.all():
        odd = codes[~whole][0]
        raise DataError(
            f"cause holds {odd:g}, but it must be 0 (censored), 1 (the event) or a whole number above (another event)"
        )
    return times, codes.astype(np.int64)


def _flags(event: NDArray[Any]) -> NDArray[np.bool_]:
    if event.dtype == np.bool_ and event.ndim == 1:
        return event
    try:
        codes = np.asarray(event, dtype=np.float64)
    except (TypeError, ValueError):
        codes = np.full(1, np.nan)
    if event.ndim != 1 or not np.isin(codes, (0.0, 1.0)).all():
        raise DataError("a binary outcome must be True (happened) or False, known of each patient")
    return np.asarray(codes == 1.0)
