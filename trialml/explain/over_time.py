"""What moves the risk by several times: one time hides effects that come or go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from trialml.explain.explained import Explained, ModelExplanation
from trialml.result import COLOURS, Result, format_number, plain_text

__all__ = ["ExplanationOverTime", "explanation_over_time"]

_STYLES = ("-", "--", "-.", ":")


@dataclass(frozen=True, eq=False)
class ExplanationOverTime(Result):
    """Mean absolute SHAP values of the risk by several times.

    Attributes
    ----------
    subject, unit, time_unit, background, how
        What is explained, in what, over what, and against whom and by which way, in words.
    rows
        One row a covariate and time: covariate, time, mean_absolute, share (of the time's total), mc_error (of it, at most).
    additivity_error
        The largest of all patients and times.
    n
        Patients.
    """

    title = "What moves the risk over time"
    figure_size = (7.2, 4.2)
    methods = ModelExplanation.methods
    references = ModelExplanation.references

    subject: str
    unit: str
    time_unit: str
    background: str
    how: str
    rows: pd.DataFrame
    additivity_error: float
    n: int
    mc_error: float = 0.0
    """The largest Monte Carlo standard error of one patient's value; 0 where nothing was sampled."""

    def frame(self) -> pd.DataFrame:
        """Return one row a covariate and time."""
        return self.rows.assign(scale="mean absolute SHAP value", unit=self.unit, kind="apparent")

    def at(self, time: float) -> pd.Series:
        """Return the importance of each covariate at one of the times, the largest first."""
        now = self.rows[self.rows["time"] == time]
        return now.set_index("covariate")["mean_absolute"].sort_values(ascending=False, kind="stable")

    def text(self) -> str:
        """Return which covariates move the risk most by the first and by the last time."""
        times = sorted(set(self.rows["time"]))
        ends = [times[0], times[-1]] if len(times) > 1 else times
        parts = [
            f"by {time:g} {self.time_unit} "
            + ", ".join(f"{name} ({format_number(value, 2)})" for name, value in self.at(time).head(3).items())
            for time in ends
        ]
        sampled = f", largest Monte Carlo error of a value {format_number(self.mc_error, 2)}" if self.mc_error else ""
        return (
            f"The covariates that move {self.subject} most: {'; '.join(parts)} (mean absolute SHAP values, in {self.unit}, away from the "
            f"average of {self.background}; {self.how}; {self.n:,} patients, largest error of a sum {self.additivity_error:.0e}{sampled})."
        )

    def scalars(self) -> dict[str, float]:
        """Return the largest error of a sum."""
        return {"shap_over_time_additivity_error": self.additivity_error}

    def table(self) -> pd.DataFrame:
        """Return covariates by time."""
        wide = self.rows.pivot_table(index="covariate", columns="time", values="mean_absolute")
        wide = wide.sort_values(wide.columns[-1], ascending=False, kind="stable")
        shown = {f"By {time:g} {self.time_unit}": [format_number(x, 2) for x in wide[time]] for time in wide.columns}
        return pd.DataFrame({"Covariate": wide.index, **shown})

    def draw(self, figure: Any) -> None:
        """Draw the importance of the six covariates that move the last risk most."""
        axes = figure.subplots()
        first = list(self.at(max(self.rows["time"])).head(6).index)
        colours = [COLOURS[name] for name in ("experimental", "third", "fourth", "fifth", "control", "reference")]
        for place, name in enumerate(first):
            own = self.rows[self.rows["covariate"] == name].sort_values("time")
            axes.plot(own["time"], own["mean_absolute"], marker="o", color=colours[place],
                      linestyle=_STYLES[place % 4], label=plain_text(name))  # fmt: skip
        axes.set_xlabel(f"Time ({self.time_unit})")
        axes.set_ylabel(f"Mean |SHAP| ({self.unit})")
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False, fontsize=8)


def explanation_over_time(
    explained: Explained,
    times: Sequence[float],
    *,
    labels: dict[str, str],
    subject: str,
    time_unit: str,
    background: str,
) -> ExplanationOverTime:
    """Summarise SHAP values whose outputs are risks by several times.

    Parameters
    ----------
    explained
        With one output a time.
    times
        Ascending.
    labels, subject, time_unit, background
        Words.
    """
    n = len(explained.values)
    mean = np.abs(explained.values).mean(axis=0)
    # The mean of absolute values moves by no more than the mean of their errors does.
    error = np.sqrt((explained.mc_error**2).sum(axis=0)) / n
    total = np.where(mean.sum(axis=0) > 0, mean.sum(axis=0), 1.0)
    rows = pd.DataFrame(
        [
            (labels.get(name, name), float(time), float(mean[j, k]), float(mean[j, k] / total[k]), float(error[j, k]))
            for j, name in enumerate(explained.names)
            for k, time in enumerate(times)
        ],
        columns=["covariate", "time", "mean_absolute", "share", "mc_error"],
    )
    largest = float(explained.mc_error.max(initial=0.0))
    return ExplanationOverTime(
        subject, explained.unit, time_unit, background, explained.how, rows, explained.error, n, largest
    )
