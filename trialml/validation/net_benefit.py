"""Would acting on the prediction do good? Decision curves on the control arm, and the net benefit of treatment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.errors import AnalysisError, DataError
from trialml.result import COLOURS, Z95, Estimate, Kind, Result, format_count, format_number
from trialml.survival.ipcw import (
    Outcome,
    checked_horizon,
    checked_outcome,
    checked_risk,
    kaplan_meier_censoring,
    standard_error,
)
from trialml.survival.ties import not_after

__all__ = ["NetBenefit", "decision_curve", "net_benefit_of_treatment"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
ALL = "everybody"


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
    horizon: float
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
        weighing = "Censoring is weighed by the inverse probability of remaining uncensored"
        if self.of == "treatment":
            return (
                "The net benefit of treating whoever is predicted to gain at least the threshold is the share so treated times the "
                "risk difference between the arms among them less the threshold, the smallest absolute risk reduction worth a "
                f"treatment. {weighing}, by arm; intervals are pointwise."
            )
        return (
            "Net benefit is the share of patients above the threshold who have the event less the odds of the threshold times the share "
            "who do not. It is computed on the control arm alone: in mixed arms the treatment's effect would stand for the model's. "
            f"{weighing}; intervals are pointwise."
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

    def text(self) -> str:
        """Return the net benefit at the middle threshold of the first strategy and its gain on acting on everybody."""
        at, name = self._middle, self._strategies[0]
        acted = "treating" if self.of == "treatment" else "acting on"
        which = "control arm" if self.of != "treatment" else "both arms"
        return (
            f"At a threshold of {100 * at:.3g} % by {self.horizon:g} {self.unit} the net benefit of {acted} whom {name} names is "
            f"{self.estimate(at, name).text()}, against 0 for nobody and {self.estimate(at, ALL).text()} for everybody, a difference of "
            f"{self.estimate(at, name, ALL).text()} ({which}, {format_count(self.n)} patients, {format_count(self.events)} events by "
            f"then; {self.kind})."
        )

    def scalars(self) -> dict[str, float]:
        """Return each strategy's net benefit at the middle threshold, with limits."""
        numbers: dict[str, float] = {}
        at = self._middle
        for name in [*self._strategies, ALL]:
            one = self.estimate(at, name)
            label = f"net_benefit_{name}_{100 * at:g}pct_{self.horizon:g}{self.unit}_{self.kind}".replace(" ", "_")
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
        axes.set_xlabel(f"{shown} ({self.horizon:g} {self.unit})")
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
    control = ~_flags(treated, outcome.time.size)
    at = _thresholds(thresholds)
    own = _of(outcome, control, "control")
    beyond = checked_horizon(own.time, horizon)
    model = kaplan_meier_censoring(own.time, own.ended)
    weight = model.weights(beyond, horizon)
    case = own.event & ~beyond
    acting = {name: checked_risk(risk, control.size, f"the risk of '{name}'")[control] for name, risk in risks.items()}

    def judge(acted: Flags, threshold: float) -> _Benefit:
        part = weight * acted * np.where(case, 1.0, -threshold / (1 - threshold))
        return _Benefit(float(part.mean()), part - part.mean() + model.influence(part, horizon), float(acted.mean()))

    return NetBenefit(
        _curves(acting, at, judge), "risk under control", horizon, unit, kind, int(control.sum()), int(case.sum())
    )


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
    experimental = _flags(treated, outcome.time.size)
    n, at = experimental.size, _thresholds(thresholds, lowest=0.0)
    arms = []
    for flag, name in ((~experimental, "control"), (experimental, "experimental")):
        own = _of(outcome, flag, name)
        beyond = checked_horizon(own.time, horizon)
        model = kaplan_meier_censoring(own.time, own.ended)
        arms.append((flag, model, model.weights(beyond, horizon) * (own.event & ~beyond)))
    acting = {}
    for name, benefit in benefits.items():
        values = np.asarray(benefit, dtype=float)
        if values.shape != (n,) or not np.isfinite(values).all() or np.abs(values).max() > 1:
            raise DataError(
                f"the benefit of '{name}' must hold one risk difference within -1 and 1 for each of the {n} patients"
            )
        acting[name] = values

    def judge(acted: Flags, threshold: float) -> _Benefit:
        share, gain, influence = float(acted.mean()), -threshold, np.zeros(n)
        if not all((acted & flag).any() for flag, _, _ in arms):
            return _Benefit(np.nan if acted.any() else 0.0, influence + (np.nan if acted.any() else 0.0), share)
        for sign, (flag, model, squares) in zip((1, -1), arms, strict=True):
            within = acted[flag]
            part, of_arm = squares * within, float(within.mean())
            risk = float(part.mean()) / of_arm
            gain += sign * risk
            moved = (part - risk * within + model.influence(part, horizon)) / of_arm
            influence[flag] += sign * share * moved * (n / flag.sum())
        return _Benefit(share * gain, influence + (acted - share) * gain, share)

    events = int((outcome.event & not_after(outcome.time, horizon)).sum())
    return NetBenefit(_curves(acting, at, judge), "treatment", horizon, unit, kind, n, events)


class _Benefit(NamedTuple):
    value: float
    influence: Floats
    share: float


def _curves(acting: Mapping[str, Floats], thresholds: Floats, judge: Any) -> pd.DataFrame:
    if not acting or ALL in acting:
        raise DataError(f"the models are {list(acting)}: name one or more, none of them '{ALL}'")
    rows: list[tuple[Any, ...]] = []
    size = len(next(iter(acting.values())))
    for t in thresholds.tolist():
        everybody = judge(np.ones(size, dtype=bool), t)
        for name, values in acting.items():
            one = judge(values >= t, t)
            gap = _Benefit(one.value - everybody.value, one.influence - everybody.influence, np.nan)
            rows += [(t, name, "", *_limits(one)), (t, name, ALL, *_limits(gap))]
        rows.append((t, ALL, "", *_limits(everybody)))
    columns = ["threshold", "strategy", "reference", "net_benefit", "low", "high", "se", "share"]
    return pd.DataFrame(rows, columns=columns)


def _limits(one: _Benefit) -> tuple[float, ...]:
    se = standard_error(one.influence)
    return one.value, one.value - Z95 * se, one.value + Z95 * se, se, one.share


def _flags(treated: Any, n: int) -> Flags:
    flags = np.asarray(treated)
    if flags.shape != (n,) or not np.isin(flags, (0, 1)).all():
        raise DataError(f"treated must be True or False for each of the {n} patients")
    return flags.astype(bool)


def _of(outcome: Outcome, flag: Flags, arm: str) -> Outcome:
    if not flag.any():
        raise AnalysisError(f"the {arm} arm has no patients: net benefit needs them")
    return Outcome(outcome.time[flag], outcome.event[flag], outcome.competing[flag])


def _thresholds(values: Sequence[float], lowest: float | None = None) -> Floats:
    at = np.atleast_1d(np.asarray(values, dtype=float))
    fits = (at >= lowest) if lowest is not None else (at > 0)
    if at.size == 0 or not (fits & (at < 1)).all() or not (np.diff(at) > 0).all():
        raise DataError(
            f"thresholds are {at.tolist()}: give rising probabilities below 1, set before the data were seen"
        )
    return at
