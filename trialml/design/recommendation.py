"""Which option to take, with the probability that it is the best, and a gate that enrichment has to pass first."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from trialml.design.bridge_options import Option
from trialml.design.bridge_setting import TrialSetting
from trialml.design.judged_options import Judged, judged_options, monte_carlo_error, useless_claims
from trialml.design.refusals import require_between
from trialml.design.response_evidence import ResponseEvidence
from trialml.errors import AnalysisError
from trialml.result import COLOURS, Result, format_count, format_number, format_p

__all__ = ["Gate", "Recommendation", "chosen_option", "recommend"]

SHOWN = 0.05
"""Below this p-value, two-sided, the global test shows that effects differ."""


@dataclass(frozen=True)
class Gate:
    """What the evidence must carry before anything but all comers is recommended.

    Attributes
    ----------
    level
        The global test of heterogeneity must have a p-value below it. The default is no level of significance: with it, planning by a model
        loses less than two points of success where there is nothing to find (``benchmarks/bridge.py``).
    difference_probability
        The selected must benefit more than the others with at least this posterior probability.
    validated
        Whether the model must have passed its validation.

    Raises
    ------
    AnalysisError
        If a number is outside its range.
    """

    level: float = 0.2
    difference_probability: float = 0.5
    validated: bool = True

    def __post_init__(self) -> None:
        require_between("the level of the gate", self.level, 0.0, 1.0, closed_high=True)
        if not 0 <= self.difference_probability < 1:
            raise AnalysisError(
                f"difference_probability of the gate is {self.difference_probability:g}: give a probability from 0 to below 1"
            )

    def shortcomings(self, evidence: ResponseEvidence) -> tuple[str, ...]:
        """Return what the evidence falls short of, in words; empty where the gate is open."""
        found = []
        # A level of 1 leaves the test out.
        if not (evidence.heterogeneity_p < self.level or self.level == 1):
            found.append(
                f"the global test of heterogeneity has p {_equals(evidence.heterogeneity_p)}, not below {self.level:g}"
            )
        if evidence.difference_probability < self.difference_probability:
            found.append(
                f"the selected benefit more with probability {100 * evidence.difference_probability:.0f} %, below "
                f"{100 * self.difference_probability:g} %"
            )
        if self.validated and not evidence.validation.passed:
            found.append(f"the model did not pass its validation ({', '.join(evidence.validation.failed)})")
        return tuple(found)

    def text(self) -> str:
        """Return the rule in words."""
        validated = " and a model that passed its validation" if self.validated else ""
        return (
            f"anything but all comers needs a global test of heterogeneity with p below {self.level:g}, a posterior probability of at least "
            f"{100 * self.difference_probability:g} % that the selected benefit more{validated}"
        )


@dataclass(frozen=True, eq=False)
class Recommendation(Result):
    """The option with the most right conclusions less false claims, all comers where the gate is closed.

    Attributes
    ----------
    option
        What is recommended.
    probability
        Posterior probability that it has the most right conclusions less false claims of all feasible options.
    without_gate
        What the gate withheld; the same as `option` where it is open.
    shortcomings
        Why the gate is closed; empty where it is open.
    gate
        The rule.
    rows
        One row a feasible option: ``option, net, net_mc_error, best`` (probability of being the best).
    model
        Name, version and data hash that the evidence rests on.
    heterogeneity_p
        Of the global test.
    price
        What the option that the posterior favours takes beside all comers, and how much of its margin needs no difference in effect; empty
        where that is all comers.
    """

    title = "The recommended option"
    figure_size = (6.4, 2.8)
    methods = (
        "The option recommended has the largest expected number of right conclusions less false claims over the joint posterior of the effects, "
        "at equal budget; its probability is the posterior mass of the effects at which it is the best, of options within half a point of each other the simplest "
        "counting as the best. Where the evidence does not "
        "pass the gate, all comers are recommended."
    )

    option: Option
    probability: float
    without_gate: Option
    shortcomings: tuple[str, ...]
    gate: Gate
    rows: pd.DataFrame
    model: Mapping[str, str]
    heterogeneity_p: float = math.nan
    price: str = ""

    @property
    def gate_open(self) -> bool:
        """Whether the evidence carries enrichment."""
        return not self.shortcomings

    def frame(self) -> pd.DataFrame:
        """Return one row an option."""
        return self.rows.assign(
            recommended=self.rows["option"] == self.option, gate_open=self.gate_open, gate=self.gate.text()
        )

    def text(self) -> str:
        """Return the recommendation with its probability, and why the gate is closed where it is."""
        nets, best = (self.rows.set_index("option")[name] for name in ("net", "best"))
        if not self.gate_open:
            other = self.without_gate
            said = f"The option recommended is 'all comers', because the gate to enrichment is closed: {'; '.join(self.shortcomings)}. "
            if other == "all comers":
                return f"{said}It would be the best of {len(self.rows)} options at equal budget without the gate too, with probability {100 * self.probability:.0f} %."
            return (
                f"{said}By the posterior alone, of {len(self.rows)} options at equal budget '{other}' would be the best with probability "
                f"{100 * best[other]:.0f} % and all comers with {100 * self.probability:.0f} % (right conclusions less false claims: "
                f"{_points(nets[other])} against {_points(nets['all comers'])}).{self.price}"
            )
        said = (
            f"The option recommended is '{self.option}': with probability {100 * self.probability:.0f} % it is the best of {len(self.rows)} "
            f"at equal budget (right conclusions less false claims: {_points(nets[self.option])}"
        )
        if self.option != "all comers":
            said += f" against {_points(nets['all comers'])} of all comers"
        said += f"). The gate is open: {self.gate.text()}.{self.price}"
        if self.option != "all comers" and self.heterogeneity_p >= SHOWN:
            said += (
                f" The global test (p {_equals(self.heterogeneity_p)}) does not show that the effect differs between patients: to choose this "
                "option is a decision under uncertainty, no finding of a subgroup."
            )
        return said

    def scalars(self) -> Mapping[str, float]:
        """Return the probability, whether the gate is open, and the expected net of what is recommended and of all comers."""
        nets = self.rows.set_index("option")["net"]
        return {
            "recommended_probability": self.probability,
            "gate_open": float(self.gate_open),
            "recommended_net": float(nets[self.option]),
            "all_comers_net": float(nets["all comers"]),
        }

    def table(self) -> pd.DataFrame:
        """Return the options with their net and the probability of being the best."""
        records = self.rows.to_dict("records")
        return pd.DataFrame(
            {
                "Option": [
                    f"{row['option']}{' (recommended)' if row['option'] == self.option else ''}" for row in records
                ],
                "Right less false": [
                    _points(row["net"])
                    + (f" (MC {format_number(100 * row['net_mc_error'], 2)})" if row["net_mc_error"] > 0 else "")
                    for row in records
                ],
                "Probability of being the best": [f"{100 * row['best']:.0f} %" for row in records],
            }
        )

    def draw(self, figure: Any) -> None:
        """Draw the probability that each option is the best; the one recommended is filled."""
        axes = figure.subplots()
        for place, row in enumerate(self.rows.to_dict("records")):
            chosen = row["option"] == self.option
            axes.barh(
                place, 100 * row["best"], color=COLOURS["experimental"] if chosen else COLOURS["reference"], height=0.6
            )
        axes.set_yticks(range(len(self.rows)), list(self.rows["option"]))
        axes.set_ylim(len(self.rows) - 0.4, -0.6)
        axes.set_xlim(0, 100)
        axes.set_xlabel("Posterior probability of being the best option, %\n(blue: recommended)")
        axes.spines[["top", "right"]].set_visible(False)


def _points(share: float) -> str:
    return f"{100 * share:.1f} points"


def _equals(p: float) -> str:
    shown = format_p(p)
    return shown if shown[0] in "<>" else f"= {shown}"


def chosen_option(nets: Mapping[Option, float], *, gate_open: bool) -> Option:
    """Return the option with the largest expected net, all comers where the gate is closed; ties go to the one named first."""
    if not gate_open:
        return "all comers"
    most = max(nets.values())
    return next(name for name, net in nets.items() if net >= most - 1e-9)


def recommend(
    evidence: ResponseEvidence,
    setting: TrialSetting,
    *,
    gate: Gate = Gate(),
    draws: int = 512,
    seed: int = 1,
    judged: Judged | None = None,
) -> Recommendation:
    """Recommend an option of the next trial.

    Parameters
    ----------
    evidence
        What is known of the two groups.
    setting
        Of the trial.
    gate
        What the evidence must carry before anything but all comers is recommended.
    draws, seed
        Of the adaptive option, at each of 289 truths: 128 take some 30 milliseconds and leave an error near one point.
    judged
        The options judged already.

    Returns
    -------
    Recommendation

    Raises
    ------
    AnalysisError
        As `trialml.design.bridge_options.planned_options`.
    """
    known = judged_options(evidence, setting, draws=draws, seed=seed) if judged is None else judged
    nets, best = known.expected_net(), known.best_shares()
    missing = gate.shortcomings(evidence)
    option = chosen_option(nets, gate_open=not missing)
    rows = []
    for name, claims in known.claims.items():
        error = monte_carlo_error((claims.right - claims.wrong) @ known.nodes.weight)
        rows.append({"option": name, "net": nets[name], "net_mc_error": error, "best": best[name]})
    model = {
        "name": evidence.model_name,
        "version": evidence.model_version,
        "data_sha256": evidence.data_sha256,
    }
    favoured = chosen_option(nets, gate_open=True)
    price = _price(known, favoured, draws, seed)
    return Recommendation(
        option, best[option], favoured, missing, gate, pd.DataFrame(rows), model, evidence.heterogeneity_p, price
    )


def _price(judged: Judged, name: Option, draws: int, seed: int) -> str:
    """Return in words what an option takes that the budget does not count, and its margin over all comers if the model is useless."""
    if name == "all comers":
        return ""
    nets = []
    for one in (name, "all comers"):
        claims, nodes = useless_claims(judged, one, draws=draws, seed=seed)
        nets.append(float(claims.net @ nodes.weight))
    same = f"with effect and prognosis alike on both sides of the rule it would be {_points(nets[0])} against {_points(nets[1])}"
    lead = (
        f"Not all of that margin speaks for a difference in effect: {same}" if nets[0] > nets[1] else same.capitalize()
    )
    option, everyone = judged.options[name], judged.options["all comers"]
    free = "time has no price" if judged.setting.in_money else "neither screening nor time has a price"
    return (
        f" {lead}. The option '{name}' screens {format_count(option.screened)} patients over {option.months:.1f} months if all goes on as planned, all "
        f"comers {format_count(everyone.screened)} over {everyone.months:.1f}; {free} in the budget."
    )
