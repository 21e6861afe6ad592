"""When will the events be in, and the last patient? Dates of a running trial with prediction intervals."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.design.event_forecast import EventForecast
from trialml.design.forecast_models import Course, Seen, draw_entries, event_model
from trialml.design.refusals import require_between, require_finite, require_positive
from trialml.errors import AnalysisError, nearest

__all__ = ["forecast_events"]

Vector = NDArray[np.float64]

DAYS_A_MONTH = 30.4375
_CHUNK = 500


class _Plan(NamedTuple):
    targets: tuple[int, ...]
    planned: int
    cut: float
    window: float
    course: Course
    breaks: tuple[float, ...]
    dropout: bool
    uncertain: bool


def forecast_events(
    patients: pd.DataFrame,
    events: Sequence[int],
    *,
    cut_months: float,
    planned_patients: int | None = None,
    arm: str | None = None,
    entry: str = "entry_months",
    time: str = "time_months",
    event: str = "event",
    dropped: str | None = None,
    model: Course = "exponential",
    breaks_months: Sequence[float] = (),
    accrual_window_months: float | None = None,
    start_date: str | None = None,
    simulations: int = 10_000,
    seed: int = 1,
    level: float = 0.9,
    parameter_uncertainty: bool = True,
) -> EventForecast:
    """Forecast when numbers of events are reached and enrolment is complete.

    Parameters
    ----------
    patients
        One row a patient enrolled by the cut: month of entry, months from entry to event, dropout or last contact, and
        whether it was the event.
    events
        Numbers of events wanted, more than have happened.
    cut_months
        Month of the data cut since the trial began. Whoever is in follow-up has been seen up to their last contact; an
        event that a future puts before the cut counts at the cut.
    planned_patients
        How many will be enrolled; None where enrolment is closed.
    arm
        Column of the arm, for a forecast by arm with new patients in equal numbers; None for pooled (blinded) data.
    entry, time, event
        Columns.
    dropped
        Column of patients who have left the trial without the event; None for no dropout.
    model
        ``"exponential"``, ``"weibull"`` or ``"piecewise"`` exponential with `breaks_months`.
    breaks_months
        Months since entry at which the pieces begin, the first one 0.
    accrual_window_months
        The rate of enrolment is that of the last so many months; None for all months so far.
    start_date
        Date of month 0, year-month-day, for dates in the result.
    simulations, seed
        How many futures, and what chooses their random numbers.
    level
        Of the prediction intervals.
    parameter_uncertainty
        False takes the estimates for the truth, which makes intervals too short.

    Returns
    -------
    EventForecast
        Median months with prediction intervals; infinite where most futures never get there.

    Raises
    ------
    AnalysisError
        If a column is missing, times contradict the cut, a number of events has been reached or can never be, no event has
        happened, or a number is outside its range.
    """
    names = [entry, time, event, *([dropped] if dropped else []), *([arm] if arm else [])]
    for name in names:
        if name not in patients.columns:
            raise AnalysisError(f"the patients have no column '{name}': {nearest(name, map(str, patients.columns))}")
    cut = require_positive("cut_months", cut_months)
    seen = _seen(patients, entry, time, event, dropped, cut)
    plan = _checked_plan(
        seen, events, planned_patients, cut, accrual_window_months, model, breaks_months, dropped is not None, parameter_uncertainty
    )  # fmt: skip
    count = int(require_positive("simulations", simulations))
    inside = require_between("level", level, 0.0, 1.0)
    arms = {"": np.ones(len(patients), dtype=bool)}
    if arm is not None:
        labels = patients[arm].astype(str).to_numpy()
        arms = {name: labels == name for name in sorted(set(labels))}
    draw = np.random.default_rng(seed)
    parts = [_futures(seen, arms, plan, min(_CHUNK, count - first), draw) for first in range(0, count, _CHUNK)]
    found = _Futures(*(np.concatenate(one) for one in zip(*parts, strict=True)))
    words = (
        f"{model} events"
        if model != "piecewise"
        else f"piecewise exponential events from {', '.join(f'{b:g}' for b in plan.breaks)} months"
    )
    return EventForecast(
        milestones=_milestones(found, plan, inside, start_date), course=_course(seen, found, plan, inside),
        enrolled=len(patients), planned=plan.planned, events=int(seen.event.sum()), cut_months=cut, per_arm=arm is not None,
        model=words, level=inside, simulations=count, seed=seed,
    )  # fmt: skip


def _seen(patients: pd.DataFrame, entry: str, time: str, event: str, dropped: str | None, cut: float) -> Seen:
    numbers = {}
    for name in (entry, time):
        values = pd.to_numeric(patients[name], errors="coerce").to_numpy(dtype=float)
        if not np.isfinite(values).all() or (values < 0).any():
            row = int(np.argmax(~(np.isfinite(values) & (values >= 0)))) + 1
            raise AnalysisError(f"row {row} has {patients[name].iloc[row - 1]} in '{name}': give months, 0 or more")
        numbers[name] = values
    flags = []
    for column in (event, dropped):
        values = np.zeros(len(patients)) if column is None else patients[column].to_numpy()
        if not np.isin(values, [0, 1]).all():
            raise AnalysisError(f"the column '{column}' holds values other than true and false: code it so")
        flags.append(values.astype(bool))
    if len(patients) == 0:
        raise AnalysisError("there is no patient: a forecast needs a running trial")
    late = numbers[entry] + numbers[time] > cut * (1 + 1e-9)
    if late.any():
        row = int(np.argmax(late)) + 1
        raise AnalysisError(
            f"row {row} is followed beyond the cut at month {cut:g}: check the cut and the unit of the times"
        )
    if (flags[0] & flags[1]).any():
        row = int(np.argmax(flags[0] & flags[1])) + 1
        raise AnalysisError(f"row {row} has the event and has left without it: give one of the two")
    return Seen(numbers[entry], numbers[time], *flags)


def _checked_plan(
    seen: Seen, events: Sequence[int], planned: int | None, cut: float, window: float | None, model: Course,
    breaks: Sequence[float], dropout: bool, uncertain: bool,
) -> _Plan:  # fmt: skip
    if model not in get_args(Course):
        raise AnalysisError(f"model is {model!r}, which is not known: {nearest(str(model), get_args(Course))}")
    starts = tuple(require_finite("a break", start) for start in breaks)
    if (model == "piecewise") != bool(starts) or (
        starts and (starts[0] != 0 or any(a >= b for a, b in itertools.pairwise(starts)))
    ):
        raise AnalysisError(
            f"breaks_months is {starts} for the model '{model}': the piecewise model needs breaks that begin at 0 and increase, "
            "the others none"
        )
    size, happened = seen.time.size, int(seen.event.sum())
    wanted = size if planned is None else int(require_positive("planned_patients", planned))
    if wanted < size:
        raise AnalysisError(f"planned_patients is {wanted}, but {size} are enrolled already: plan for as many at least")
    most = happened + int(seen.followed.sum()) + wanted - size
    targets = []
    for number in events:
        target = int(require_positive("a number of events", number))
        if not happened < target <= most:
            why = f"{happened} have happened" if target <= happened else f"the patients can give {most} at most"
            raise AnalysisError(f"{target} events are wanted, but {why}: choose a number from {happened + 1} to {most}")
        targets.append(target)
    months = cut if window is None else require_positive("accrual_window_months", window)
    recent = int((seen.entry > cut - months).sum())
    if wanted > size and recent == 0:
        raise AnalysisError(
            f"nobody entered in the last {months:g} months, so that no entry can be forecast: take a longer window"
        )
    return _Plan(tuple(targets), wanted, cut, min(months, cut), model, starts, dropout, uncertain)


class _Futures(NamedTuple):
    """Simulated futures: months of each target's event, of the last entry, and events and patients by month."""

    targets: Vector
    last_entry: Vector
    events: Vector
    entries: Vector


def _grid(plan: _Plan) -> Vector:
    return np.arange(math.ceil(plan.cut), math.ceil(plan.cut) + 61, dtype=float)


def _futures(
    seen: Seen, arms: Mapping[str, NDArray[np.bool_]], plan: _Plan, count: int, draw: np.random.Generator
) -> _Futures:
    new = plan.planned - seen.time.size
    recent = int((seen.entry > plan.cut - plan.window).sum())
    entries = draw_entries(recent, plan.window, new, plan.cut, count, draw, uncertain=plan.uncertain)
    ends = []
    for place, (name, rows) in enumerate(arms.items()):
        whom = f"in arm '{name}'" if name else "so far"
        here = seen.of(rows)
        model = event_model(here, plan.course, plan.breaks, count, draw, uncertain=plan.uncertain, whom=whom)
        shape, rate = here.dropped.sum() + 0.5, here.time.sum()
        leave = draw.gamma(shape, 1 / rate, count) if plan.uncertain else np.full(count, here.dropped.sum() / rate)
        groups = ((np.broadcast_to(here.entry[here.followed], (count, int(here.followed.sum()))), here.time[here.followed]),
                  (entries[:, place :: len(arms)], np.zeros(entries[:, place :: len(arms)].shape[1])))  # fmt: skip
        for begin, known in groups:
            happens = model.times(known, draw.standard_exponential(begin.shape))
            if plan.dropout:
                with np.errstate(divide="ignore"):
                    gone = known + draw.standard_exponential(begin.shape) / leave[:, None]
                happens = np.where(gone < happens, np.inf, happens)
            ends.append(np.maximum(begin + happens, plan.cut))
    months = np.sort(np.concatenate(ends, axis=1), axis=1)
    happened, grid = int(seen.event.sum()), _grid(plan)
    targets = (
        np.stack([months[:, target - happened - 1] for target in plan.targets], axis=1)
        if plan.targets
        else np.empty((count, 0))
    )
    by_month = np.stack([happened + (months <= month).sum(axis=1) for month in grid], axis=1).astype(float)
    inside = np.stack([seen.time.size + (entries <= month).sum(axis=1) for month in grid], axis=1).astype(float)
    last = entries[:, -1] if new else np.full(count, np.nan)
    return _Futures(targets, last, by_month, inside)


def _quantile(values: Vector, share: float) -> float:
    return float(np.quantile(values, share, method="inverted_cdf"))


def _milestones(found: _Futures, plan: _Plan, level: float, start_date: str | None) -> pd.DataFrame:
    rows = []
    new = not np.isnan(found.last_entry).any()
    named = [("enrolment complete", math.nan, found.last_entry)] if new else []
    named += [(f"{target} events", float(target), found.targets[:, place]) for place, target in enumerate(plan.targets)]
    for name, target, months in named:
        n = months.size
        ordered = np.sort(months)
        spread = math.sqrt(n) / 2  # the ranks one standard error about the median
        above, below = ordered[min(int(n / 2 + spread), n - 1)], ordered[max(int(n / 2 - spread), 0)]
        error = float(above - below) / 2 if math.isfinite(above) else math.nan
        value, low, high = (_quantile(months, share) for share in (0.5, (1 - level) / 2, (1 + level) / 2))
        row = {"milestone": name, "events": target, "months": value, "low": low, "high": high, "mc_error": error}
        row["reached"] = float(np.isfinite(months).mean())
        dates = [_date(start_date, month) for month in (value, low, high)]
        rows.append(row | dict(zip(("date", "date_low", "date_high"), dates, strict=True)))
    return pd.DataFrame(rows)


def _date(start: str | None, months: float) -> str:
    if start is None or not math.isfinite(months):
        return ""
    try:
        first = pd.Timestamp(start)
    except ValueError:
        raise AnalysisError(f"start_date is {start!r}, which is no date: write it as year-month-day") from None
    return str((first + pd.Timedelta(days=round(months * DAYS_A_MONTH))).date())


def _course(seen: Seen, found: _Futures, plan: _Plan, level: float) -> pd.DataFrame:
    past = np.arange(0.0, math.floor(plan.cut) + 1)
    ends = np.sort((seen.entry + seen.time)[seen.event])
    counted = np.searchsorted(ends, past, side="right").astype(float)
    entered = np.searchsorted(np.sort(seen.entry), past, side="right").astype(float)
    shares = (0.5, (1 - level) / 2, (1 + level) / 2)
    ahead = [np.quantile(found.events, share, axis=0, method="inverted_cdf") for share in shares]
    columns = [np.concatenate((counted, one)) for one in ahead]
    return pd.DataFrame(
        {
            "months": np.concatenate((past, _grid(plan))),
            "patients": np.concatenate((entered, np.median(found.entries, axis=0))),
            "events": columns[0],
            "events_low": columns[1],
            "events_high": columns[2],
        }
    ).drop_duplicates("months", keep="last", ignore_index=True)
