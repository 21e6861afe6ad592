"""Would acting on the prediction do good? Decision curves on the control arm, and the net benefit of treatment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.errors import AnalysisError, DataError
from trialml.result import COLOURS, Estimate, Kind, Result, format_count, format_number, kind_words
from trialml.survival.ipcw import (
    Outcome,
    checked_horizon,
    checked_outcome,
    kaplan_meier_censoring,
)
from trialml.survival.ties import not_after
from trialml.validation.net_benefit_curves import ALL, Arm, arm_flags, curves_of_risk, curves_of_treatment

__all__ = ["NetBenefit", "decision_curve", "net_benefit_of_treatment"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class NetBenefit(Result):
    """Net benefit of acting on predictions at several thresholds, beside acting on everybody and on nobody."""

    title = "Net benefit"
    figure_size = (6.4, 4.2)
    references = (
        "Vickers AJ, Elkin EB. Decision curve analysis: a novel method for evaluating prediction models. Med Decis Making "
        "2006;26:565-574.",
        "Vickers AJ, Kattan MW, Sargent D. Method for evaluating prediction models that apply the results of randomized trials to "
        "individual patients. Trials 2007;8:14.",
    )

    curves: pd.DataFrame
    """Columns threshold, strategy, reference (empty, or ``everybody`` for a difference), net_benefit, low, high, se, share (of
    patients who are acted on; NaN for a difference)."""
    of: Literal["risk under control", "treatment"]
    horizon: float | None
    """Where risks are read; None where there is no follow-up."""
    unit: str
    kind: Kind
    n: int
    events: int

    def heading(self) -> str:
        """Return what the benefit is of."""
        return (
            "Net benefit of treatment by predicted benefit" if self.of == "treatment" else "Decision curve, control arm"
        )

    @property
    def methods(self) -> str:  # type: ignore[override]
        """How net benefit is defined and estimated."""
        censored = self.horizon is not None
        weighing = "Censoring is weighed by the inverse probability of remaining uncensored" if censored else ""
        if self.of == "treatment":
            return (
                "The net benefit of treating whoever is predicted to gain at least the threshold is the share so treated times the "
                "risk difference between the arms among them less the threshold, the smallest absolute risk reduction worth a "
                f"treatment. {f'{weighing}, by arm; intervals' if censored else 'Intervals'} are pointwise."
            )
        return (
            "Net benefit is the share of patients above the threshold who have the event less the odds of the threshold times the share "
            "who do not. It is computed on the control arm alone: in mixed arms the treatment's effect would stand for the model's. "
            f"{f'{weighing}; intervals' if censored else 'Intervals'} are pointwise."
        )

    def frame(self) -> pd.DataFrame:
        """Return one row a threshold and strategy, then the differences from acting on everybody."""
        return self.curves

    def estimate(self, threshold: float, strategy: str, reference: str = "") -> Estimate:
        """Return one net benefit, or its difference from that of ``everybody``.

        Raises
        ------
        DataError
            If there is no such threshold or strategy.
        """
        rows = self.curves
        found = rows[
            (rows["strategy"] == strategy) & (rows["reference"] == reference) & np.isclose(rows["threshold"], threshold)
        ]
        if found.empty:
            raise DataError(
                f"there is no net benefit of '{strategy}' at {threshold:g}: choose among {sorted(set(rows['strategy']))} and "
                f"thresholds {sorted(set(rows['threshold']))}"
            )
        row = found.iloc[0]
        return Estimate(float(row["net_benefit"]), float(row["low"]), float(row["high"]), scale="net benefit", kind=self.kind,
                        se=float(row["se"]), n=self.n, events=self.events)  # fmt: skip

    @property
    def _middle(self) -> float:
        thresholds = np.unique(self.curves["threshold"])
        return float(thresholds[len(thresholds) // 2])

    @property
    def _strategies(self) -> list[str]:
        return [name for name in dict.fromkeys(self.curves["strategy"]) if name != ALL]

    @property
    def _by(self) -> str:
        return "" if self.horizon is None else f" by {self.horizon:g} {self.unit}"

    def text(self) -> str:
        """Return the net benefit at the middle threshold of the first strategy and its gain on acting on everybody."""
        at, name = self._middle, self._strategies[0]
        acted = "treating" if self.of == "treatment" else "acting on"
        which = "control arm" if self.of != "treatment" else "both arms"
        return (
            f"At a threshold of {100 * at:.3g} %{self._by} the net benefit of {acted} whom {name} names is "
            f"{self.estimate(at, name).text()}, against 0 for nobody and {self.estimate(at, ALL).text()} for everybody, a difference of "
            f"{self.estimate(at, name, ALL).text()} ({which}, {format_count(self.n)} patients, {format_count(self.events)} "
            f"{'with the event' if self.horizon is None else 'events by then'}; {kind_words(self.kind)})."
        )

    def scalars(self) -> dict[str, float]:
        """Return each strategy's net benefit at the middle threshold, with limits."""
        numbers: dict[str, float] = {}
        at = self._middle
        by = "" if self.horizon is None else f"{self.horizon:g}{self.unit}_"
        for name in [*self._strategies, ALL]:
            one = self.estimate(at, name)
            label = f"net_benefit_{name}_{100 * at:g}pct_{by}{self.kind}".replace(" ", "_")
            numbers |= {label: one.value, f"{label}_low": one.low, f"{label}_high": one.high}
        return numbers

    def table(self) -> pd.DataFrame | None:
        """Return net benefits as words where thresholds are few; else the figure says it all."""
        rows = self.curves[self.curves["reference"] == ""]
        if len(rows) > 30:
            return None
        return pd.DataFrame(
            [
                (f"{100 * row.threshold:.3g} %", row.strategy, f"{format_number(row.net_benefit)} ({format_number(row.low)} to "
                 f"{format_number(row.high)})", f"{100 * row.share:.0f} %")
                for row in rows.itertuples()
            ],
            columns=["Threshold", "Acting on", "Net benefit (95% CI)", "Share acted on"],
        )  # fmt: skip

    def draw(self, figure: Any) -> None:
        """Draw net benefit over thresholds."""
        axes = figure.subplots()
        rows = self.curves[self.curves["reference"] == ""]
        colours = [COLOURS[name] for name in ("experimental", "third", "fourth", "fifth")]
        for k, (name, own) in enumerate(rows.groupby("strategy", sort=False)):
            colour = COLOURS["reference"] if name == ALL else colours[k % 4]
            axes.fill_between(own["threshold"], own["low"], own["high"], color=colour, alpha=0.15, linewidth=0)
            axes.plot(own["threshold"], own["net_benefit"], color=colour, label=name)
        axes.axhline(0, color="black", linewidth=0.8)
        shown = "Absolute risk reduction worth a treatment" if self.of == "treatment" else "Threshold risk"
        axes.set_xlabel(shown if self.horizon is None else f"{shown} ({self.horizon:g} {self.unit})")
        axes.set_ylabel("Net benefit (95% CI)")
        axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
        axes.legend(frameon=False)


def decision_curve(
    time: Any,
    event: Any,
    risks: Mapping[str, Any],
    treated: Any,
    *,
    thresholds: Sequence[float],
    horizon: float,
    unit: str,
    kind: Kind,
    competing: Any = None,
) -> NetBenefit:
    """Return the net benefit of acting on predicted risks under control, judged on the control arm.

    Parameters
    ----------
    time, event, competing
        As in `brier`, of all patients, shape ``(n,)``.
    risks
        Of each model by name the predicted risk under control by the horizon, shape ``(n,)``.
    treated
        True in the experimental arm, whose patients are left out, shape ``(n,)``.
    thresholds
        Risks from which on one would act, ascending, above 0 and below 1: set by clinicians, not by the data.
    horizon, unit
        At least 10 control patients must be followed beyond it.
    kind
        What the predictions are; apparent curves are too good.

    Returns
    -------
    NetBenefit
        ``mean(w 1{risk >= t} (1{event by h} - 1{no event by h} t / (1 - t)))``, w as in `brier`; the patients' influences
        include those of the censoring curve.

    Raises
    ------
    DataError
        If the data cannot be used, a risk is no probability or a threshold not within 0 and 1.
    AnalysisError
        If fewer than 10 control patients are followed beyond the horizon.
    """
    outcome = checked_outcome(time, event, competing)
    control = ~arm_flags(treated, outcome.time.size)
    arm = _followed(outcome, control, "control", horizon)
    return NetBenefit(curves_of_risk(arm, control, risks, thresholds), "risk under control", horizon, unit, kind,
                      int(control.sum()), int(arm.case.sum()))  # fmt: skip


def net_benefit_of_treatment(
    time: Any,
    event: Any,
    benefits: Mapping[str, Any],
    treated: Any,
    *,
    thresholds: Sequence[float],
    horizon: float,
    unit: str,
    kind: Kind,
    competing: Any = None,
) -> NetBenefit:
    """Return the net benefit of treating whoever is predicted to gain enough, in a randomised trial.

    Parameters
    ----------
    time, event, competing
        As in `brier`, shape ``(n,)``; the event is bad.
    benefits
        Of each model by name the predicted absolute reduction of the risk by the horizon, shape ``(n,)``.
    treated
        True in the experimental arm, shape ``(n,)``; the allocation must not depend on the predictions.
    thresholds
        Absolute risk reductions that are just worth a treatment, ascending, from 0 to below 1.
    horizon, unit
        At least 10 patients of each arm must be followed beyond it.
    kind
        What the predictions are; apparent curves are too good.

    Returns
    -------
    NetBenefit
        ``q (r0 - r1 - t)``: q the share of patients with a predicted benefit of at least t, r0 and r1 their risks in the
        control and the experimental arm, weighted for censoring by the arm's Kaplan-Meier curve. Treating everybody has
        the whole trial's risk difference less t.

    Raises
    ------
    DataError
        If the data cannot be used, a benefit is not within -1 and 1 or a threshold not within 0 and 1.
    AnalysisError
        If fewer than 10 patients of an arm are followed beyond the horizon, or all or none are treated.
    """
    outcome = checked_outcome(time, event, competing)
    experimental = arm_flags(treated, outcome.time.size)
    arms = [
        (flag, _followed(outcome, flag, name, horizon))
        for flag, name in ((~experimental, "control"), (experimental, "experimental"))
    ]
    events = int((outcome.event & not_after(outcome.time, horizon)).sum())
    return NetBenefit(
        curves_of_treatment(arms, benefits, thresholds), "treatment", horizon, unit, kind, experimental.size, events
    )


def _followed(outcome: Outcome, flag: Flags, name: str, horizon: float) -> Arm:
    if not flag.any():
        raise AnalysisError(f"the {name} arm has no patients: net benefit needs them")
    time, event, ended = outcome.time[flag], outcome.event[flag], outcome.ended[flag]
    beyond = checked_horizon(time, horizon)
    model = kaplan_meier_censoring(time, ended)
    return Arm(event & ~beyond, model.weights(beyond, horizon), lambda part: model.influence(part, horizon))
