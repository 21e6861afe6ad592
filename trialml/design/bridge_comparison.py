"""All comers, enriched, hierarchical, co-primary or adaptive: the options of the next trial on one page, at equal budget."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.design.bridge_options import Option, PlannedOption
from trialml.design.bridge_setting import TrialSetting
from trialml.design.judged_options import (
    Claims,
    Judged,
    Nodes,
    judged_options,
    monte_carlo_error,
    useless_claims,
)
from trialml.design.response_evidence import ResponseEvidence
from trialml.result import COLOURS, Result, format_count, format_number

__all__ = ["BridgeOptions", "compare_options"]

Vector = NDArray[np.float64]
MEASURES = ("assurance", "right_conclusion", "false_claim", "net", "excludes_benefiting")


@dataclass(frozen=True, eq=False)
class BridgeOptions(Result):
    """The options of the next trial at equal budget, and each again as if the model were useless.

    Attributes
    ----------
    rows
        One row an option and truth: ``option, model_useless, patients, patients_low, patients_high, screened, screened_low,
        screened_high, months, cost`` (expected, where the option may change course; limits by the prevalence's interval),
        ``assurance, right_conclusion, false_claim, net`` (right less false), ``excludes_benefiting`` and ``<each>_mc_error`` (0 for closed
        forms), ``left_out, stopped, note``. NaN where there is no such trial: the note says why.
    minimum
        The least effect worth claiming, as it is read.
    budget, budget_unit
        What every option may cost; ``"money"`` or ``"patients"``.
    alpha
        One-sided, familywise.
    draws
        Simulated trials of the adaptive option at each truth.
    """

    title = "The next trial's options at equal budget"
    figure_size = (7.2, 3.6)
    methods = (
        "Five options were planned for one budget: all comers; the stratum alone; a hierarchical test of the stratum and then of all comers; "
        "both as co-primary hypotheses by Simes' closed test; and two stages with a choice between all comers and the stratum alone by "
        "conditional power, stages combined by the inverse normal method in a closed test. Assurance is the probability of "
        "rejecting at least one hypothesis, averaged over the joint posterior of the effects inside and outside the stratum. A right "
        "conclusion rejects in a population whose true effect is at least the least effect worth claiming, a false claim in one whose effect is "
        "smaller; the effect of all comers is the prevalence-weighted mean on the planning scale. Test statistics are taken as "
        "normal with the information of the expected events or patients; the adaptive option is simulated, the others are integrated. Each option is "
        "judged a second time as if the model were useless, the effect everywhere that of all comers."
    )
    references = (
        "O'Hagan A, Stevens JW, Campbell MJ. Assurance in clinical trial design. Pharm Stat 2005;4:187-201.",
        "Brannath W, Zuber E, Branson M, Bretz F, Gallo P, Posch M, Racine-Poon A. Confirmatory adaptive designs with Bayesian decision "
        "tools for a targeted therapy in oncology. Stat Med 2009;28:1445-1463.",
        "Simon R, Maitournam A. Evaluating the efficiency of targeted designs for randomized clinical trials. Clin Cancer Res "
        "2004;10:6759-6763.",
    )

    rows: pd.DataFrame
    minimum: str
    budget: float
    budget_unit: str
    alpha: float
    draws: int

    def frame(self) -> pd.DataFrame:
        """Return one row an option and truth, with what all share."""
        return self.rows.assign(
            minimum=self.minimum, budget=self.budget, budget_unit=self.budget_unit, alpha_one_sided=self.alpha
        )

    def row(self, option: str, *, useless: bool = False) -> dict[str, Any]:
        """Return the numbers of one option under one truth."""
        found = self.rows[(self.rows["option"] == option) & (self.rows["model_useless"] == useless)]
        return {str(name): value for name, value in found.iloc[0].items()}

    def text(self) -> str:
        """Return the best option beside all comers, and both if the model is useless."""
        planned = self.rows[~self.rows["model_useless"] & (self.rows["note"] == "")]
        best = str(planned.loc[planned["net"].idxmax(), "option"])
        unit = "patients" if self.budget_unit == "patients" else "units of money"
        said = (
            f"At a budget of {format_count(self.budget)} {unit} and alpha {self.alpha:g} one-sided, all comers have an assurance of "
            f"{self._share('all comers', 'assurance')}, a right conclusion (an effect of at least {self.minimum}) with probability "
            f"{self._share('all comers', 'right_conclusion')} and a false claim with {self._share('all comers', 'false_claim')}"
        )
        if best == "all comers":
            return f"{said}; no option has more right conclusions less false claims."
        return (
            f"{said}; the option '{best}' has {self._share(best, 'assurance')}, {self._share(best, 'right_conclusion')} and "
            f"{self._share(best, 'false_claim')}. If the model were useless, its probability of a right conclusion would be "
            f"{self._share(best, 'right_conclusion', useless=True)} where that of all comers is "
            f"{self._share('all comers', 'right_conclusion', useless=True)}."
        )

    def _share(self, option: str, measure: str, *, useless: bool = False) -> str:
        row = self.row(option, useless=useless)
        error = row[f"{measure}_mc_error"]
        shown = f"{100 * row[measure]:.1f} %"
        return f"{shown} (Monte Carlo error {format_number(100 * error, 2)} points)" if error > 0 else shown

    def scalars(self) -> Mapping[str, float]:
        """Return assurance, right conclusions, false claims and sizes by option and truth."""
        numbers: dict[str, float] = {}
        for row in self.rows.to_dict("records"):
            # A name that no other result of the chapter has: a tracker would put the whole heading before each.
            stem = "option_" + str(row["option"]).replace(" ", "_").replace("-", "_")
            stem += "_model_useless" if row["model_useless"] else ""
            names = ("net",) if row["model_useless"] else (*MEASURES[:4], "patients", "screened", "months")
            numbers |= {f"{stem}_{name}": float(row[name]) for name in names if not math.isnan(row[name])}
        return numbers

    def table(self) -> pd.DataFrame:
        """Return the options as they are read."""
        shown = []
        for row in self.rows.to_dict("records"):
            one = {
                "Option": f"{row['option']}{', if the model is useless' if row['model_useless'] else ''}",
                "Screened": format_count(row["screened"]),
                "Randomised": format_count(row["patients"]),
                "Months": "n/a" if math.isnan(row["months"]) else f"{row['months']:.1f}",
                "Cost": format_count(row["cost"]),
            }
            named = (
                "Assurance",
                "Right conclusion",
                "False claim",
                "Right less false",
                "Leaves out patients who benefit",
            )
            one |= {
                head: _percent(row[name], row[f"{name}_mc_error"]) for head, name in zip(named, MEASURES, strict=True)
            }
            shown.append(one | {"Note": row["note"]})
        table = pd.DataFrame(shown)
        # Where no costs are given the budget is patients, which stand in a column of their own.
        left = ["Note"] if not (table["Note"] != "").any() else []
        return table.drop(columns=[*left, *(["Cost"] if self.budget_unit == "patients" else [])])

    def draw(self, figure: Any) -> None:
        """Draw right conclusions to the right and false claims to the left of zero, hollow if the model is useless."""
        axes = figure.subplots()
        names = list(dict.fromkeys(self.rows["option"]))
        for place, name in enumerate(names):
            for useless in (False, True):
                row, y = self.row(name, useless=useless), place + (0.2 if useless else -0.2)
                for value, colour in (
                    (row["right_conclusion"], COLOURS["experimental"]),
                    (-row["false_claim"], COLOURS["third"]),
                ):
                    style = {"color": "white", "edgecolor": colour} if useless else {"color": colour}
                    axes.barh(y, 100 * value, height=0.36, linewidth=1, **style)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlabel("False claim, % (left)      Right conclusion, % (right)\nhollow: if the model is useless")
        axes.spines[["top", "right"]].set_visible(False)


def _percent(share: float, error: float) -> str:
    if math.isnan(share):
        return "n/a"
    return f"{100 * share:.1f} %" + (f" (MC {100 * error:.1f})" if error > 0 else "")


def compare_options(
    evidence: ResponseEvidence,
    setting: TrialSetting,
    *,
    draws: int = 4096,
    seed: int = 1,
    judged: Judged | None = None,
) -> BridgeOptions:
    """Compare the options of the next trial at equal budget, over what is believed and as if the model were useless.

    Parameters
    ----------
    evidence
        What is known of the two groups.
    setting
        Of the trial.
    draws, seed
        Of the adaptive option, at each truth.
    judged
        The same options judged already, with the same draws.

    Returns
    -------
    BridgeOptions

    Raises
    ------
    AnalysisError
        As `trialml.design.bridge_options.planned_options`.
    """
    known = judged_options(evidence, setting, draws=draws, seed=seed) if judged is None else judged
    rows = []
    for name, option in known.options.items():
        sizes = _Sized.of(option, evidence)
        if not option.feasible:
            rows += [_blank(name, useless, option.note) for useless in (False, True)]
            continue
        useless, same = useless_claims(known, name, draws=draws, seed=seed)
        rows.append(_row(name, False, known.claims[name], known.nodes, known.minimum, sizes))
        rows.append(_row(name, True, useless, same, known.minimum, sizes))
    first = known.options["all comers"]
    return BridgeOptions(
        pd.DataFrame(rows),
        evidence.endpoint.shown(known.minimum),
        first.cost,
        "money" if setting.in_money else "patients",
        setting.alpha,
        draws,
    )


class _Sized(NamedTuple):
    """What an option takes where it goes on as planned, where it goes on in the stratum alone, and where it stops: shape (3,)."""

    patients: Vector
    screened: Vector
    months: Vector
    cost: Vector
    limits: dict[str, float]
    """Patients and screened at the limits of the prevalence, of the enriched option; empty for the others."""

    @classmethod
    def of(cls, option: PlannedOption, evidence: ResponseEvidence) -> _Sized:
        """Return the sizes of an option."""
        asked, stages = option.information.setting, option.stages
        if stages is None:
            numbers = (
                np.full(3, option.patients),
                np.full(3, option.screened),
                np.full(3, option.months),
                np.full(3, option.cost),
            )
        else:
            patients = np.array([option.patients, stages.first + stages.alone, stages.first])
            screened = np.array([option.screened, stages.first + stages.alone / option.share, stages.first])
            months = np.array([option.months, stages.months_alone, stages.interim])
            cost = np.array([asked.cost_of(p, s) for p, s in zip(patients, screened, strict=True)])
            numbers = (patients, screened, months, cost)
        if option.name != "enriched":
            return cls(*numbers, {})
        # A rarer stratum takes more screening for each patient, so that fewer are randomised for the same budget.
        shares = (evidence.prevalence.low, evidence.prevalence.high)
        size = [option.cost / asked.cost_of(1.0, 1.0 / share) for share in shares]
        screening = sorted(n / share for n, share in zip(size, shares, strict=True))
        sides = ("low", "high")
        limits = {f"patients_{side}": n for side, n in zip(sides, size, strict=True)}
        return cls(*numbers, limits | {f"screened_{side}": n for side, n in zip(sides, screening, strict=True)})


def _blank(name: Option, useless: bool, note: str) -> dict[str, Any]:
    sizes = ("patients", "patients_low", "patients_high", "screened", "screened_low", "screened_high", "months", "cost")
    measures = [*MEASURES, *(f"{one}_mc_error" for one in MEASURES), "left_out", "stopped"]
    head = {"option": name, "model_useless": useless}
    return head | dict.fromkeys((*sizes, *measures), math.nan) | {"note": note}


def _row(name: Option, useless: bool, claims: Claims, nodes: Nodes, minimum: float, sizes: _Sized) -> dict[str, Any]:
    benefits = nodes.outside >= minimum
    by_batch = {
        "assurance": claims.rejects @ nodes.weight,
        "right_conclusion": claims.right @ nodes.weight,
        "false_claim": claims.wrong @ nodes.weight,
        "net": (claims.right - claims.wrong) @ nodes.weight,
        "excludes_benefiting": (claims.left_out * benefits) @ nodes.weight,
    }
    alone = float((claims.left_out @ nodes.weight).mean()) if name != "enriched" else 0.0
    stopped = float((claims.stopped @ nodes.weight).mean())
    course = np.array([1 - alone - stopped, alone, stopped])
    row: dict[str, Any] = {"option": name, "model_useless": useless}
    patients, screened = float(course @ sizes.patients), float(course @ sizes.screened)
    row |= {"patients": patients, "patients_low": patients, "patients_high": patients}
    row |= {"screened": screened, "screened_low": screened, "screened_high": screened} | sizes.limits
    row |= {"months": float(course @ sizes.months), "cost": float(course @ sizes.cost)}
    for measure, values in by_batch.items():
        row |= {measure: float(values.mean()), f"{measure}_mc_error": monte_carlo_error(values)}
    return row | {"left_out": 1.0 if name == "enriched" else alone, "stopped": stopped, "note": ""}
