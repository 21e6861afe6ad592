"""Are new patients like those that the model was learned from? Each covariate against its distribution in training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.disclosure import SMALLEST_CELL
from trialml.errors import ModelInputError
from trialml.models.input_contract import InputContract
from trialml.models.row_checks import Expected, Notes, check_column
from trialml.models.training_summary import ColumnSummary, TrainingSummary
from trialml.result import COLOURS, Z95, Result, counted, format_number, plain_text
from trialml.survival.intervals import wilson_limits

__all__ = ["LARGE_SHIFT", "CovariateShift", "covariate_shift", "population_stability"]

SOME_SHIFT, LARGE_SHIFT = 0.1, 0.25
MUCH_OUT_OF_RANGE = 0.05
MUCH_MISSING = 0.1
_LEVEL = 0.95


@dataclass(frozen=True, eq=False)
class CovariateShift(Result):
    """The covariates of new patients against those of the training patients."""

    title = "Covariates against training"
    methods = (
        "Each covariate of the new patients was compared with the training patients by the population stability index over groups of "
        "at least 11 training patients, sum (q - p) ln(q / p), half a patient being added to each group of the new ones; by chance alone it "
        "stays below the 95 % quantile of a chi-square on one degree of freedom less than there are groups, times 1/n + 1/m. An index "
        f"of {SOME_SHIFT:g} or more and above chance is called some shift, of {LARGE_SHIFT:g} or more a large one; so is a share of "
        f"missing values that differs by {100 * MUCH_MISSING:g} percentage points or more, and a share outside the range seen in training "
        f"(its 1st to 99th percentile) whose 95 % interval lies above {100 * MUCH_OUT_OF_RANGE:g} %."
    )
    references = (
        "Siddiqi N. Credit Risk Scorecards. Hoboken: Wiley; 2006.",
        "Yurdakul B. Statistical properties of population stability index [dissertation]. Kalamazoo: Western Michigan University; 2018.",
    )

    rows: pd.DataFrame
    """Columns covariate, psi, psi_by_chance, missing_training, missing, out_of_range, out_of_range_low, out_of_range_high, refused,
    shift; shares of 1, NaN where they would tell of 1 to 10 patients, or where the covariate has no such number."""
    patients: int
    training_patients: int

    def frame(self) -> pd.DataFrame:
        """Return one row a covariate."""
        return self.rows

    @property
    def shifted(self) -> tuple[str, ...]:
        """The covariates with a large shift."""
        return tuple(self.rows.loc[self.rows["shift"] == "large", "covariate"])

    def text(self) -> str:
        """Return which covariates have shifted, and how much is out of range or refused."""
        rows = self.rows.dropna(subset=["psi"])
        top = rows.sort_values("psi", ascending=False).head(1)
        largest = "".join(
            f" The largest population stability index is {format_number(row.psi)} ({row.covariate}; by chance up to "
            f"{format_number(row.psi_by_chance)})."
            for row in top.itertuples()
        )
        some = tuple(self.rows.loc[self.rows["shift"] == "some", "covariate"])
        said = f"{counted(len(self.shifted), 'covariate')} of {len(self.rows)} with a large shift"
        named = f" ({', '.join(self.shifted)})" if self.shifted else ""
        more = f", {counted(len(some), 'covariate')} with some ({', '.join(some)})" if some else ""
        return f"{self.patients:,} new patients against {self.training_patients:,} in training: {said}{named}{more}.{largest}"

    def scalars(self) -> dict[str, float]:
        """Return the headline numbers, and each covariate's index and share out of range."""
        psi = self.rows["psi"]
        numbers = {
            "shifted_covariates": float(len(self.shifted)),
            "psi_largest": float(psi.max()) if psi.notna().any() else math.nan,
        }
        for row in self.rows.itertuples():
            numbers[f"psi_{row.covariate}"] = row.psi
            numbers[f"out_of_range_{row.covariate}"] = row.out_of_range
            numbers[f"out_of_range_{row.covariate}_low"] = row.out_of_range_low
            numbers[f"out_of_range_{row.covariate}_high"] = row.out_of_range_high
        return numbers

    def table(self) -> pd.DataFrame:
        """Return the shares as percentages, in words."""
        kept = []
        for row in self.rows.itertuples():
            out = _percent(row.out_of_range)
            if not math.isnan(row.out_of_range_low):
                out += f" ({_percent(row.out_of_range_low)} to {_percent(row.out_of_range_high)})"
            shares = (_percent(row.missing_training), _percent(row.missing), out, _percent(row.refused))
            kept.append((row.covariate, format_number(row.psi), format_number(row.psi_by_chance), *shares, row.shift))
        heads = ("PSI", "By chance up to", "Missing in training", "Missing", "Out of range", "Not usable", "Shift")
        return pd.DataFrame(kept, columns=["Covariate", *heads])

    def draw(self, figure: Any) -> None:
        """Draw the index of each covariate with what chance alone gives."""
        rows = self.rows.dropna(subset=["psi"]).iloc[::-1]
        axes = figure.subplots()
        place = np.arange(len(rows))
        axes.barh(place, rows["psi"], height=0.55, color=COLOURS["experimental"], label="new against training")
        axes.plot(rows["psi_by_chance"], place, "|", color=COLOURS["control"], markersize=14, label="95 % by chance")
        for mark in (SOME_SHIFT, LARGE_SHIFT):
            axes.axvline(mark, color=COLOURS["reference"], linestyle="--", linewidth=1)
        axes.set_yticks(place, [plain_text(name) for name in rows["covariate"]])
        axes.set_xlabel("population stability index")
        axes.legend(frameon=False)


def _percent(share: float) -> str:
    return "n/a" if math.isnan(share) else f"{100 * share:.1f} %"


def covariate_shift(training: TrainingSummary, contract: InputContract, patients: pd.DataFrame) -> CovariateShift:
    """Compare new patients with the training patients, covariate by covariate.

    Parameters
    ----------
    training
        What the model keeps of its training patients.
    contract
        The covariates, with their ranges and categories.
    patients
        The new patients' covariates, shape (n, p).

    Returns
    -------
    CovariateShift
        Shares that would tell of 1 to 10 patients are NaN.

    Raises
    ------
    ModelInputError
        If there are no patients.
    """
    if not len(patients):
        raise ModelInputError("There are no patients to compare with training: give a file with some.")
    about = {column.name: column for column in training.columns}
    rows = [_row(one, about[one.name], patients[one.name], training.patients) for one in contract.expected]
    columns = ["covariate", "psi", "psi_by_chance", "missing_training", "missing"]
    columns += ["out_of_range", "out_of_range_low", "out_of_range_high", "refused", "shift"]
    return CovariateShift(pd.DataFrame(rows, columns=columns), len(patients), training.patients)


def _row(expected: Expected, about: ColumnSummary, column: pd.Series, trained: int) -> tuple[Any, ...]:
    n = len(column)
    refused, flags = Notes(n), Notes(n)
    typed = check_column(expected, column, refused, flags)
    missing = column.isna().to_numpy(dtype=np.bool_)
    unusable, outside = refused.marked() & ~missing, flags.marked() & ~missing
    known = ~missing & ~unusable
    counts = about.counts(typed[known]) if about.shares else np.empty(0, np.int64)
    training_missing = math.nan if about.missing is None else about.missing
    psi, chance = math.nan, math.nan
    if len(counts) and counts.sum():
        psi = population_stability(np.asarray(about.shares), counts)
        chance = _by_chance(len(counts), int(counts.sum()), trained * (1 - (about.missing or 0.0)))
    numeric = expected.low is not None
    out, low, high = _proportion(int(outside.sum()), int(known.sum())) if numeric else (math.nan,) * 3
    lacking = int(missing.sum()) / n
    changed = not math.isnan(training_missing) and abs(lacking - training_missing) >= MUCH_MISSING
    large = changed or low > MUCH_OUT_OF_RANGE or (psi >= LARGE_SHIFT and psi > chance)
    shift = "large" if large else "some" if psi >= SOME_SHIFT and psi > chance else "none"
    shares = (_shown(int(missing.sum()), n), out, low, high, _shown(int(unusable.sum()), n))
    return (expected.name, psi, chance, training_missing, *shares, shift)


def _shown(count: int, n: int) -> float:
    """Return a share, or NaN where it would tell of 1 to 10 patients."""
    return math.nan if 0 < count < SMALLEST_CELL or not n else count / n


def _proportion(count: int, n: int) -> tuple[float, float, float]:
    if math.isnan(_shown(count, n)):
        return (math.nan,) * 3
    share = count / n
    return share, *wilson_limits(share, n, Z95)


def population_stability(shares: NDArray[np.float64], counts: NDArray[np.int64]) -> float:
    """Return the population stability index of counts against shares.

    Parameters
    ----------
    shares
        Of the training patients, shape (k,); scaled to a sum of 1.
    counts
        Of the new patients, shape (k,).

    Returns
    -------
    float
        ``sum (q - p) ln(q / p)``, q with half a patient added to each group.
    """
    p = np.maximum(shares, 0.005) / np.maximum(shares, 0.005).sum()
    q = (counts + 0.5) / (counts.sum() + 0.5 * len(counts))
    return float(((q - p) * np.log(q / p)).sum())


def _by_chance(groups: int, n: int, m: float) -> float:
    from scipy import stats

    return float(stats.chi2.ppf(_LEVEL, groups - 1) * (1 / n + 1 / max(m, 1.0)))
