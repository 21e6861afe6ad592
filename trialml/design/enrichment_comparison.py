"""Enrichment designs side by side under several truths: all comers, enriched, hierarchical, co-primary, adaptive."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd

from trialml.design.adaptive_enrichment import simulate_enrichment
from trialml.design.enrichment_characteristics import EnrichmentCharacteristics
from trialml.design.enrichment_design import EnrichmentDesign
from trialml.design.scenario import Scenario
from trialml.design.trial_plan import TrialPlan
from trialml.errors import AnalysisError
from trialml.result import COLOURS, Result, format_count, format_number, plain_text

__all__ = ["EnrichmentComparison", "compare_enrichment"]

_SHOWN = (
    "rejected_any", "rejected_subgroup", "rejected_full", "false_rejection", "stopped_success", "stopped_futility",
    "selected_subgroup_alone", "events", "patients", "duration_months",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class EnrichmentComparison(Result):
    """Simulated operating characteristics of several enrichment designs under several truths.

    Attributes
    ----------
    rows
        One row a design and truth: design, truth, and each measure with its Monte Carlo error (``<measure>_mc_error``).
    rules
        The designs in words, by name.
    trials, seed
        Of each simulation.
    alpha
        One-sided, familywise.
    """

    title: ClassVar[str] = "Enrichment designs side by side"
    methods: ClassVar[str] = EnrichmentCharacteristics.methods
    references: ClassVar[tuple[str, ...]] = EnrichmentCharacteristics.references

    rows: pd.DataFrame
    rules: Mapping[str, str]
    trials: int
    seed: int
    alpha: float

    def frame(self) -> pd.DataFrame:
        """Return one row a design and truth, with the rules in words."""
        rules = [self.rules[name] for name in self.rows["design"]]
        return self.rows.assign(rules=rules, trials=self.trials, seed=self.seed, alpha_one_sided=self.alpha)

    def table(self) -> pd.DataFrame:
        """Return power, events, patients and months as a reader sees them."""
        rows = self.rows

        def percent(name: str) -> list[str]:
            return [f"{100 * value:.1f} %" for value in rows[name]]

        return pd.DataFrame(
            {
                "Truth": rows["truth"],
                "Design": rows["design"],
                "Any rejected (Monte Carlo error)": [
                    f"{100 * value:.1f} % ({100 * error:.1f} %)"
                    for value, error in zip(rows["rejected_any"], rows["rejected_any_mc_error"], strict=True)
                ],
                "Subgroup": percent("rejected_subgroup"),
                "Full population": percent("rejected_full"),
                "Subgroup alone goes on": percent("selected_subgroup_alone"),
                "Events": [format_count(value) for value in rows["events"]],
                "Enrolled": [format_count(value) for value in rows["patients"]],
                "Months": [format_number(value) for value in rows["duration_months"]],
            }
        )

    def text(self) -> str:
        """Return for each truth the design that rejects most often, and where nothing is true the range of false rejections."""
        said = []
        for truth in dict.fromkeys(self.rows["truth"]):
            here = self.rows[self.rows["truth"] == truth]
            if (here["rejected_any"] > 0).all() and (here["false_rejection"] == here["rejected_any"]).all():
                errors = 100 * here["false_rejection"]
                said.append(
                    f"{truth}, where every rejection is false: {errors.min():.1f} to {errors.max():.1f} % rejected"
                )
                continue
            best = here.loc[here["rejected_any"].idxmax()]
            said.append(
                f"{truth}: {best['design']} with {100 * best['rejected_any']:.1f} % "
                f"(Monte Carlo error {100 * best['rejected_any_mc_error']:.1f} %)"
            )
        return (
            f"Of {len(self.rules)} enrichment designs (alpha {self.alpha:g} one-sided, familywise; "
            f"{format_count(self.trials)} simulated trials each) the one that most often rejects a hypothesis is, under "
            f"{'; '.join(said)}."
        )

    def scalars(self) -> Mapping[str, float]:
        """Return the probability of a rejection by design and truth."""
        numbers: dict[str, float] = {}
        for row in self.rows.to_dict("records"):
            name = "_".join(
                "".join(c if c.isalnum() else " " for c in f"{row['design']} {row['truth']}".lower()).split()
            )
            numbers |= {name: float(row["rejected_any"]), f"{name}_mc_error": float(row["rejected_any_mc_error"])}
        return numbers

    def draw(self, figure: Any) -> None:
        """Draw the probability of a rejection, one line a design and truth, split by what is rejected."""
        axes = figure.subplots()
        records = self.rows.to_dict("records")
        for place, row in enumerate(records):
            for name, colour, shift in (("rejected_subgroup", "third", -0.18), ("rejected_full", "experimental", 0.18)):
                axes.barh(place + shift, 100 * row[name], height=0.32, color=COLOURS[colour])
            axes.plot(100 * row["rejected_any"], place, marker="|", markersize=14, color="black", linestyle="none")
        names = [plain_text(f"{row['truth']}, {row['design']}") for row in records]
        axes.set_yticks(range(len(records)), names, fontsize=7.5)
        axes.set_ylim(len(records) - 0.4, -0.6)
        axes.set_xlabel("Rejected, % of trials (subgroup above, full population below; mark: any)")


def compare_enrichment(
    designs: Mapping[str, EnrichmentDesign],
    truths: Mapping[str, Scenario | TrialPlan],
    trials: int = 10_000,
    seed: int = 1,
    *,
    subgroup: Sequence[int | str] = (0,),
    patients: float | None = None,
    workers: int | None = None,
    progress: Callable[[], None] | None = None,
) -> EnrichmentComparison:
    """Simulate several enrichment designs under several truths, all with the same random patients.

    Parameters
    ----------
    designs, truths
        By name.
    trials, seed, subgroup, patients, workers, progress
        As in `simulate_enrichment`.

    Returns
    -------
    EnrichmentComparison
        One row a design and truth.

    Raises
    ------
    AnalysisError
        If there is no design or no truth, the designs have different alphas, or a simulation is refused.
    """
    if not designs or not truths:
        raise AnalysisError("there is no design or no truth to compare: give at least one of each, by name")
    levels = sorted({design.design.alpha for design in designs.values()})
    if len(levels) > 1:
        shown = ", ".join(f"{level:g}" for level in levels)
        raise AnalysisError(f"the designs have different one-sided alphas ({shown}): compare designs of one alpha")
    rows = []
    for truth_name, truth in truths.items():
        for name, design in designs.items():
            found = simulate_enrichment(
                design,
                truth,
                trials,
                seed,
                subgroup=subgroup,
                patients=patients,
                workers=workers,
                progress=progress,
            )
            numbers = found.scalars()
            row: dict[str, Any] = {"design": name, "truth": truth_name}
            for measure in _SHOWN:
                row |= {measure: numbers[measure], f"{measure}_mc_error": numbers[f"{measure}_mc_error"]}
            rows.append(row)
    rules = {name: design.text() for name, design in designs.items()}
    return EnrichmentComparison(pd.DataFrame(rows), rules, trials, seed, levels[0])
