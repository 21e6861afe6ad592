"""Measures of several models of one endpoint as rows: each with limits, then the differences, paired by patient."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.errors import DataError, nearest
from trialml.result import Z95, Estimate, Kind, format_number, format_p
from trialml.survival.brier import index_of_accuracy
from trialml.survival.ipcw import standard_error

__all__ = [
    "BY_ARM",
    "NULL",
    "SHORT",
    "Measured",
    "checked_models",
    "gains",
    "mean_of",
    "measured_estimate",
    "measured_rows",
    "measured_table",
    "normal",
]

Floats = NDArray[np.float64]
SHORT = {
    "Harrell's C": "harrell_c",
    "AUC": "auc",
    "calibration slope": "calibration_slope",
    "Brier score": "brier",
    "mean squared error": "mse",
    "IPA": "ipa",
    "R²": "r2",
    "observed over expected": "observed_over_expected",
    "observed less predicted mean": "observed_less_predicted",
}
"""The measures' names as headline numbers have them."""
NULL = "null model"
"""One prediction for everybody."""
BY_ARM = "null model by arm"
"""One prediction for everybody of an arm: against it the baseline covariates alone earn something."""


class Measured(NamedTuple):
    """A number with limits and error, and each patient's influence, of which the number is the mean but for a constant."""

    value: float
    low: float
    high: float
    se: float
    influence: Floats


def normal(value: float, influence: Floats, least: float = -math.inf, most: float = math.inf) -> Measured:
    """Return a number with Wald's limits, cut at what it can be."""
    se = standard_error(influence)
    return Measured(value, max(value - Z95 * se, least), min(value + Z95 * se, most), se, influence)


def mean_of(values: Floats) -> Measured:
    """Return the mean of what is not below 0."""
    value = float(values.mean())
    if not math.isfinite(value):
        return Measured(value, math.nan, math.nan, math.nan, np.full(values.size, np.nan))
    return normal(value, values - value, 0.0)


def gains(found: Mapping[str, Mapping[str, Measured]], loss: str, gain: str) -> dict[str, dict[str, Measured]]:
    """Return each model's share of loss saved, against one prediction for everybody and for everybody of an arm.

    Parameters
    ----------
    found
        By model the measures by name, the null models among them.
    loss, gain
        The loss's name and the gain's: ``"Brier score"`` and ``"IPA"``.
    """
    made: dict[str, dict[str, Measured]] = {}
    for base, name in ((NULL, gain), (BY_ARM, f"{gain} within arm")):
        for model in [] if base not in found else [one for one in found if one not in (NULL, BY_ARM)]:
            own, null = found[model][loss], found[base][loss]
            value, influence = index_of_accuracy(own.value, own.influence, null.value, null.influence)
            made.setdefault(model, {})[name] = normal(value, influence, most=1.0)
    return made


def checked_models(
    models: Mapping[str, Any], reference: str | None, what: str, check: Callable[[Any, str], Floats]
) -> tuple[dict[str, Floats], str]:
    """Return the models' checked predictions and the name of the one from which differences are taken, or refuse.

    Raises
    ------
    DataError
        If there is no model, one has a null model's name, or `reference` is no model.
    """
    if not models or {NULL, BY_ARM} & set(models):
        raise DataError(f"{what} names the models {list(models)}: name one or more, none of them '{NULL}'")
    first = next(iter(models)) if reference is None else reference
    if first not in models:
        raise DataError(f"reference is '{first}', which is no model: {nearest(first, list(models))}")
    return {name: check(values, name) for name, values in models.items()}, first


def measured_rows(
    found: Mapping[str, Mapping[str, Measured]], first: str, error: Callable[[str, Floats], float]
) -> pd.DataFrame:
    """Return one row a measure and model, then the differences from the null models and from `first`.

    Parameters
    ----------
    found
        By model, the null models among them, the measures by name.
    first
        The model from which the others' differences are taken.
    error
        Of a measure's name and patients' influences on a difference its standard error.

    Returns
    -------
    DataFrame
        Columns measure, model, reference, value, low, high, se, p.
    """
    rows: list[tuple[Any, ...]] = []
    nulls = [name for name in (NULL, BY_ARM) if name in found]
    order = [*nulls, first, *[name for name in found if name not in (*nulls, first)]]
    for measure in found[first]:
        own = {name: found[name][measure] for name in order if measure in found[name]}
        rows += [(measure, name, "", *one[:4], math.nan) for name, one in own.items()]
        for base in [name for name in (*nulls, first) if name in own]:
            for name, one in own.items():
                if name in (*nulls, base):
                    continue
                gap, se = one.value - own[base].value, error(measure, one.influence - own[base].influence)
                rows.append((measure, name, base, gap, gap - Z95 * se, gap + Z95 * se, se, _p(gap, se)))
    return pd.DataFrame(rows, columns=["measure", "model", "reference", "value", "low", "high", "se", "p"])


def _p(gap: float, se: float) -> float:
    return math.erfc(abs(gap / se) / math.sqrt(2)) if se > 0 else math.nan


def measured_estimate(
    rows: pd.DataFrame, measure: str, model: str, reference: str, *, kind: Kind, **known: Any
) -> Estimate:
    """Return one number of `measured_rows`.

    Raises
    ------
    DataError
        If there is no such number.
    """
    found = rows[(rows["measure"] == measure) & (rows["model"] == model) & (rows["reference"] == reference)]
    if found.empty:
        named = sorted(set(rows["measure"]) | set(rows["model"]))
        raise DataError(f"there is no {measure} of '{model}': {nearest(model if measure in named else measure, named)}")
    row = found.iloc[0]
    scale = measure if not reference else f"difference in {measure} from {reference}"
    return Estimate(float(row["value"]), float(row["low"]), float(row["high"]), scale=scale, kind=kind, se=float(row["se"]),
                    **known)  # fmt: skip


def measured_table(rows: pd.DataFrame, named: Callable[[str], str] = str) -> pd.DataFrame:
    """Return the rows as words; `named` writes a measure's name."""
    shown = [
        (
            named(row.measure),
            row.model if not row.reference else f"{row.model} less {row.reference}",
            f"{format_number(row.value)} ({format_number(row.low)} to {format_number(row.high)})",
            "" if math.isnan(row.p) else format_p(row.p),
        )
        for row in rows.itertuples()
    ]
    return pd.DataFrame(shown, columns=["Measure", "Model", "Value (95% CI)", "p"])
