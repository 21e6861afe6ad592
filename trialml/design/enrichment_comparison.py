"""Ways to use a subgroup side by side: everyone, the subgroup alone, both at once, one after the other, or by an interim look."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd

from trialml.design.adaptive_enrichment import simulate_enrichment
from trialml.design.enrichment_characteristics import EnrichmentCharacteristics
from trialml.design.enrichment_design import EnrichmentDesign
from trialml.design.scenario import Scenario
from trialml.errors import AnalysisError
from trialml.result import COLOURS, Result, format_count

__all__ = ["EnrichmentComparison", "compare_enrichment"]

_SHOWN = {
    "rejected_any": ("Any rejected", "share"),
    "rejected_subgroup": ("Subgroup rejected", "share"),
    "rejected_full": ("Everyone rejected", "share"),
    "stopped_success": ("Stopped early for success", "share"),
    "selected_subgroup_alone": ("Subgroup alone goes on", "share"),
    "events": ("Events", "mean"),
    "patients": ("Patients", "mean"),
    "duration_months": ("Months", "mean"),
}


@dataclass(frozen=True, eq=False)
class EnrichmentComparison(Result):
    """Simulated designs of one family under one truth.

    Attributes
    ----------
    figures
        One row a design and measure: design, measure, label, value (a share of trials, or a mean), mc_error (Monte Carlo
        standard error), low, high (95 % limits from it).
    rules
        Each design in words.
    truth
        The assumed truth in words.
    trials, seed, alpha
        Of the simulations; alpha is one-sided and familywise.
    """

    title: ClassVar[str] = "Enrichment designs side by side"
    methods: ClassVar[str] = EnrichmentCharacteristics.methods
    references: ClassVar[tuple[str, ...]] = EnrichmentCharacteristics.references
    figure_size: ClassVar[tuple[float, float]] = (7.2, 2.8)

    figures: pd.DataFrame
    rules: Mapping[str, str]
    truth: str
    trials: int
    seed: int
    alpha: float

    def frame(self) -> pd.DataFrame:
        """Return one row a design and measure."""
        return self.figures.assign(
            rules=self.figures["design"].map(dict(self.rules)),
            trials=self.trials,
            seed=self.seed,
            alpha_one_sided=self.alpha,
        )

    def _of(self, measure: str) -> pd.DataFrame:
        return self.figures[self.figures["measure"] == measure].set_index("design")

    def text(self) -> str:
        """Return which design rejects most often and which needs least, with the Monte Carlo error."""
        power, months = self._of("rejected_any"), self._of("duration_months")
        best, quickest = str(power["value"].idxmax()), str(months["value"].idxmin())
        return (
            f"In {format_count(self.trials)} simulated trials of each of {len(power)} designs ({self.truth}), at alpha "
            f"{self.alpha:g} one-sided and familywise, {best} rejected at least one hypothesis most often "
            f"({100 * power['value'][best]:.1f} %, Monte Carlo error {100 * power['mc_error'][best]:.2f} %); {quickest} took "
            f"the least time ({months['value'][quickest]:.1f} months on average, Monte Carlo error "
            f"{months['mc_error'][quickest]:.2f})."
        )

    def table(self) -> pd.DataFrame:
        """Return one row a design: shares in percent and means, Monte Carlo errors in brackets."""
        columns: dict[str, Any] = {"Design": list(self.rules)}
        for measure, (words, kind) in _SHOWN.items():
            rows = self._of(measure).reindex(list(self.rules))
            columns[f"{words} (%)" if kind == "share" else words] = [
                _shown(value, error, kind) for value, error in zip(rows["value"], rows["mc_error"], strict=True)
            ]
        return pd.DataFrame(columns)

    def scalars(self) -> Mapping[str, float]:
        """Return the chance of rejecting anything and the size of each design, with Monte Carlo errors."""
        kept = self.figures[self.figures["measure"].isin(["rejected_any", "events", "duration_months"])]
        numbers: dict[str, float] = {}
        for row in kept.to_dict("records"):
            name = f"{str(row['design']).replace('-', '_').replace(' ', '_')}_{row['measure']}"
            numbers |= {name: float(row["value"]), f"{name}_mc_error": float(row["mc_error"])}
        return numbers

    def draw(self, figure: Any) -> None:
        """Draw the chance of rejecting each hypothesis by design, with Monte Carlo limits."""
        axes = figure.subplots()
        designs = list(self.rules)
        measures = {"rejected_subgroup": COLOURS["experimental"], "rejected_full": COLOURS["third"]}
        for place, (measure, colour) in enumerate(measures.items()):
            rows = self._of(measure).reindex(designs)
            at = [number + 0.16 * (2 * place - 1) for number in range(len(designs))]
            off = 100 * (rows["high"] - rows["value"])
            axes.errorbar(100 * rows["value"], at, xerr=off, fmt="o", color=colour, label=_SHOWN[measure][0])
        axes.set_yticks(range(len(designs)), designs)
        axes.invert_yaxis()
        axes.set(xlim=(0, 100), xlabel="Simulated trials that reject (%)")
        axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        axes.spines[["top", "right"]].set_visible(False)


def _shown(value: float, error: float, kind: str) -> str:
    if math.isnan(value):
        return "not applicable"
    return f"{100 * value:.1f} ({100 * error:.2f})" if kind == "share" else f"{value:.1f} ({error:.2f})"


def compare_enrichment(
    designs: Mapping[str, EnrichmentDesign],
    truth: Scenario,
    trials: int = 10_000,
    seed: int = 1,
    *,
    subgroup: Sequence[int] = (0,),
    patients: float | None = None,
    progress: Callable[[], None] | None = None,
) -> EnrichmentComparison:
    """Simulate several enrichment designs under one truth.

    Parameters
    ----------
    designs
        By name, of one alpha.
    truth, trials, seed, subgroup, patients, progress
        As in `simulate_enrichment`, for each design.

    Returns
    -------
    EnrichmentComparison
        Every figure with its Monte Carlo error.

    Raises
    ------
    AnalysisError
        If there is no design, their alphas differ, or a simulation is refused.
    """
    if not designs:
        raise AnalysisError("there is no enrichment design to simulate: give at least one")
    levels = sorted({design.design.alpha for design in designs.values()})
    if len(levels) > 1:
        shown = ", ".join(f"{level:g}" for level in levels)
        raise AnalysisError(f"the designs have different one-sided alphas ({shown}): compare designs of one alpha")
    found = {
        name: simulate_enrichment(design, truth, trials, seed, subgroup=subgroup, patients=patients, progress=progress)
        for name, design in designs.items()
    }
    figures = pd.concat([one.figures.assign(design=name) for name, one in found.items()], ignore_index=True)
    return EnrichmentComparison(
        figures=figures[["design", *[name for name in figures.columns if name != "design"]]],
        rules={name: design.text() for name, design in designs.items()},
        truth=f"scenario '{truth.name}'",
        trials=trials,
        seed=seed,
        alpha=levels[0],
    )
