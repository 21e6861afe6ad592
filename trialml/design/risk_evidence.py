"""What a trial and its risk model say of the next trial's patients: the spread of risks, and how far it can be trusted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.design.refusals import require_between
from trialml.design.response_evidence import PlannedEndpoint, Validation
from trialml.errors import AnalysisError
from trialml.result import Estimate, Result, format_count

__all__ = ["NO_NUMBER", "RiskEvidence", "binned_risks"]

Vector = NDArray[np.float64]

NO_NUMBER = Estimate(math.nan)
"""Where an endpoint has no such number."""
MOST_BINS = 20
FEWEST_A_BIN = 11
"""A bin is the mean of at least so many patients: no patient's risk is kept."""
_UNSEEN = ("corrected", "crossfit", "external")


@dataclass(frozen=True, eq=False)
class RiskEvidence(Result):
    """What a validated risk model carries into a trial design; performance is of patients not seen, never apparent.

    Attributes
    ----------
    endpoint
        Of which the risk is.
    bins
        Columns ``risk`` (mean predicted risk under control of a bin of patients) and ``share``, ascending; empty of a continuous endpoint.
    observed
        The risk under control that the trial saw by the horizon.
    concordance
        C or AUC.
    slope
        Calibration slope, on the scale of ``log(-log(1 - risk))`` of a time to event, of the log odds of a binary endpoint.
    r_squared
        Share of the variance within arms that the model explains, of a continuous endpoint.
    validation
        Whether the model passed.
    n, events
        What the performance rests on.
    model_name, model_version, trial, data_sha256
        What the numbers rest on.

    Raises
    ------
    AnalysisError
        If a number of the performance is apparent, or outside its range.
    """

    title: ClassVar[str] = "What the risk model carries into the next trial"
    methods: ClassVar[str] = (
        "Risks under control of patients not used for fitting were put into bins; their spread about the mean is multiplied by the calibration slope and "
        "their mean moved to the risk observed. Apparent performance is not used."
    )

    endpoint: PlannedEndpoint
    bins: pd.DataFrame
    observed: Estimate = NO_NUMBER
    concordance: Estimate = NO_NUMBER
    slope: Estimate = NO_NUMBER
    r_squared: Estimate = NO_NUMBER
    validation: Validation = field(default=Validation(passed=True))
    n: float = math.nan
    events: float = math.nan
    model_name: str = ""
    model_version: str = ""
    trial: str = ""
    data_sha256: str = ""

    def __post_init__(self) -> None:
        for name in ("concordance", "slope", "r_squared"):
            estimate: Estimate = getattr(self, name)
            if not math.isnan(estimate.value) and estimate.kind not in _UNSEEN:
                raise AnalysisError(
                    f"the {name.replace('_', ' ')} of the risk model is {estimate.kind}: a trial is planned with corrected, cross-fitted or external "
                    "performance alone, since apparent performance promises too much"
                )
        if self.endpoint.kind == "continuous":
            return
        if self.bins.empty:
            raise AnalysisError("the risk model has no risks: give bins with columns risk and share")
        for risk in self.bins["risk"]:
            require_between("a predicted risk", float(risk), 0.0, 1.0)
        require_between("the observed risk under control", self.observed.value, 0.0, 1.0)
        if abs(float(self.bins["share"].sum()) - 1) > 1e-6 or (self.bins["share"] <= 0).any():
            raise AnalysisError(
                f"the shares of the bins of risk sum to {self.bins['share'].sum():g}: give shares above 0 that sum to 1"
            )

    def replaced(self, **changes: object) -> RiskEvidence:
        """Return this evidence with some fields changed, checked anew."""
        return replace(self, **changes)  # type: ignore[arg-type]

    def frame(self) -> pd.DataFrame:
        """Return the bins with what the model's performance is."""
        bins = self.bins if len(self.bins) else pd.DataFrame({"risk": [math.nan], "share": [1.0]})
        named = {
            "observed": self.observed,
            "concordance": self.concordance,
            "slope": self.slope,
            "r_squared": self.r_squared,
        }
        columns = {
            f"{name}{side}": getattr(one, side[1:] or "value")
            for name, one in named.items()
            for side in ("", "_low", "_high")
        }
        return bins.assign(**columns)

    def table(self) -> None:
        """The text says it all."""

    def text(self) -> str:
        """Return the performance that a design may use."""
        if self.endpoint.kind == "continuous":
            return f"Of the variance of {self.endpoint.name} within arms the model explains {self.r_squared.text()} (R squared, patients not seen)."
        name = "AUC" if self.endpoint.kind == "binary" else "C"
        passed = "passed" if self.validation.passed else f"did not pass ({', '.join(self.validation.failed)})"
        return (
            f"Of patients not used for fitting the risk model has {name} {self.concordance.text()} and a calibration slope under control of "
            f"{self.slope.text()}; the risk observed under control is {self.observed.text()} ({format_count(self.events)} events). The model "
            f"{passed} its validation."
        )

    def scalars(self) -> Mapping[str, float]:
        """Return the performance that a design may use."""
        named = {"concordance": self.concordance, "slope": self.slope, "r_squared": self.r_squared}
        return {f"design_{name}": one.value for name, one in named.items() if not math.isnan(one.value)}


def binned_risks(risk: Vector) -> pd.DataFrame:
    """Return the means of bins of equal numbers of patients, at most 20 and of at least 11 patients each.

    Parameters
    ----------
    risk
        Predicted risks, shape (n,).

    Returns
    -------
    DataFrame
        Columns risk and share, ascending.

    Raises
    ------
    AnalysisError
        If there are fewer than 22 patients.
    """
    count = min(MOST_BINS, len(risk) // FEWEST_A_BIN)
    if count < 2:
        raise AnalysisError(
            f"{len(risk)} patients are too few for the spread of their risks: at least {2 * FEWEST_A_BIN} are needed"
        )
    parts = np.array_split(np.sort(risk), count)
    return pd.DataFrame(
        {"risk": [float(part.mean()) for part in parts], "share": [len(part) / len(risk) for part in parts]}
    )
