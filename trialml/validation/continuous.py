"""How good are the predicted means of a continuous endpoint?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.errors import AnalysisError, DataError
from trialml.result import COLOURS, Estimate, Kind, Result, format_count, kind_words
from trialml.survival.ipcw import standard_error
from trialml.validation.measured import (
    BY_ARM,
    NULL,
    Measured,
    checked_models,
    gains,
    mean_of,
    measured_estimate,
    measured_rows,
    measured_table,
    normal,
)

__all__ = ["ContinuousPerformance", "continuous_performance"]

Floats = NDArray[np.float64]
SHORT = {
    "R²": "r2",
    "R² within arm": "r2_within_arm",
    "calibration slope": "calibration_slope",
    "observed less predicted mean": "observed_less_predicted",
    "mean squared error": "mse",
    "root mean squared error": "rmse",
    "mean absolute error": "mae",
}
FEWEST = 10
"""With fewer patients the errors' errors rest on a handful of them."""


@dataclass(frozen=True, eq=False)
class ContinuousPerformance(Result):
    """Measures of one or several models of a continuous endpoint, and their paired differences."""

    title = "Performance on a continuous endpoint"
    methods = (
        "Predicted means of the continuous endpoint were judged by R² on the patients that they predict, 1 less the mean squared error "
        "over that of one mean for everybody (within an arm: of the arm's own mean), which is below 0 where that mean predicts better; by the calibration slope, "
        "the coefficient of the prediction in a least-squares regression of the outcome (1 is right, below 1 the predictions are too "
        "extreme), and the mean of observed less predicted; and by the mean squared, root mean squared and mean absolute error. Standard "
        "errors are those of the patients' influences; differences of models are paired by patient."
    )
    references = (
        "Steyerberg EW, Vickers AJ, Cook NR, et al. Assessing the performance of prediction models: a framework for traditional and "
        "novel measures. Epidemiology 2010;21:128-138.",
        "Hawinkel S, Waegeman W, Maere S. Out-of-sample R²: estimation and inference. Am Stat 2024;78:15-25.",
    )

    measures: pd.DataFrame
    """Columns measure, model, reference (empty, or the model that is taken off), value, low, high, se, p (of a difference)."""
    unit: str
    kind: Kind
    n: int

    def frame(self) -> pd.DataFrame:
        """Return one row a measure and model, then the differences."""
        return self.measures

    def estimate(self, measure: str, model: str, reference: str = "") -> Estimate:
        """Return one number.

        Raises
        ------
        DataError
            If there is no such number.
        """
        unit = {
            "mean squared error": f"{self.unit}²" if self.unit else "",
            "R²": "",
            "R² within arm": "",
            "calibration slope": "",
        }
        known = {"n": self.n, "unit": unit.get(measure, self.unit)}
        return measured_estimate(self.measures, measure, model, reference, kind=self.kind, **known)

    @property
    def _models(self) -> list[str]:
        return [name for name in dict.fromkeys(self.measures["model"]) if name not in (NULL, BY_ARM)]

    def text(self) -> str:
        """Return R², calibration and errors of up to three models."""
        said = []
        for name in self._models[:3]:
            within = ""
            if "R² within arm" in set(self.measures["measure"]):
                within = f", within an arm {self.estimate('R² within arm', name).text()}"
            said.append(
                f"{name}: R² {self.estimate('R²', name).text()}{within}, calibration slope "
                f"{self.estimate('calibration slope', name).text()}, root mean squared error "
                f"{self.estimate('root mean squared error', name).text()}"
            )
        return f"{'; '.join(said)} ({format_count(self.n)} patients; {kind_words(self.kind)})."

    def scalars(self) -> dict[str, float]:
        """Return every number with limits."""
        numbers: dict[str, float] = {}
        for row in self.measures.itertuples():
            less = f"_less_{row.reference}" if row.reference else ""
            name = f"{SHORT[row.measure]}_{row.model}{less}_{self.kind}".replace(" ", "_")
            numbers |= {name: row.value, f"{name}_low": row.low, f"{name}_high": row.high}
        return numbers

    def table(self) -> pd.DataFrame:
        """Return the numbers as words."""
        return measured_table(self.measures)

    def draw(self, figure: Any) -> None:
        """Draw R² and calibration slope of each model with intervals."""
        own, place = self.measures[self.measures["reference"] == ""], np.arange(len(self._models))
        for axes, measure, right in zip(figure.subplots(1, 2), ("R²", "calibration slope"), (0, 1), strict=True):
            rows = own[own["measure"] == measure].set_index("model").loc[self._models]
            value, low, high = (rows[name].to_numpy(dtype=np.float64) for name in ("value", "low", "high"))
            widths = [value - low, high - value]
            axes.errorbar(value, place, xerr=widths, fmt="o", color=COLOURS["experimental"], capsize=3)
            axes.axvline(right, color=COLOURS["reference"], linewidth=1)
            axes.set_yticks(place, self._models)
            axes.set_ylim(-0.5, len(place) - 0.5)
            axes.set_xlabel(f"{measure} (95% CI)")


def continuous_performance(
    y: Any,
    means: Mapping[str, Any],
    *,
    unit: str,
    kind: Kind,
    reference: str | None = None,
    null_mean: Any = None,
    null_mean_by_arm: Any = None,
) -> ContinuousPerformance:
    """Judge predicted means of a continuous endpoint.

    Parameters
    ----------
    y
        Finite numbers that are not all one, shape ``(n,)``.
    means
        Of each model by name the predicted mean, shape ``(n,)``.
    unit
        Of `y`.
    kind
        What the predictions are: ``"apparent"``, ``"crossfit"``, ``"external"`` and so on.
    reference
        The model from which the others' differences are taken; the first by default.
    null_mean, null_mean_by_arm
        What everybody, and everybody of the patient's arm, is given by the null models, learned elsewhere, shape ``(n,)``;
        by default the mean of these patients, and no null model by arm.

    Returns
    -------
    ContinuousPerformance
        ``R² = 1 - sum (y - m)^2 / sum (y - m0)^2``, m0 of the null model; slope ``cov(y, m) / var(m)`` with the sandwich
        error, NaN where all predictions are one; root mean squared error by the delta method.

    Raises
    ------
    DataError
        If an outcome or mean is missing or infinite, or `reference` is no model.
    AnalysisError
        If there are fewer than 10 patients or all have one outcome.
    """
    values = np.asarray(y, dtype=float)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise DataError(
            f"y has shape {values.shape} or holds missing or infinite numbers: leave out or impute the unknown"
        )
    n = values.size
    if n < FEWEST or np.ptp(values) <= 0:
        raise AnalysisError(
            f"{n} patients with {np.unique(values).size} different outcomes: performance needs at least {FEWEST} and outcomes that differ"
        )

    def check(given: Any, name: str) -> Floats:
        found = np.asarray(given, dtype=float)
        if found.shape != (n,) or not np.isfinite(found).all():
            raise DataError(f"the means of '{name}' must hold one finite number for each of the {n} patients")
        return found

    models, first = checked_models(means, reference, "means", check)
    nulls = {NULL: np.full(n, values.mean()) if null_mean is None else check(null_mean, NULL)}
    nulls |= {} if null_mean_by_arm is None else {BY_ARM: check(null_mean_by_arm, BY_ARM)}
    errors = {name: _errors(values - mean) for name, mean in (models | nulls).items()}
    gained = gains(errors, "mean squared error", "R²")
    found = {name: gained[name] | _calibration(values, mean) | errors[name] for name, mean in models.items()}
    found |= {name: errors[name] for name in nulls}
    rows = measured_rows(found, first, lambda _, apart: standard_error(apart))
    return ContinuousPerformance(rows, unit, kind, n)


def _errors(left: Floats) -> dict[str, Measured]:
    squared = mean_of(left**2)
    root = math.sqrt(squared.value)
    of_root = squared.influence / (2 * root) if root > 0 else np.full(left.size, np.nan)
    return {
        "mean squared error": squared,
        "root mean squared error": normal(root, of_root, 0.0),
        "mean absolute error": mean_of(np.abs(left)),
    }


def _calibration(y: Floats, mean: Floats) -> dict[str, Measured]:
    apart, left = mean - mean.mean(), y - mean
    spread = float(apart @ apart) / y.size
    slope, influence = math.nan, np.full(y.size, np.nan)
    if np.ptp(mean) > 0:
        slope = float(apart @ y) / (y.size * spread)
        influence = apart * (y - y.mean() - slope * apart) / spread
    return {
        "calibration slope": normal(slope, influence),
        "observed less predicted mean": normal(float(left.mean()), left - left.mean()),
    }
