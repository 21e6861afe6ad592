"""Would another sample of such patients have led to the same predictions, and to the same model?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.disclosure import outward_range
from trialml.errors import AnalysisError, DataError
from trialml.result import COLOURS, Estimate, Result, format_count, format_number
from trialml.validation.endpoint_measures import Observed
from trialml.validation.measured import SHORT
from trialml.validation.observed_survival import ObservedSurvival
from trialml.validation.optimism import Fit, bootstrap_rows, fitted_samples

__all__ = ["Stability", "prediction_stability", "stability_of"]

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]
POINTS = 40
"""Of the calibration curves, between the outward-rounded 1st and 99th percentiles of the original predictions."""
SHORT_HERE = {"MAPE": "mape", "calibration slope": "slope"}


@dataclass(frozen=True, eq=False)
class Stability(Result):
    """How much risks and calibration move when the learning is repeated in bootstrap samples."""

    title = "Stability of the risk model"
    figure_size = (10.5, 3.6)
    methods = (
        "The whole of the learning was repeated in bootstrap samples, and each of these models predicted the original patients. A "
        "patient's instability is the mean absolute difference of the bootstrap models' risks from the original model's; its mean "
        "over patients is the mean absolute prediction error (MAPE). Calibration instability is the spread of the bootstrap models' "
        "calibration slopes and observed over expected risks in the original patients, and the range of their smooth calibration curves "
        "there, each read between the 1st and 99th percentiles of its own model's predictions."
    )
    references = (
        "Riley RD, Collins GS. Stability of clinical prediction models developed using statistical or machine learning methods. "
        "Biom J 2023;65:2200302.",
    )

    by_risk: pd.DataFrame
    """One row a tenth of the original risk: risk (mean of the original model's), low, high (means of the patients' 2.5 and 97.5
    percentiles over the bootstrap models), instability (mean), n."""
    summaries: pd.DataFrame
    """Columns measure (``MAPE``, ``calibration slope``, ``observed over expected`` or, of a continuous endpoint, ``observed less
    predicted mean``), value (mean over the bootstrap models), low, high
    (2.5 and 97.5 percentiles over them), mc_error (of value)."""
    chosen: pd.DataFrame
    """Columns model, share (of the bootstrap samples that choose it), mc_error; empty where nothing was chosen."""
    original_choice: str
    largest: float
    """The 95th percentile of the patients' instability."""
    horizon: float | None
    """Where risks are read; None where there is no follow-up."""
    unit: str
    bootstraps: int
    failed: int
    n: int
    events: int
    predicted: str = "risk"
    curves: pd.DataFrame = field(default_factory=pd.DataFrame)
    """The smooth calibration curves in the original patients: predicted, original (of the model itself, apparent), middle, low, high
    (median, 2.5 and 97.5 percentiles of the bootstrap models' curves), models (that reach so far); empty where there are too
    few events for a curve."""

    def frame(self) -> pd.DataFrame:
        """Return summaries, tenths of risk, choices and calibration curves under each other, told apart by `part`."""
        parts = {"summary": self.summaries, "tenth of risk": self.by_risk, "choice": self.chosen, "curve": self.curves}
        return pd.concat([rows.assign(part=name) for name, rows in parts.items() if len(rows)], ignore_index=True)

    def estimate(self, measure: str) -> Estimate:
        """Return the mean over bootstrap models with the range that 95 % of them span.

        Raises
        ------
        DataError
            If `measure` is not one of `summaries`.
        """
        found = self.summaries[self.summaries["measure"] == measure]
        if found.empty:
            raise DataError(f"there is no measure '{measure}': use one of {', '.join(self.summaries['measure'])}")
        row = found.iloc[0]
        return Estimate(float(row["value"]), float(row["low"]), float(row["high"]), scale=f"{measure}, range of bootstrap models",
                        kind="simulated", n=self.n, events=self.events, method=f"{self.bootstraps} bootstrap models",
                        mc_error=float(row["mc_error"]))  # fmt: skip

    def text(self) -> str:
        """Return how far risks move, how far calibration does, and how often the model is chosen again."""
        mape, slope = self.summaries.iloc[0], self.summaries.iloc[1]
        text = (
            f"Over {format_count(self.bootstraps)} bootstrap models the {self._named} of a patient moves by "
            f"{self._amount(mape['value'])} on average (MAPE; 95 % of the models between {self._size(mape['low'])} and "
            f"{self._size(mape['high'])}), for one patient in twenty by more than {self._size(self.largest)}. In the "
            f"{format_count(self.n)} original patients their calibration slopes range from "
            f"{format_number(slope['low'])} to {format_number(slope['high'])} (95 % of them)."
        )
        for row in self.chosen[self.chosen["model"] == self.original_choice].itertuples():
            text += (
                f" {row.model}, chosen in the original patients, is chosen again in {format_number(100 * row.share)} % of the samples "
                f"(Monte Carlo error {format_number(100 * row.mc_error, 2)} points)."
            )
        return text

    @property
    def _named(self) -> str:
        """What is predicted, with its horizon."""
        return self.predicted + (f" by {self.horizon:g} {self.unit}" if self.horizon is not None else "")

    def _size(self, change: float) -> str:
        return format_number(100 * change if self.predicted == "risk" else change)

    def _amount(self, change: float) -> str:
        return f"{self._size(change)} {'percentage points' if self.predicted == 'risk' else self.unit}".rstrip()

    def scalars(self) -> dict[str, float]:
        """Return MAPE, calibration slope and O/E of the bootstrap models with their ranges, and the share chosen again."""
        numbers: dict[str, float] = {}
        for row in self.summaries.itertuples():
            key = f"stability_{SHORT_HERE.get(row.measure) or SHORT[row.measure]}"
            numbers |= {key: row.value, f"{key}_low": row.low, f"{key}_high": row.high, f"{key}_mc_error": row.mc_error}
        again = self.chosen[self.chosen["model"] == self.original_choice]
        return numbers if again.empty else numbers | {"stability_chosen_again": float(again["share"].iloc[0])}

    def table(self) -> pd.DataFrame:
        """Return the summaries as words."""
        rows = self.summaries
        shown = [
            f"{format_number(r.value)} ({format_number(r.low)} to {format_number(r.high)})" for r in rows.itertuples()
        ]
        return pd.DataFrame({"Measure": rows["measure"], "Mean (range of 95 % of the bootstrap models)": shown})

    def draw(self, figure: Any) -> None:
        """Draw the bootstrap models' predictions against the original ones, the instability, and the calibration curves."""
        left, middle, *last = figure.subplots(1, 2 + (len(self.curves) > 0))
        rows, colour, grey = self.by_risk, COLOURS["experimental"], COLOURS["reference"]
        left.fill_between(rows["risk"], rows["low"], rows["high"], color=colour, alpha=0.2, linewidth=0)
        left.plot(rows["risk"], rows["risk"], color=grey, linewidth=1)
        left.set_ylabel(f"{self.predicted.capitalize()} from bootstrap models (95 % of them)")
        middle.plot(rows["risk"], rows["instability"], marker="o", color=colour)
        middle.set_ylabel(f"Mean absolute difference of {self.predicted}")
        for axes in (left, middle):
            axes.set_xlabel(f"{self._named.capitalize()}, tenths of patients")
        for axes in last:
            own = self.curves
            axes.plot(own["predicted"], own["predicted"], color=grey, linestyle="--", linewidth=1, label="perfect")
            axes.fill_between(own["predicted"], own["low"], own["high"], color=colour, alpha=0.2, linewidth=0,
                              label="95 % of bootstrap models")  # fmt: skip
            axes.plot(own["predicted"], own["original"], color=colour, label="the model itself")
            axes.set_xlabel(f"Predicted {self._named}")
            axes.set_ylabel("Observed in the original patients")
            axes.legend(frameon=False, fontsize=8)


class _Bootstrapped(NamedTuple):
    """One bootstrap model in the original patients."""

    value: Floats
    slope: float
    balance: float
    choice: str
    curve: Floats


def prediction_stability(
    fit: Fit,
    X: pd.DataFrame,
    time: Any,
    event: Any,
    *,
    horizon: float,
    unit: str,
    competing: Any = None,
    **settings: Any,
) -> Stability:
    """Repeat the learning of a risk of a time to event in bootstrap samples: `stability_of`.

    Parameters
    ----------
    fit, X, settings
        As there.
    time, event, horizon, unit, competing
        As in `ObservedSurvival`.
    """
    observed = ObservedSurvival(time, event, horizon=horizon, unit=unit, competing=competing)
    return stability_of(fit, X, observed, **settings)


def stability_of(
    fit: Callable[[Rows], Any],
    X: pd.DataFrame,
    observed: Observed,
    *,
    bootstraps: int = 200,
    seed: int = 1,
    groups: Any = None,
    choice: Callable[[Any], str] | None = None,
    workers: int = 1,
    advance: Callable[[], None] = lambda: None,
) -> Stability:
    """Repeat the learning in bootstrap samples and see how far the original patients' predictions move.

    Parameters
    ----------
    fit, X, observed, groups
        As in `optimism_of`.
    bootstraps, seed
        Samples, and the seed from which each has its own.
    choice
        Reads from a fitted model the name of what was chosen on the way to it; None where nothing is.
    workers
        Processes; the numbers do not depend on it.
    advance
        Called after each sample.

    Returns
    -------
    Stability
        ``MAPE = mean over patients and samples of |prediction of the bootstrap model - prediction of the original model|``.

    Raises
    ------
    AnalysisError
        If the model cannot be fitted to more than a tenth of the samples, or too few are followed beyond the horizon.
    """
    n, events = observed.n, observed.events
    original = fit(np.arange(n))
    made = observed.predict(original, X)
    grid = np.linspace(*outward_range(made.value), POINTS)

    def one(rows: Rows) -> _Bootstrapped | None:
        try:
            model = fit(rows)
        except AnalysisError:
            return None
        own = observed.predict(model, X)
        named = choice(model) if choice else ""
        return _Bootstrapped(own.value, observed.slope(own), observed.in_the_large(own.value), named,
                             _curve(observed, own.value, grid))  # fmt: skip

    kept, failed = fitted_samples(one, bootstrap_rows(n, bootstraps, seed, groups), workers, advance)
    values = np.stack([answer.value for answer in kept])
    apart = np.abs(values - made.value)
    measured = {
        "MAPE": apart.mean(axis=1),
        "calibration slope": np.array([answer.slope for answer in kept]),
        observed.balance: np.array([answer.balance for answer in kept]),
    }
    instability = apart.mean(axis=0)
    return Stability(
        _by_risk(made.value, values, instability), _summaries(measured), _shares([answer.choice for answer in kept] if choice else []),
        choice(original) if choice else "", float(np.quantile(instability, 0.95)), observed.horizon, observed.unit, len(kept),
        failed, n, events, observed.predicted, _band(grid, _curve(observed, made.value, grid), [one.curve for one in kept]),
    )  # fmt: skip


def _curve(observed: Observed, value: Floats, grid: Floats) -> Floats:
    """Return a model's calibration curve, NaN beyond its own predictions, or everywhere where there is none."""
    try:
        found = observed.curve(value, grid)
    except AnalysisError:
        return np.full(grid.size, np.nan)
    low, high = np.quantile(value, (0.01, 0.99))
    return np.where((grid >= low) & (grid <= high), found, np.nan)


def _band(grid: Floats, original: Floats, curves: list[Floats]) -> pd.DataFrame:
    """Return the range of the curves wherever the original model and at least half of the others have one."""
    matrix = np.stack(curves)
    models = np.isfinite(matrix).sum(axis=0)
    shown = np.isfinite(original) & (2 * models >= len(curves))
    if not shown.any():
        return pd.DataFrame()
    low, middle, high = np.nanquantile(matrix[:, shown], (0.025, 0.5, 0.975), axis=0)
    columns = {
        "predicted": grid[shown],
        "original": original[shown],
        "middle": middle,
        "low": low,
        "high": high,
        "models": models[shown],
    }
    return pd.DataFrame(columns)


def _by_risk(risk: Floats, risks: Floats, instability: Floats) -> pd.DataFrame:
    low, high = np.quantile(risks, (0.025, 0.975), axis=0)
    columns = {"risk": risk, "low": low, "high": high, "instability": instability}
    tenths = np.array_split(np.argsort(risk, kind="stable"), 10)
    rows = [{name: float(values[own].mean()) for name, values in columns.items()} | {"n": len(own)} for own in tenths]
    return pd.DataFrame(rows)


def _summaries(measured: dict[str, Floats]) -> pd.DataFrame:
    rows = [
        (name, values.mean(), *np.quantile(values, (0.025, 0.975)), values.std(ddof=1) / np.sqrt(values.size))
        for name, values in measured.items()
    ]
    return pd.DataFrame(rows, columns=["measure", "value", "low", "high", "mc_error"])


def _shares(choices: list[str]) -> pd.DataFrame:
    names, counts = np.unique(np.asarray(choices, dtype=np.str_), return_counts=True)
    share = counts / max(len(choices), 1)
    mc_error = np.sqrt(share * (1 - share) / max(len(choices), 1))
    return pd.DataFrame({"model": names.tolist(), "share": share, "mc_error": mc_error})
