"""Can the data be trusted? Numbered checks that a data manager can cite."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from trialml.data.disclosure import SMALLEST_CELL
from trialml.data.trial import Trial
from trialml.result import Result, format_count, format_number, format_p

__all__ = ["Check", "DataQuality", "data_quality"]


_FAR = 30


class Check(NamedTuple):
    """One finding: its number, what was looked at, what was seen, and ``ok``, ``note`` or ``warning``."""

    number: str
    subject: str
    finding: str
    verdict: str


@dataclass(frozen=True, eq=False)
class DataQuality(Result):
    """What the checks of the data found."""

    title = "Data quality"

    checks: pd.DataFrame
    not_used: tuple[str, ...]
    """Covariates that carry no information and are left out of every model."""

    def frame(self) -> pd.DataFrame:
        """Return one row a finding: number, subject, finding, verdict."""
        return self.checks

    def text(self) -> str:
        """Return how many findings need attention, and the warnings themselves."""
        warnings = self.checks[self.checks["verdict"] == "warning"]
        notes = int((self.checks["verdict"] == "note").sum())
        said = f"{self.checks['number'].nunique()} checks were made: {len(warnings)} warning(s) and {notes} note(s)."
        return said + "".join(f" {row.number}: {row.finding}" for row in warnings.itertuples())

    def scalars(self) -> dict[str, float]:
        """Return the number of warnings and notes."""
        verdicts = self.checks["verdict"]
        return {"warnings": float((verdicts == "warning").sum()), "notes": float((verdicts == "note").sum())}

    def table(self) -> pd.DataFrame:
        """Return the findings for reading."""
        return self.checks.set_axis(["Check", "Looked at", "Found", "Verdict"], axis=1)


def data_quality(trial: Trial) -> DataQuality:
    """Check an analysis set and say what was found; nothing is repaired in silence.

    Parameters
    ----------
    trial
        The analysis set. Duplicates, impossible times and unknown codes were refused before (DQ001 to DQ003).

    Returns
    -------
    DataQuality
        One row a finding.
    """
    passed = [
        Check("DQ001", "Subjects", "Every subject stands on one row.", "ok"),
        Check("DQ002", "Times", "Every time is a positive finite number.", "ok"),
        Check("DQ003", "Event codes", "Every event code is known.", "ok"),
    ]
    primary = trial.only(trial.treatment.control, trial.treatment.experimental).frame
    constant = tuple(c.name for c in trial.covariates if len(primary[c.name].dropna().unique()) <= 1)
    found = [
        *passed,
        *_missing(trial),
        *_constant(trial, constant),
        *_repeated(trial, constant),
        *_spelling(trial),
        *_allocation(trial),
        *_follow_up(trial),
        *_events_by_factor(trial),
        *_extreme(trial, constant),
    ]
    return DataQuality(pd.DataFrame(found, columns=list(Check._fields)), constant)


def _missing(trial: Trial) -> Iterator[Check]:
    counts = trial.baseline.isna().sum()
    if not counts.sum():
        yield Check("DQ004", "Baseline covariates", "No value is missing.", "ok")
    for name, count in counts[counts > 0].items():
        shown = f"fewer than {SMALLEST_CELL}" if count < SMALLEST_CELL else format_count(count)
        share = 100 * count / len(trial)
        found = f"{shown} values of {len(trial):,} are missing; they are imputed blind to arm and outcome, with an indicator."
        yield Check("DQ004", str(name), found, "warning" if share > 20 else "note")


def _constant(trial: Trial, constant: tuple[str, ...]) -> Iterator[Check]:
    if not constant:
        yield Check("DQ005", "Baseline covariates", "Every covariate varies.", "ok")
    for name in constant:
        seen = trial.frame[name].notna().any()
        found = "All patients of the primary contrast have the same value" if seen else "No patient has a value"
        yield Check("DQ005", name, f"{found}: it is left out of every model.", "note")


def _repeated(trial: Trial, constant: tuple[str, ...]) -> Iterator[Check]:
    codes = {name: pd.factorize(trial.frame[name])[0] for name in trial.baseline.columns if name not in constant}
    names = list(codes)
    pairs = [
        (first, second)
        for place, first in enumerate(names)
        for second in names[place + 1 :]
        if np.array_equal(codes[first], codes[second])
    ]
    if not pairs:
        yield Check("DQ006", "Baseline covariates", "No covariate restates another.", "ok")
    for first, second in pairs:
        yield Check("DQ006", f"{first}, {second}", "The two covariates restate each other: keep one.", "warning")


def _spelling(trial: Trial) -> Iterator[Check]:
    clean = True
    for covariate in trial.covariates:
        if covariate.kind != "categorical":
            continue
        values = trial.frame[covariate.name].dropna().astype(str).unique()
        folded = pd.Series(values).str.casefold().str.replace(r"\s+", " ", regex=True)
        if folded.duplicated().any():
            clean = False
            yield Check(
                "DQ007",
                covariate.name,
                "Some categories differ only by case or blanks: merge them.",
                "warning",
            )
    if clean:
        yield Check("DQ007", "Categories", "No two categories differ only by case or blanks.", "ok")


def _allocation(trial: Trial) -> Iterator[Check]:
    from scipy.stats import binomtest

    treatment = trial.treatment
    primary = trial.only(treatment.control, treatment.experimental)
    treated, n = int(primary.treated.sum()), len(primary)
    p = float(binomtest(treated, n, treatment.allocation).pvalue)
    found = (
        f"{treated:,} of {n:,} are in the experimental arm; the study file says a probability of "
        f"{format_number(treatment.allocation)} (exact binomial p {format_p(p)})."
    )
    yield Check("DQ008", "Allocation", found, "warning" if p < 0.001 else "ok")


def _follow_up(trial: Trial) -> Iterator[Check]:
    endpoint = trial.endpoint
    if endpoint.kind != "time to event":
        return
    treatment = trial.treatment
    for arm in (treatment.control, treatment.experimental, *treatment.secondary):
        times = trial.frame.loc[trial.frame["arm"] == arm, "time"]
        share = 100 * float((times >= endpoint.horizon).mean())
        found = (
            f"{share:.0f} % are still followed at {format_number(endpoint.horizon)} {endpoint.unit} in "
            f"{trial.treatment.label(arm)}."
        )
        yield Check("DQ009", "Follow-up", found, "warning" if share < 10 else "ok")


def _events_by_factor(trial: Trial) -> Iterator[Check]:
    if trial.endpoint.kind == "continuous":
        return
    events = trial.frame.groupby("factor")["event"].sum()
    empty = [str(cell) for cell in events.index[events == 0]]
    for cell in empty:
        found = f"Stratum '{cell}' of the randomisation has no events: it says nothing about time to event."
        yield Check("DQ010", "Stratification factors", found, "warning")
    if not empty:
        several = f"Every one of the {len(events)} strata of the randomisation has events."
        found = several if len(events) > 1 else "The randomisation was not stratified."
        yield Check("DQ010", "Stratification factors", found, "ok")


def _extreme(trial: Trial, constant: tuple[str, ...]) -> Iterator[Check]:
    clean = True
    for covariate in trial.covariates:
        if covariate.kind != "numeric" or covariate.name in constant:
            continue
        values = trial.frame[covariate.name].dropna().to_numpy(dtype=np.float64)
        low, high = np.percentile(values, [25, 75])
        beyond = int(((values < low - _FAR * (high - low)) | (values > high + _FAR * (high - low))).sum())
        if high > low and beyond:
            clean = False
            shown = f"fewer than {SMALLEST_CELL}" if beyond < SMALLEST_CELL else format_count(beyond)
            found = f"{shown} values lie more than {_FAR} interquartile ranges from the quartiles and may rule a model: check them."
            yield Check("DQ011", covariate.name, found, "warning")
    if clean:
        yield Check("DQ011", "Numeric covariates", f"No value lies more than {_FAR} interquartile ranges away.", "ok")
