"""Where to cut the strata: the rule whose best option has the most right conclusions less false claims, of those that the gate lets pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import pandas as pd

from trialml.design.bridge_setting import TrialSetting
from trialml.design.judged_options import Judged, judged_options
from trialml.design.recommendation import Gate, chosen_option
from trialml.design.response_evidence import ResponseEvidence
from trialml.errors import AnalysisError
from trialml.result import COLOURS, Result, plain_text

__all__ = ["ChosenRule", "RuleChoice", "choose_rule"]


@dataclass(frozen=True, eq=False)
class RuleChoice(Result):
    """The rules that were judged, and the one that is planned with.

    Attributes
    ----------
    rows
        One row a rule: ``rule, share, option`` (its best, all comers where the gate is closed), ``net, gate_open, chosen``, and
        ``note``, why there is no trial by it.
    """

    title = "Where the strata are cut"
    figure_size = (6.4, 2.4)
    methods = (
        "Each place at which the strata can be cut in two gives a rule. Every option was judged with every rule over the joint posterior of its "
        "effects; the rule taken is the one whose best option has the most right conclusions less false claims."
    )

    rows: pd.DataFrame

    def frame(self) -> pd.DataFrame:
        """Return one row a rule."""
        return self.rows

    def text(self) -> str:
        """Return which rule was taken, and why."""
        taken = self.rows[self.rows["chosen"]].iloc[0]
        said = f"Of {len(self.rows)} places at which the strata can be cut, the design takes '{taken['rule']}'"
        if not self.rows["gate_open"].any():
            return f"{said}, the cut that was fixed before any effect was seen: with none of them does the evidence pass the gate."
        return (
            f"{said}, which selects {100 * taken['share']:.0f} % of patients: its best option, '{taken['option']}', has the most right "
            f"conclusions less false claims ({100 * taken['net']:.1f} points)."
        )

    def scalars(self) -> Mapping[str, float]:
        """Return the share of patients whom the chosen rule selects."""
        return {"chosen_rule_share": float(self.rows.loc[self.rows["chosen"], "share"].iloc[0])}

    def table(self) -> pd.DataFrame:
        """Return the rules for reading."""
        return pd.DataFrame(
            {
                "Rule": [f"{row['rule']}{' (taken)' if row['chosen'] else ''}" for row in self.rows.to_dict("records")],
                "Selects": [f"{100 * share:.0f} %" for share in self.rows["share"]],
                "Best option": self.rows["option"].where(self.rows["note"] == "", self.rows["note"]),
                "Right less false": [
                    "n/a" if row["note"] else f"{100 * row['net']:.1f} points" for row in self.rows.to_dict("records")
                ],
                "Gate": ["open" if opened else "closed" for opened in self.rows["gate_open"]],
            }
        )

    def draw(self, figure: Any) -> None:
        """Draw right conclusions less false claims by rule; the one taken is filled."""
        axes = figure.subplots()
        for place, row in enumerate(self.rows.to_dict("records")):
            colour = COLOURS["experimental"] if row["chosen"] else COLOURS["reference"]
            axes.barh(place, 100 * row["net"], color=colour, height=0.6)
        axes.set_yticks(
            range(len(self.rows)), [plain_text(f"{100 * one:.0f} % selected") for one in self.rows["share"]]
        )
        axes.set_ylim(len(self.rows) - 0.4, -0.6)
        axes.set_xlabel("Right conclusions less false claims of the rule's best option, points\n(blue: taken)")
        axes.spines[["top", "right"]].set_visible(False)


class ChosenRule(NamedTuple):
    """The evidence of the rule that is taken, the options judged with it, and how it was chosen where there were several."""

    evidence: ResponseEvidence
    judged: Judged
    choice: RuleChoice | None


def choose_rule(
    evidence: ResponseEvidence,
    setting: TrialSetting,
    *,
    gate: Gate = Gate(),  # noqa: B008  (frozen)
    draws: int = 512,
    seed: int = 1,
) -> ChosenRule:
    """Judge every option with every rule, and take the rule whose best option is best.

    Parameters
    ----------
    evidence
        Of the rule that is planned with where none passes the gate; ``evidence.other_rules`` holds the others.
    setting, gate, draws, seed
        As `trialml.design.recommendation.recommend` takes them.

    Returns
    -------
    ChosenRule

    Raises
    ------
    AnalysisError
        As `trialml.design.bridge_options.planned_options`, where no trial can be planned by the first rule.
    """
    rules = (evidence.replaced(other_rules=()), *evidence.other_rules)
    found: list[Judged | None] = [judged_options(rules[0], setting, draws=draws, seed=seed)]
    rows = [_row(rules[0], found[0], gate)]
    for rule in rules[1:]:
        try:
            judged = judged_options(rule, setting, draws=draws, seed=seed)
        except AnalysisError as error:
            found.append(None)
            rows.append(_row(rule, None, gate) | {"note": str(error)})
            continue
        found.append(judged)
        rows.append(_row(rule, judged, gate))
    passed = [place for place, row in enumerate(rows) if row["gate_open"] and found[place] is not None]
    taken = max(passed, key=lambda place: rows[place]["net"]) if passed else 0
    frame = pd.DataFrame(rows).assign(chosen=[place == taken for place in range(len(rows))])
    judged_with = found[taken]
    assert judged_with is not None
    others = tuple(rule for place, rule in enumerate(rules) if place != taken)
    kept = replace(rules[taken], other_rules=others)
    choice = RuleChoice(frame.sort_values("share", ignore_index=True)) if others else None
    return ChosenRule(kept, judged_with, choice)


def _row(rule: ResponseEvidence, judged: Judged | None, gate: Gate) -> dict[str, Any]:
    opened = not gate.shortcomings(rule)
    known: dict[str, Any] = {"rule": rule.rule, "share": rule.share, "gate_open": opened, "note": ""}
    if judged is None:
        return known | {"option": "", "net": float("nan")}
    nets = judged.expected_net()
    option = chosen_option(nets, gate_open=opened)
    return known | {"option": option, "net": nets[option]}
