"""What the recommendation rests on: every assumption lowered and raised in turn, as a tornado."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import pandas as pd

from trialml.design.bridge_options import Option
from trialml.design.bridge_setting import TrialSetting
from trialml.design.judged_options import judged_options, monte_carlo_error
from trialml.design.recommendation import Gate, chosen_option
from trialml.design.response_evidence import GroupEvidence, Misclassification, ResponseEvidence
from trialml.errors import AnalysisError
from trialml.result import COLOURS, Result, format_number, plain_text

__all__ = ["BridgeSensitivity", "bridge_sensitivity"]

FACTOR = 1.25
MOST_HIDDEN = 10
"""Events under control where their number is hidden for being small: a hazard resting on them is varied as widely as this many allow."""
"""By which accrual, costs and hazards of unknown error are lowered and raised."""


@dataclass(frozen=True, eq=False)
class BridgeSensitivity(Result):
    """The net of the recommended option where one assumption at a time is lowered or raised.

    Attributes
    ----------
    rows
        One row an assumption and side: ``assumption, side, value`` (in words), ``net`` (right conclusions less false claims of the option
        recommended), ``net_mc_error, all_comers_net, best`` (the option that would be recommended), ``note``. NaN where the assumption
        leaves no trial: the note says why. Widest swing first.
    option
        The option recommended under the assumptions as they are.
    net, all_comers_net
        Of this option and of all comers, as assumed.
    """

    title = "Sensitivity of the recommendation"
    figure_size = (7.2, 4.2)
    methods = (
        "One assumption at a time was lowered and raised, the others held: the effects by one posterior standard deviation, the prevalence to "
        "the limits of its 95 % interval, the hazard under control by 1.96 standard errors of its logarithm where the events are known, accrual and costs by a quarter, "
        "dropout from none to twice; and the rule's errors on new patients from those already in the cross-fitted effects to as many once more. The "
        "budget is held, so that sizes follow."
    )

    rows: pd.DataFrame
    option: Option
    net: float
    all_comers_net: float

    def frame(self) -> pd.DataFrame:
        """Return one row an assumption and side."""
        return self.rows.assign(
            option=self.option, net_as_assumed=self.net, all_comers_net_as_assumed=self.all_comers_net
        )

    @property
    def turned(self) -> tuple[str, ...]:
        """The assumptions under which another option would be recommended, with their value."""
        moved = self.rows[(self.rows["best"] != self.option) & (self.rows["best"] != "")]
        return tuple(f"{row['assumption']} {row['value']} ('{row['best']}')" for row in moved.to_dict("records"))

    def text(self) -> str:
        """Return what moves the net most, and what would change the recommendation."""
        first = str(self.rows["assumption"].iloc[0])
        swing = self.rows.loc[self.rows["assumption"] == first, "net"]
        said = (
            f"Right conclusions less false claims of the option '{self.option}' are {100 * self.net:.1f} points as assumed; they move most with "
            f"the {first} ({100 * swing.min():.1f} to {100 * swing.max():.1f} points)."
        )
        if not self.turned:
            return f"{said} No assumption varied on its own changes the recommendation."
        return f"{said} The recommendation would change with {'; '.join(self.turned)}."

    def scalars(self) -> Mapping[str, float]:
        """Return the net as assumed and how many assumptions change the recommendation."""
        return {"sensitivity_net": self.net, "assumptions_that_change_it": float(len(self.turned))}

    def table(self) -> pd.DataFrame:
        """Return the assumptions as they are read."""
        records = self.rows.to_dict("records")
        return pd.DataFrame(
            {
                "Assumption": [f"{row['assumption']}, {row['side']}" for row in records],
                "Value": [row["value"] for row in records],
                "Right less false": [
                    "n/a" if math.isnan(row["net"]) else f"{100 * row['net']:.1f} points" for row in records
                ],
                "Recommended then": [row["best"] or row["note"] for row in records],
            }
        )

    def draw(self, figure: Any) -> None:
        """Draw the tornado: the widest swing on top, a mark where the recommendation changes."""
        axes = figure.subplots()
        names = list(dict.fromkeys(self.rows["assumption"]))
        for place, name in enumerate(names):
            for row in self.rows[self.rows["assumption"] == name].to_dict("records"):
                if math.isnan(row["net"]):
                    continue
                low = row["side"] == "low"
                colour = COLOURS["third" if low else "experimental"]
                axes.barh(place, 100 * (row["net"] - self.net), left=100 * self.net, color=colour, height=0.55)
                if row["best"] != self.option:
                    axes.plot(100 * row["net"], place, "D", color="black", markersize=5)
        axes.axvline(100 * self.net, color="black", linewidth=0.8)
        axes.set_yticks(range(len(names)), [plain_text(name) for name in names])
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlabel(
            f"Right conclusions less false claims of '{self.option}', points\n(orange: low, blue: high; diamond: another option "
            "would be recommended)"
        )
        axes.spines[["top", "right"]].set_visible(False)


class _Changed(NamedTuple):
    """An assumption, the side, its value in words, and what is planned with then."""

    assumption: str
    side: str
    value: str
    evidence: ResponseEvidence
    setting: TrialSetting


def bridge_sensitivity(
    evidence: ResponseEvidence,
    setting: TrialSetting,
    *,
    gate: Gate = Gate(),  # noqa: B008  (frozen)
    draws: int = 512,
    seed: int = 1,
) -> BridgeSensitivity:
    """Lower and raise each assumption in turn and recommend again.

    Parameters
    ----------
    evidence, setting, gate, draws, seed
        As `trialml.design.recommendation.recommend` takes them. The gate is as it is under the assumptions made: it asks what the data
        carry, which assumptions do not change.

    Returns
    -------
    BridgeSensitivity

    Raises
    ------
    AnalysisError
        As `trialml.design.bridge_options.planned_options`, under the assumptions made.
    """
    known = judged_options(evidence, setting, draws=draws, seed=seed)
    gate_open, nets = not gate.shortcomings(evidence), known.expected_net()
    option = chosen_option(nets, gate_open=gate_open)
    # The budget is what the assumptions as they are make it.
    held = replace(setting, budget=known.options["all comers"].cost)
    rows = []
    for changed in _changes(evidence, held):
        row: dict[str, Any] = {"assumption": changed.assumption, "side": changed.side, "value": changed.value}
        try:
            again = judged_options(changed.evidence, changed.setting, draws=draws, seed=seed)
        except AnalysisError as refused:
            rows.append(
                row
                | dict.fromkeys(("net", "net_mc_error", "all_comers_net"), math.nan)
                | {"best": "", "note": str(refused)}
            )
            continue
        found = again.expected_net()
        claims, note = again.claims.get(option), again.options[option].note
        row |= {"net": found.get(option, math.nan), "net_mc_error": math.nan, "all_comers_net": found["all comers"]}
        if claims is not None:
            row["net_mc_error"] = monte_carlo_error((claims.right - claims.wrong) @ again.nodes.weight)
        rows.append(row | {"best": chosen_option(found, gate_open=gate_open), "note": note})
    frame = pd.DataFrame(rows)
    swing = frame.groupby("assumption")["net"].agg(
        lambda net: float(net.max() - net.min()) if net.notna().any() else 0.0
    )
    frame = frame.assign(_swing=frame["assumption"].map(swing)).sort_values("_swing", ascending=False, kind="stable")
    return BridgeSensitivity(
        frame.drop(columns="_swing").reset_index(drop=True), option, nets[option], nets["all comers"]
    )


def _changes(evidence: ResponseEvidence, setting: TrialSetting) -> Iterator[_Changed]:
    """Yield every assumption lowered and raised."""
    yield from _effects(evidence, setting)
    at = evidence.prevalence
    for side, share in (("low", at.low), ("high", at.high)):
        moved = evidence.replaced(count=evidence.count * share / at.value)
        yield _Changed("prevalence", side, f"{100 * share:.0f} %", moved, setting)
    yield from _errors(evidence, setting)
    yield from _control(evidence, setting)
    for side, times in (("low", 1 / FACTOR), ("high", FACTOR)):
        rate = setting.screened_per_month * times
        yield _Changed(
            "accrual", side, f"{rate:.3g} screened per month", evidence, replace(setting, screened_per_month=rate)
        )
    yield from _losses(evidence, setting)
    for name, words in (("cost_screen", "cost of screening"), ("cost_patient", "cost of a patient")):
        cost = getattr(setting, name)
        for side, times in () if cost is None else (("low", 1 / FACTOR), ("high", FACTOR)):
            yield _Changed(
                words, side, format_number(cost * times, 4), evidence, replace(setting, **{name: cost * times})
            )


def _effects(evidence: ResponseEvidence, setting: TrialSetting) -> Iterator[_Changed]:
    for place, name in enumerate(("effect inside", "effect outside")):
        for side, way in (("low", -1.0), ("high", 1.0)):
            # Low is less benefit, on whichever scale.
            mean = list(evidence.mean)
            mean[place] += way * evidence.sign * math.sqrt(evidence.covariance[place][place])
            shown = evidence.endpoint.shown(evidence.sign * mean[place])
            yield _Changed(name, side, shown, evidence.replaced(mean=(mean[0], mean[1])), setting)


def _errors(evidence: ResponseEvidence, setting: TrialSetting) -> Iterator[_Changed]:
    """Yield a rule without errors beyond those in the effects, and one that errs as often once more."""
    errs = evidence.misclassification
    if errs.lost == errs.taken == 0:
        return
    none = Misclassification()
    low = evidence.replaced(misclassification=none)
    words = f"{100 * errs.lost:.0f} % lost, {100 * errs.taken:.0f} % taken"
    yield _Changed("misclassification", "low", "none beyond the effects' own", low, setting)
    yield _Changed("misclassification", "high", words, evidence.replaced(effects_of="true groups"), setting)


def _control(evidence: ResponseEvidence, setting: TrialSetting) -> Iterator[_Changed]:
    kind = evidence.endpoint.kind
    name = {
        "time to event": "hazard under control",
        "binary": "share under control",
        "continuous": "standard deviation",
    }[kind]
    for side, way in (("low", -1.0), ("high", 1.0)):
        moved = [_moved(group, kind, way) for group in (evidence.inside, evidence.outside)]
        field = {"time to event": "control_hazard_per_month", "binary": "control_mean", "continuous": "sd"}[kind]
        words = " and ".join(format_number(getattr(group, field)) for group in moved)
        yield _Changed(name, side, f"{words} (in, out)", evidence.replaced(inside=moved[0], outside=moved[1]), setting)


def _moved(group: GroupEvidence, kind: str, way: float) -> GroupEvidence:
    factor = FACTOR**way
    if kind == "time to event":
        events = MOST_HIDDEN if math.isnan(group.control_events) else group.control_events
        factor = math.exp(way * 1.959963984540054 / math.sqrt(max(events, 1.0)))
        return replace(group, control_hazard_per_month=group.control_hazard_per_month * factor)
    if kind == "binary":
        rate = group.control_mean
        odds = rate / (1 - rate) * factor
        return replace(group, control_mean=odds / (1 + odds))
    return replace(group, sd=group.sd * factor)


def _losses(evidence: ResponseEvidence, setting: TrialSetting) -> Iterator[_Changed]:
    if evidence.endpoint.timed and setting.dropout_per_month > 0:
        for side, times in (("low", 0.0), ("high", 2.0)):
            hazard = setting.dropout_per_month * times
            moved = replace(setting, dropout_per_month=hazard)
            yield _Changed("dropout", side, f"{100 * (1 - math.exp(-12 * hazard)):.0f} % in a year", evidence, moved)
    elif not evidence.endpoint.timed and 0 < setting.lost < 0.5:
        for side, times in (("low", 0.0), ("high", 2.0)):
            yield _Changed(
                "dropout",
                side,
                f"{100 * times * setting.lost:.0f} % lost",
                evidence,
                replace(setting, lost=times * setting.lost),
            )
