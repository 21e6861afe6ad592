"""What a running trial has taught about enrolment, events and dropout, and draws of what is to come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trialml.errors import AnalysisError
from trialml.survival.parametric_fit import fit_parametric

__all__ = ["Course", "EventModel", "Seen", "draw_entries", "event_model", "exposure_by_piece"]

Vector = NDArray[np.float64]
Course = Literal["exponential", "weibull", "piecewise"]


class Seen(NamedTuple):
    """Patients of one arm (or of both) by the cut of the data, each of shape (n,).

    Attributes
    ----------
    entry
        Month of entry since the trial began.
    time
        Months from entry to event, dropout or the last contact.
    event, dropped
        Whether it ended with the event, and whether the patient has left the trial.
    """

    entry: Vector
    time: Vector
    event: NDArray[np.bool_]
    dropped: NDArray[np.bool_]

    @property
    def followed(self) -> NDArray[np.bool_]:
        """Whether the patient may still have an event."""
        return ~self.event & ~self.dropped

    def of(self, rows: NDArray[np.bool_]) -> Seen:
        """Return some of the patients."""
        return Seen(self.entry[rows], self.time[rows], self.event[rows], self.dropped[rows])


def exposure_by_piece(time: Vector, breaks: Vector) -> Vector:
    """Return the months of follow-up that fall in each piece; the last piece has no end."""
    ends = np.append(breaks[1:], np.inf)
    return np.asarray(np.clip(np.minimum(time[:, None], ends) - breaks, 0.0, None).sum(axis=0))


@dataclass(frozen=True, eq=False)
class EventModel:
    """The cumulative hazard of events, drawn anew for each simulated future.

    Attributes
    ----------
    breaks
        Shape (pieces,): months since entry at which pieces of constant hazard begin; the exponential has one.
    hazards
        Shape (futures, pieces).
    shape, scale
        Shape (futures,): of the Weibull, whose cumulative hazard is ``(t / scale)**shape``; else empty.
    """

    breaks: Vector
    hazards: Vector
    shape: Vector
    scale: Vector

    def times(self, known: Vector, exponential: Vector) -> Vector:
        """Return event times of patients known to be free of it until `known`.

        Parameters
        ----------
        known
            Shape (patients,), months since entry.
        exponential
            Shape (futures, patients): standard exponential draws.

        Returns
        -------
        ndarray
            Shape (futures, patients): the time at which the cumulative hazard has grown by the draw.
        """
        if self.shape.size:
            shape, scale = self.shape[:, None], self.scale[:, None]
            return np.asarray(scale * ((known / scale) ** shape + exponential) ** (1 / shape))
        left = exponential.copy()
        found = np.broadcast_to(known, left.shape).copy()
        for piece, start in enumerate(self.breaks):
            end = self.breaks[piece + 1] if piece + 1 < self.breaks.size else np.inf
            hazard = self.hazards[:, piece, None]
            inside = (found >= start) & (found < end) & (left > 0)
            room = np.where(inside, end - found, 0.0)
            step = np.where(inside, np.minimum(left / hazard, room), 0.0)
            spent = np.where(inside & (left / hazard > room), room * hazard, left)
            left = np.where(inside, left - spent, left)
            found += step
        return found


def event_model(
    seen: Seen,
    course: Course,
    breaks: Sequence[float],
    futures: int,
    draw: np.random.Generator,
    *,
    uncertain: bool,
    whom: str,
) -> EventModel:
    """Return the events' course, estimated, with a draw of its parameters for each future.

    Exponential and piecewise hazards have the gamma distribution of shape events + 1/2 and rate exposure (Jeffreys'
    prior); the Weibull's log scale and log shape are normal about the maximum of the likelihood.

    Parameters
    ----------
    seen
        The patients.
    course
        ``"exponential"``, ``"weibull"`` or ``"piecewise"``.
    breaks
        Months since entry at which the pieces begin, where there are pieces.
    futures, draw
        How many draws, and from where.
    uncertain
        False keeps the estimate in every future.
    whom
        The arm in words, for messages.

    Raises
    ------
    AnalysisError
        If there is no event, or a piece has no follow-up.
    """
    happened = int(seen.event.sum())
    if happened == 0:
        raise AnalysisError(f"no event has happened {whom}, so that none can be forecast: wait for some")
    none = np.empty(0)
    if course == "weibull":
        return _weibull(seen, futures, draw, uncertain=uncertain)
    starts = np.array(breaks if course == "piecewise" else (0.0,), dtype=float)
    exposure = exposure_by_piece(seen.time, starts)
    if not np.all(exposure > 0):
        first = starts[int(np.argmin(exposure > 0))]
        raise AnalysisError(f"nobody {whom} has been followed beyond {first:g} months: end the pieces earlier")
    piece = np.searchsorted(starts, seen.time[seen.event], side="left") - 1
    counts = np.bincount(np.maximum(piece, 0), minlength=starts.size).astype(float)
    if not uncertain:
        return EventModel(starts, np.tile(np.maximum(counts, 0.5) / exposure, (futures, 1)), none, none)
    return EventModel(starts, draw.gamma(counts + 0.5, 1 / exposure, (futures, starts.size)), none, none)


def _weibull(seen: Seen, futures: int, draw: np.random.Generator, *, uncertain: bool) -> EventModel:
    fit = fit_parametric(seen.time, seen.event, np.empty((seen.time.size, 0)), "weibull")
    centre = np.array([fit.coefficients[0], np.log(fit.scale)])
    drawn = draw.multivariate_normal(centre, fit.covariance, futures) if uncertain else np.tile(centre, (futures, 1))
    return EventModel(np.zeros(1), np.empty((futures, 0)), np.exp(-drawn[:, 1]), np.exp(drawn[:, 0]))


def draw_entries(
    count: float, months: float, wanted: int, cut: float, futures: int, draw: np.random.Generator, *, uncertain: bool
) -> Vector:
    """Return the months at which the next patients enter, a Poisson process whose rate has a gamma distribution.

    Parameters
    ----------
    count, months
        Patients who entered in the last `months` before the cut; the rate has shape count + 1/2 and rate `months`.
    wanted
        Patients still to come.
    cut
        Month from which they come.
    futures, draw, uncertain
        As in `event_model`.

    Returns
    -------
    ndarray
        Shape (futures, wanted), ascending along the second axis.
    """
    rate = draw.gamma(count + 0.5, 1 / months, futures) if uncertain else np.full(futures, count / months)
    return cut + np.cumsum(draw.standard_exponential((futures, wanted)), axis=1) / rate[:, None]
