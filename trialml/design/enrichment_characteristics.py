"""What simulated enrichment trials come to: rejections, selections, size and time, each with its Monte Carlo error."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.design.enrichment_design import EnrichmentDesign
from trialml.errors import AnalysisError
from trialml.result import Z95, Estimate, Result, format_count, format_number

__all__ = ["EnrichmentCharacteristics", "characteristics_of", "sums_of"]

Vector = NDArray[np.float64]

_MEASURES = {
    "rejected_any": "At least one population rejected",
    "rejected_subgroup": "Subgroup rejected",
    "rejected_full": "Full population rejected",
    "rejected_interim_subgroup": "Subgroup rejected at the interim analysis",
    "rejected_interim_full": "Full population rejected at the interim analysis",
    "false_rejection": "A true hypothesis rejected (familywise error)",
    "stopped_success": "Stopped for success at the interim analysis",
    "stopped_futility": "Stopped for futility at the interim analysis",
    "selected_subgroup_alone": "Subgroup alone goes on",
    "selected_full_alone": "Full population alone goes on",
    "selected_both": "Both go on",
    "short": "Fewer events than planned at the end of two stages",
    "events": "Events",
    "events_subgroup": "Events in the subgroup",
    "patients": "Patients enrolled",
    "patients_subgroup": "Patients of the subgroup enrolled",
    "interim_months": "Months to the interim analysis",
    "duration_months": "Months in all",
}
"""The measures by name: rates first, then means."""

_MEANS = ("events", "events_subgroup", "patients", "patients_subgroup", "interim_months", "duration_months")


@dataclass(frozen=True, eq=False)
class EnrichmentCharacteristics(Result):
    """Simulated operating characteristics of an enrichment design under one truth.

    Attributes
    ----------
    figures
        One row a measure: measure (a key), label, value (a share of trials, or a mean), mc_error (Monte Carlo standard
        error), low, high (95 % limits from it).
    rules, truth
        Design and assumed truth in words.
    trials, seed
        Of the simulation.
    alpha
        One-sided, familywise.
    patientwise
        Whether patients were simulated, not test statistics.
    """

    title: ClassVar[str] = "Enrichment design: simulated operating characteristics"
    methods: ClassVar[str] = (
        "Enrichment trials were simulated with groups of random size, staggered entry and analyses at numbers of "
        "events. Stage-wise log-rank statistics (the full population's stratified by the subgroup) were combined by the "
        "inverse normal method with weights fixed in advance, and hypotheses tested by the closure principle."
    )
    references: ClassVar[tuple[str, ...]] = (
        "Jenkins M, Stone A, Jennison C. An adaptive seamless phase II/III design for oncology trials with "
        "subpopulation selection using correlated survival endpoints. Pharm Stat 2011;10:347-356.",
        "Mehta C, Schaefer H, Daniel H, Irle S. Biomarker driven population enrichment for adaptive oncology trials with "
        "time to event endpoints. Stat Med 2014;33:4515-4531.",
        "Wassmer G, Brannath W. Group Sequential and Confirmatory Adaptive Designs in Clinical Trials. Springer; 2016.",
    )

    figures: pd.DataFrame
    rules: str
    truth: str
    trials: int
    seed: int
    alpha: float
    patientwise: bool

    def estimate(self, measure: str) -> Estimate:
        """Return a measure with its Monte Carlo error and limits.

        Raises
        ------
        AnalysisError
            If there is no measure of that name.
        """
        rows = self.figures[self.figures["measure"] == measure]
        if len(rows) == 0:
            shown = ", ".join(self.figures["measure"])
            raise AnalysisError(f"the simulation has no measure {measure!r}: choose one of {shown}")
        row = rows.iloc[0]
        return Estimate(
            float(row["value"]), float(row["low"]), float(row["high"]), scale=str(row["label"]), kind="simulated",
            se=float(row["mc_error"]), n=self.trials, method="simulation", mc_error=float(row["mc_error"]),
        )  # fmt: skip

    def frame(self) -> pd.DataFrame:
        """Return one row a measure."""
        return self.figures.assign(trials=self.trials, seed=self.seed, alpha_one_sided=self.alpha)

    def table(self) -> pd.DataFrame:
        """Return the measures with their Monte Carlo errors."""
        mean = [name in _MEANS for name in self.figures["measure"]]

        def shown(column: str) -> list[str]:
            values = zip(self.figures[column], mean, strict=True)
            return [format_number(value) if is_mean else f"{100 * value:.2f} %" for value, is_mean in values]

        return pd.DataFrame(
            {"Measure": self.figures["label"], "Value": shown("value"), "Monte Carlo error": shown("mc_error")}
        )

    def text(self) -> str:
        """Return the chance of success and the size in words."""
        rejected = self.estimate("rejected_any")
        words = (
            f"In {format_count(self.trials)} simulated trials ({self.rules}; {self.truth}) at least one population was "
            f"rejected in {100 * rejected.value:.1f} % (Monte Carlo error {100 * (rejected.mc_error or 0.0):.2f} %), the "
            f"subgroup in {100 * self.estimate('rejected_subgroup').value:.1f} % and the full population in "
            f"{100 * self.estimate('rejected_full').value:.1f} %, after {format_number(self.estimate('events').value)} "
            "events on average"
        )
        return f"{words}."

    def scalars(self) -> Mapping[str, float]:
        """Return each measure with its Monte Carlo error."""
        numbers: dict[str, float] = {}
        for row in self.figures.to_dict("records"):
            numbers |= {row["measure"]: float(row["value"]), f"{row['measure']}_mc_error": float(row["mc_error"])}
        return numbers


def _short(column: Mapping[str, Vector], selected: NDArray[np.int64], design: EnrichmentDesign) -> Vector:
    """Return whether a second stage ended at the last event; NaN for stages of patients, whose events are not told apart."""
    if design.stages == "patients":
        return np.full(selected.size, np.nan)
    gained_subgroup = column["events_subgroup"] - column["interim_events_subgroup"]
    gained = gained_subgroup + column["events_rest"] - column["interim_events_rest"]
    alone = gained_subgroup < design.alone_events - 1e-6
    return np.asarray(np.where(selected & 2 > 0, gained < design.further_events - 1e-6, alone) * (column["stop"] == 0))


def sums_of(rows: Vector, null: NDArray[np.bool_], design: EnrichmentDesign) -> tuple[Vector, Vector]:
    """Return sums and sums of squares of the measures over trials."""
    from trialml.design.enrichment_rules import COLUMNS

    column = dict(zip(COLUMNS, rows.T, strict=True))
    selected, interim = column["selected"].astype(int), column["rejected_interim"].astype(int)
    rejected, goes_on = column["rejected"].astype(int), column["stop"] == 0
    true = int(null[0]) + 2 * int(null[1])
    values = np.array(
        [
            rejected > 0, rejected & 1 > 0, rejected & 2 > 0, interim & 1 > 0, interim & 2 > 0, rejected & true > 0,
            column["stop"] == 1, column["stop"] == 2, goes_on & (selected == 1), goes_on & (selected == 2),
            goes_on & (selected == 3), _short(column, selected, design),
            column["events_subgroup"] + column["events_rest"], column["events_subgroup"],
            column["patients_subgroup"] + column["patients_rest"], column["patients_subgroup"],
            column["interim_month"], column["end_month"],
        ],
        dtype=float,
    )  # fmt: skip
    return values.sum(axis=1), (values * values).sum(axis=1)


def characteristics_of(
    design: EnrichmentDesign,
    truth: str,
    trials: int,
    seed: int,
    sums: Sequence[tuple[Vector, Vector]],
    *,
    patientwise: bool,
) -> EnrichmentCharacteristics:
    """Return the result of parts that `sums_of` summed; measures that were not simulated (NaN) are left out."""
    mean = np.sum([one for one, _ in sums], axis=0) / trials
    square = np.sum([one for _, one in sums], axis=0) / trials
    error = np.sqrt(np.maximum(square - mean * mean, 0.0) / max(trials - 1, 1))
    rows: list[dict[str, Any]] = [
        {
            "measure": name,
            "label": label,
            "value": value,
            "mc_error": se,
            "low": value - Z95 * se,
            "high": value + Z95 * se,
        }
        for (name, label), value, se in zip(_MEASURES.items(), mean, error, strict=True)
        if not math.isnan(value)
    ]
    return EnrichmentCharacteristics(
        figures=pd.DataFrame(rows), rules=design.text(), truth=truth, trials=trials, seed=seed, alpha=design.design.alpha,
        patientwise=patientwise,
    )  # fmt: skip
