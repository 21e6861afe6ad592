"""A model in use, watched: its new patients against training, and, once outcomes are known, whether it still comes true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.columns import as_events, as_numbers, as_times
from trialml.data.dates import as_dates
from trialml.data.read_blocks import open_blocks
from trialml.data.read_typed import arrow_columns
from trialml.errors import ModelInputError
from trialml.result import Estimate, Result
from trialml.scoring import BLOCK_ROWS, typed_covariates
from trialml.stratifier import RiskPart, Stratifier
from trialml.validation.by_group import GroupPerformance, performance_by_group
from trialml.validation.covariate_shift import CovariateShift, covariate_shift
from trialml.validation.outcome_by_group import OutcomeGroups, outcome_by_group
from trialml.validation.recalibration import Recalibration, judge_recalibration

__all__ = ["Monitored", "Observations", "Period", "monitor"]

Period = Literal["month", "quarter", "year"]
Groups = GroupPerformance | OutcomeGroups

_FACTOR = "period of entry"
_ALL = "all patients"
_SHOWN = {
    "time": ("Harrell's C", "observed over expected", "calibration slope"),
    "binary": ("AUC", "observed over expected", "calibration slope"),
    "continuous": ("observed less predicted mean", "calibration slope", "root mean squared error"),
}


@dataclass(frozen=True)
class Observations:
    """Which columns hold what happened.

    Attributes
    ----------
    outcome
        Of a time to event its two columns, follow-up and event; of a binary or continuous endpoint one; empty for none yet.
    date, period
        When patients entered, and what calendar time is cut into.
    arm, control
        The column of the treatment and the value that stands for control: outcomes of others are left out, since the risk is that
        under control.
    """

    outcome: tuple[str, ...] = ()
    date: str | None = None
    period: Period = "quarter"
    arm: str | None = None
    control: str | None = None

    def columns(self) -> list[str]:
        """Return the columns that are read beside the covariates."""
        return [*self.outcome, *(name for name in (self.date, self.arm) if name is not None)]


@dataclass(frozen=True)
class Monitored:
    """What was found: results in the order in which they are read, and the sizes."""

    shift: CovariateShift
    verdict: Recalibration
    periods: Groups | None
    patients: int
    judged: int
    events: int

    @property
    def results(self) -> list[Result]:
        """The results, the verdict first."""
        return [self.verdict, *([self.periods] if self.periods is not None else []), self.shift]


def monitor(model: Stratifier, source: str, observed: Observations) -> Monitored:
    """Compare new patients with those that the model was learned from, and its risks with what happened.

    Parameters
    ----------
    model
        With its training summary.
    source
        A CSV, Parquet or SAS transport file, one row a patient.
    observed
        Which columns hold what happened.

    Returns
    -------
    Monitored
        Without outcomes the shift alone.

    Raises
    ------
    ModelInputError
        If the model keeps no training summary, holds no risk model to judge, or the outcome has another number of columns.
    DataError
        If the file cannot be read, lacks a column, or a value is none.
    """
    if model.training is None:
        raise ModelInputError(
            "The model keeps no summary of its training patients, as one of an earlier version: run the analysis again to monitor it."
        )
    covariates, others = _read(model, source, observed)
    shift = covariate_shift(model.training, model.contract, covariates)
    if not observed.outcome:
        verdict = judge_recalibration({}, shifted=shift.shifted, outcomes=False)
        return Monitored(shift, verdict, None, len(covariates), 0, 0)
    part = _risk_part(model, observed)
    risk = model.predict(covariates)[part.output].to_numpy(dtype=np.float64)
    outcome, known = _outcome(part, others, observed)
    kept = known & ~np.isnan(risk) & _under_control(others, observed)
    periods = _period_labels(others, observed)
    if periods is not None:
        kept &= periods != ""
    judge = _Judge(model, part, [one[kept] for one in outcome], risk[kept])
    whole = judge.by(np.full(int(kept.sum()), _ALL, dtype=object), "cohort") if kept.any() else None
    by_period = judge.by(periods[kept], _FACTOR) if periods is not None and kept.any() else None
    latest = _latest(by_period)
    verdict = judge_recalibration(
        {} if whole is None else judge.measures(whole, _ALL),
        judge.measures(by_period, latest) if by_period is not None and latest else None,
        latest_period=latest,
        shifted=shift.shifted,
    )
    return Monitored(shift, verdict, by_period, len(covariates), int(kept.sum()), judge.events)


def _read(model: Stratifier, source: str, observed: Observations) -> tuple[pd.DataFrame, pd.DataFrame]:
    import pyarrow as pa

    fields = [field.name for field in model.contract.fields]
    wanted = list(dict.fromkeys([*fields, *observed.columns()]))
    file = open_blocks(source, Path(), needed=wanted)
    table = pa.concat_tables(file.blocks(wanted, BLOCK_ROWS)).combine_chunks()
    others, _ = arrow_columns(table.select(observed.columns()))
    others.index = pd.RangeIndex(2 if file.kind == "text" else 1, len(others) + (2 if file.kind == "text" else 1))
    return typed_covariates(table, model, comma=file.decimal_comma), others


def _risk_part(model: Stratifier, observed: Observations) -> RiskPart:
    if model.risk is None:
        raise ModelInputError(
            "Outcomes judge a risk model, and this is a response model: name the study's risk model, or leave --outcome out."
        )
    needed = 2 if model.risk.horizon is not None else 1
    if len(observed.outcome) != needed:
        what = "follow-up and event" if needed == 2 else "one column"
        raise ModelInputError(
            f"--outcome has {len(observed.outcome)} column(s), but the endpoint of this model takes {what}: give {needed}."
        )
    return model.risk


def _kind(part: RiskPart) -> str:
    return "time" if part.horizon is not None else "continuous" if part.output == "expected_outcome" else "binary"


def _outcome(
    part: RiskPart, others: pd.DataFrame, observed: Observations
) -> tuple[list[NDArray[Any]], NDArray[np.bool_]]:
    """Return the columns of the outcome, and whose is known."""
    nobody = pd.Series("", index=others.index)
    columns = [others[name] for name in observed.outcome]
    kind = _kind(part)
    if kind == "continuous":
        values = as_numbers(columns[0], subjects=nobody)
        return [values.to_numpy()], values.notna().to_numpy()
    events = as_events(columns[-1], (), (), subjects=nobody)
    known = events.notna().to_numpy()
    happened = np.asarray([one is True for one in events], dtype=np.bool_)
    if kind == "binary":
        return [happened], known
    times = as_times(columns[0], subjects=nobody)
    return [times.to_numpy(), happened], known & times.notna().to_numpy()


def _under_control(others: pd.DataFrame, observed: Observations) -> NDArray[np.bool_]:
    from trialml.data.columns import as_codes

    if observed.arm is None:
        return np.ones(len(others), dtype=np.bool_)
    control = (as_codes(others[observed.arm]) == observed.control).to_numpy(dtype=np.bool_)
    if not control.any():
        raise ModelInputError(
            f"No patient has '{observed.control}' in '{observed.arm}': give the value that stands for control."
        )
    return np.asarray(control)


def _period_labels(others: pd.DataFrame, observed: Observations) -> NDArray[np.object_] | None:
    """Return in what period each patient entered, an empty text where that is not known; None without a date."""
    if observed.date is None:
        return None
    dates, _ = as_dates(others[observed.date], rule="first")
    cut = {"month": "M", "quarter": "Q", "year": "Y"}[observed.period]
    labels = dates.dt.to_period(cut).astype(str).where(dates.notna(), "")
    # "2026Q1" is read more easily with a hyphen, and sorts alike.
    return np.asarray(labels.str.replace("Q", "-Q", regex=False), dtype=object)


def _latest(periods: Groups | None) -> str:
    if periods is None:
        return ""
    judged = periods.groups.loc[periods.groups["verdict"] == "estimated", "group"]
    return str(judged.iloc[-1]) if len(judged) else ""


@dataclass(frozen=True)
class _Judge:
    """Predictions and outcomes of the patients whose outcome is known."""

    model: Stratifier
    part: RiskPart
    outcome: Sequence[NDArray[Any]]
    risk: NDArray[np.float64]

    @property
    def events(self) -> int:
        return 0 if _kind(self.part) == "continuous" else int(self.outcome[-1].sum())

    def by(self, groups: NDArray[np.object_], factor: str) -> Groups:
        """Judge within groups."""
        known: dict[str, Any] = {"factor": factor, "kind": "external", "unit": self.model.unit}
        if self.part.horizon is not None:
            time, event = self.outcome
            return performance_by_group(time, event, self.risk, groups, horizon=self.part.horizon, **known)
        binary = _kind(self.part) == "binary"
        return outcome_by_group(self.outcome[0], self.risk, groups, binary=binary, **known)

    def measures(self, judged: Groups, group: str) -> dict[str, Estimate]:
        """Return the measures that the verdict rests on."""
        return {name: judged.estimate(group, name) for name in _SHOWN[_kind(self.part)]}
