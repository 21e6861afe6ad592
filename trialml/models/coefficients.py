"""What a linear model learned, as a table: one row a column of its design."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.models.encode import CovariateEncoder
from trialml.result import Result, format_count, format_number

__all__ = ["Coefficients", "coefficients_of"]


@dataclass(frozen=True, eq=False)
class Coefficients(Result):
    """Coefficients for one standard deviation, and how much information they rest on."""

    title = "The model"

    subject: str
    """What the model predicts, in words."""
    effect: str
    """What a coefficient is, in words."""
    ratio: bool
    """Whether the coefficients are logarithms of ratios."""
    rows: pd.DataFrame
    """Columns covariate, codes, mean, sd, coefficient."""
    n: int
    events: int
    penalty: str
    by: str = ""
    """By when the events happened, where later ones carry no information: ``"by 730 days"``."""
    ratio_name: str = "Hazard ratio"
    """What the ratios are."""
    counted: str = "events"
    """What informs the model: ``"events"``, or of a continuous endpoint ``"patients"``; `events` counts it."""

    def heading(self) -> str:
        """Return the title with what is predicted."""
        return f"The model of {self.subject}"

    @property
    def events_per_parameter(self) -> float:
        """Events (of a continuous endpoint patients) for each coefficient, before the penalty."""
        return self.events / max(len(self.rows), 1)

    def frame(self) -> pd.DataFrame:
        """Return one row a coefficient."""
        return self.rows

    def text(self) -> str:
        """Return the size of the model and of the data."""
        events = f" with {format_count(self.events)} events" + (f" {self.by}" if self.by else "")
        return (
            f"{self.effect} Learned from {format_count(self.n)} patients{events if self.counted == 'events' else ''}: "
            f"{format_number(self.events_per_parameter)} {self.counted} for each of {len(self.rows)} coefficients. {self.penalty} "
            "Shrunk coefficients carry no confidence interval; how well the model predicts is in the chapter Validation."
        )

    def scalars(self) -> dict[str, float]:
        """Return the events (or patients) that inform the model, those per parameter and the number of coefficients."""
        return {
            self.counted: float(self.events),
            f"{self.counted}_per_parameter": self.events_per_parameter,
            "coefficients": float(len(self.rows)),
        }

    def table(self) -> pd.DataFrame:
        """Return the coefficients for reading, ratios as ratios."""
        shown = [np.exp(c) if self.ratio else c for c in self.rows["coefficient"]]
        head = f"{self.ratio_name} for one SD" if self.ratio else "Change for one SD"
        columns = {"Covariate": self.rows["covariate"]}
        if (self.rows["codes"] != "one SD more").any():
            columns["Codes"] = self.rows["codes"]
        return pd.DataFrame(
            {
                **columns,
                "Mean": [format_number(value) for value in self.rows["mean"]],
                "SD": [format_number(value) for value in self.rows["sd"]],
                head: [format_number(float(value)) for value in shown],
            }
        )


def coefficients_of(
    encoder: CovariateEncoder,
    coefficients: NDArray[np.float64],
    *,
    labels: dict[str, str],
    subject: str,
    effect: str,
    ratio: bool,
    n: int,
    events: int,
    penalty: str,
    by: str = "",
    ratio_name: str = "Hazard ratio",
    counted: str = "events",
) -> Coefficients:
    """Put a fitted linear model into a table, the largest coefficient first.

    Parameters
    ----------
    encoder, coefficients
        The fitted encoder and the k coefficients of its columns.
    labels
        Words by covariate.
    subject, effect, ratio
        What is predicted, what a coefficient is, and whether it is the logarithm of a ratio.
    n, events
        What the model was learned from: of the events, those that inform it.
    penalty
        How it was shrunk, as a sentence.
    by
        By when the events happened, if not by the end of follow-up.
    ratio_name
        What the ratios are.
    counted
        What `events` counts: ``"events"`` or ``"patients"``.

    Returns
    -------
    Coefficients
        One row a column of the design; columns that code a category or a missing value say so.
    """
    names = [labels.get(name, name) for name, _, _ in encoder.columns_]
    codes = ["one SD more" if what == "value" else what for _, what, _ in encoder.columns_]
    frame = pd.DataFrame(
        {"covariate": names, "codes": codes, "mean": encoder.centre_, "sd": encoder.scale_, "coefficient": coefficients}
    )
    frame = frame.sort_values("coefficient", key=lambda column: -column.abs(), kind="stable").reset_index(drop=True)
    return Coefficients(subject, effect, ratio, frame, n, events, penalty, by, ratio_name, counted)
