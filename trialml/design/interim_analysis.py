"""An interim analysis of a group-sequential trial: what the looks held say, and what is to be expected of the rest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from trialml.design.effect_scales import EffectScale, effect_scale
from trialml.design.group_sequential import Design
from trialml.design.monitoring import LooksHeld, conditional_power, finite_numbers, predictive_power, repeated_p
from trialml.design.refusals import require_finite, require_positive
from trialml.design.sample_size import information_per_event
from trialml.errors import AnalysisError
from trialml.result import COLOURS, Estimate, Result, format_number, format_p, with_limits

__all__ = ["InterimAnalysis", "interim_analysis", "looks_held"]


@dataclass(frozen=True, eq=False)
class InterimAnalysis(Result):
    """The looks held so far, one row each, and the power of those to come.

    Attributes
    ----------
    design
        The rules in use: as planned, or with the bounds of the information observed.
    scale
        What the effect is: ``"hazard ratio"`` and so on.
    looks
        One row a look held: ``look, information, events, information_fraction, z, one_sided_p, critical_z, futility_z,
        decision, effect, repeated_low, repeated_high, repeated_p, conditional_rejection``. The repeated limits have
        one-sided coverage of one minus alpha each, whatever look is read; `conditional_rejection` is the conditional
        power without effect by the fractions of the design in use, futility bounds obeyed only where they bind. `events`
        is NaN where information was given.
    to_come
        One row a look to come and an effect: ``look, under, effect, information, conditional_power``, the last
        cumulative over looks; under ``"observed trend"``, ``"no effect"`` and, where given, ``"assumed effect"``.
    predictive_power
        Conditional power averaged over the posterior of the effect, NaN where no look is to come.
    prior
        The prior of the effect in words.
    sequential_p
        The least repeated p-value so far, one-sided.
    """

    title: ClassVar[str] = "Interim analysis"
    methods: ClassVar[str] = (
        "Repeated confidence intervals use each look's critical value; repeated p-values are the smallest one-sided alpha at "
        "which the design would have rejected. Conditional power is computed by numerical integration over all looks to come, "
        "futility bounds obeyed; predictive power averages it over the posterior distribution of the effect."
    )
    references: ClassVar[tuple[str, ...]] = (
        "Jennison C, Turnbull BW. Interim analyses: the repeated confidence interval approach. J R Stat Soc B "
        "1989;51:305-361.",
        "Proschan MA, Lan KKG, Wittes JT. Statistical monitoring of clinical trials: a unified approach. Springer, New York "
        "2006.",
        "Spiegelhalter DJ, Freedman LS, Blackburn PR. Monitoring clinical trials: conditional or predictive power? Control "
        "Clin Trials 1986;7:8-17.",
    )
    figure_size: ClassVar[tuple[float, float]] = (6.2, 3.4)

    design: Design
    scale: str
    looks: pd.DataFrame
    to_come: pd.DataFrame
    predictive_power: float
    prior: str
    sequential_p: float

    @property
    def estimate(self) -> Estimate:
        """The effect at the last look held with its repeated confidence interval."""
        last = self.looks.iloc[-1]
        return Estimate(
            float(last["effect"]),
            float(last["repeated_low"]),
            float(last["repeated_high"]),
            scale=self.scale,
            kind="direct",
            level=1 - 2 * self.design.alpha,
            events=None if math.isnan(last["events"]) else round(last["events"]),
            method="repeated confidence interval; the estimate itself is not adjusted for the looks",
        )

    def conditional_power(self, under: str) -> float:
        """Return the conditional power over all looks to come under an effect named in `to_come`; NaN without one."""
        rows = self.to_come[self.to_come["under"] == under]
        return float(rows["conditional_power"].iloc[-1]) if len(rows) else math.nan

    def frame(self) -> pd.DataFrame:
        """Return the looks held and those to come in one frame, the totals repeated on each row."""
        held = self.looks.assign(held=True)
        to_come = self.to_come.assign(held=False)
        rows = [one for one in (held, to_come) if len(one)]
        return pd.concat(rows, ignore_index=True).assign(
            scale=self.scale,
            alpha_one_sided=self.design.alpha,
            predictive_power=self.predictive_power,
            prior=self.prior,
            sequential_p=self.sequential_p,
        )

    def text(self) -> str:
        """Return the state of the trial in words; alpha and p are one-sided and said so."""
        last = self.looks.iloc[-1]
        after = f" after {last['events']:.0f} events" if not math.isnan(last["events"]) else ""
        words = (
            f"At look {int(last['look'])}{after} ({100 * last['information_fraction']:.1f} % of the information) z is "
            f"{format_number(last['z'])} against a critical value of {last['critical_z']:.3f} (alpha {self.design.alpha:g} "
            f"one-sided): {last['decision']}. The {self.scale} is {self.estimate.text()}, a repeated confidence interval; the "
            f"repeated one-sided p-value is {format_p(last['repeated_p'])}."
        )
        if not len(self.to_come):
            return words
        powers = ", ".join(
            f"{100 * self.conditional_power(under):.1f} % under {'the ' if under != 'no effect' else ''}{under}"
            for under in dict.fromkeys(self.to_come["under"])
        )
        return (
            f"{words} If the trial goes on, its conditional power is {powers}; its predictive power is "
            f"{100 * self.predictive_power:.1f} % ({self.prior})."
        )

    def scalars(self) -> Mapping[str, float]:
        """Return the headline numbers by name."""
        last = self.looks.iloc[-1]
        numbers = with_limits({"effect": self.estimate})
        numbers |= {"z": float(last["z"]), "repeated_p": float(last["repeated_p"]), "sequential_p": self.sequential_p}
        if len(self.to_come):
            numbers["predictive_power"] = self.predictive_power
            for under in dict.fromkeys(self.to_come["under"]):
                numbers[f"conditional_power_{under.replace(' ', '_')}"] = self.conditional_power(under)
        return numbers

    def heading(self) -> str:
        """Return the title with the number of the look."""
        return f"{self.title}: look {len(self.looks)} of {self.design.looks}"

    def table(self) -> pd.DataFrame:
        """Return the looks held as a committee reads them."""
        rows = self.looks
        return pd.DataFrame(
            {
                "Look": [f"{int(look)}" for look in rows["look"]],
                "Information": [f"{100 * t:.1f} %" for t in rows["information_fraction"]],
                "z": [f"{value:.3f}" for value in rows["z"]],
                "Reject at z of": [f"{value:.3f}" for value in rows["critical_z"]],
                "Decision": list(rows["decision"]),
                f"{self.scale.capitalize()} (repeated interval)": [
                    f"{format_number(row.effect)} ({format_number(row.repeated_low)} to {format_number(row.repeated_high)})"
                    for row in rows.itertuples()
                ],
                "Repeated one-sided p": [format_p(value) for value in rows["repeated_p"]],
                "Conditional power without effect": [
                    "n/a" if math.isnan(value) else f"{100 * value:.1f} %" for value in rows["conditional_rejection"]
                ],
            }
        )

    def draw(self, figure: Any) -> None:
        """Draw z at the looks held between the bounds of the design."""
        axes = figure.subplots()
        t = self.design.information_fractions
        axes.plot(
            t, self.design.critical_values, "o-", color=COLOURS["experimental"], markersize=5, label="efficacy bound"
        )
        low = np.array(self.design.futility_values)
        if np.isfinite(low).any():
            axes.plot(t, np.where(np.isfinite(low), low, np.nan), "s--", color=COLOURS["third"], label="futility bound")
        axes.plot(
            self.looks["information_fraction"], self.looks["z"], "D", color=COLOURS["control"], label="observed z"
        )
        axes.axhline(0.0, color=COLOURS["reference"], linewidth=0.8)
        axes.set_xlabel("Information fraction")
        axes.set_ylabel("z, positive in favour of experimental")
        axes.legend(frameon=False, fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)


def looks_held(
    design: Design,
    z: Sequence[float],
    *,
    information: Sequence[float] | None = None,
    events: Sequence[float] | None = None,
    maximum_information: float | None = None,
    maximum_events: float | None = None,
    final: bool = False,
) -> LooksHeld:
    """Return the looks held, from information or from events of a log-rank test.

    Events carry ``p (1 - p)`` of information on the log hazard ratio each, p the experimental share of patients.

    Raises
    ------
    AnalysisError
        If not exactly one of information and events is given, or the numbers cannot be the looks of the design.
    """
    if (information is None) == (events is None):
        raise AnalysisError("the looks must be measured once: give information or events")
    if information is not None:
        if maximum_events is not None:
            raise AnalysisError("maximum_events was given with information: give maximum_information")
        return LooksHeld(design, z, information, maximum_information, final)
    if maximum_information is not None:
        raise AnalysisError("maximum_information was given with events: give maximum_events")
    each = information_per_event(design.allocation_ratio)
    most = None if maximum_events is None else each * require_positive("maximum_events", maximum_events)
    given = finite_numbers("events", () if events is None else events)
    counted = tuple(each * require_positive("a number of events", one) for one in given)
    return LooksHeld(design, z, counted, most, final)


def interim_analysis(
    design: Design,
    z: Sequence[float],
    *,
    information: Sequence[float] | None = None,
    events: Sequence[float] | None = None,
    maximum_information: float | None = None,
    maximum_events: float | None = None,
    assumed_effect: float | None = None,
    prior: tuple[float, float] | None = None,
    scale: str | None = None,
    final: bool = False,
) -> InterimAnalysis:
    """Analyse a trial at an interim look, from the statistics of all looks held.

    Parameters
    ----------
    design
        The design as planned.
    z
        Shape (held,): statistics, positive in favour of the experimental arm (for a log-rank test, fewer events there
        than expected).
    information
        Shape (held,): one over the squared standard error of the effect's estimate at each look; or else
    events
        shape (held,): events of a log-rank test.
    maximum_information, maximum_events
        Planned for the last look. Where given, the bounds are those of the information observed, by the spending
        function; otherwise those of the planned fractions.
    assumed_effect
        On `scale`: adds conditional power under it.
    prior
        Mean on `scale` and standard deviation (of the log, for a ratio) of a normal prior of the effect; flat where
        not given.
    scale
        ``"hazard ratio"`` (the default with events), ``"log hazard ratio"``, ``"effect"`` (the default otherwise; high
        favours the experimental arm) or ``"ratio"`` (exponential of the effect).
    final
        Whether the last look held is the final analysis.

    Returns
    -------
    InterimAnalysis
        One row a look held, and the power of those to come.

    Raises
    ------
    AnalysisError
        If the looks cannot be those of the design, or a number is outside its range.

    References
    ----------
    Jennison C, Turnbull BW. Group sequential methods with applications to clinical trials, chapters 9 and 10. Chapman &
    Hall/CRC, Boca Raton 2000.
    """
    held = looks_held(
        design,
        z,
        information=information,
        events=events,
        maximum_information=maximum_information,
        maximum_events=maximum_events,
        final=final,
    )
    written = effect_scale(scale or ("effect" if events is None else "hazard ratio"))
    rows = [_look(held, look, written) for look in range(1, held.held + 1)]
    looks = pd.DataFrame(rows)
    looks.insert(2, "events", [math.nan] * len(rows) if events is None else [float(one) for one in events])
    ahead = held.held < held.design.looks
    effects = {"observed trend": held.z[-1] / math.sqrt(held.information[-1]), "no effect": 0.0}
    if assumed_effect is not None:
        effects["assumed effect"] = written.hidden(require_finite("assumed_effect", assumed_effect))
    to_come = [row for under, effect in effects.items() for row in _to_come(held, under, effect, written)]
    predicted, words = _predicted(held, prior, written) if ahead else (math.nan, "no look is to come")
    return InterimAnalysis(
        design=held.design,
        scale=written.name,
        looks=looks,
        to_come=pd.DataFrame(to_come, columns=["look", "under", "effect", "information", "conditional_power"]),
        predictive_power=predicted,
        prior=words,
        sequential_p=float(looks["repeated_p"].min()),
    )


def _look(held: LooksHeld, look: int, scale: EffectScale) -> dict[str, Any]:
    design, z, information = held.design, held.z[look - 1], held.information[look - 1]
    critical, futility = design.critical_values[look - 1], design.futility_values[look - 1]
    effect, reach = z / math.sqrt(information), critical / math.sqrt(information)
    low, high = scale.limits(effect - reach, effect + reach)
    last = look == design.looks
    without = np.zeros(design.looks - look)
    return {
        "look": look,
        "information": information,
        "information_fraction": design.information_fractions[look - 1],
        "z": z,
        "one_sided_p": 0.5 * math.erfc(z / math.sqrt(2)),
        "critical_z": critical,
        "futility_z": futility if math.isfinite(futility) else math.nan,
        "decision": _decision(design, z, (critical, futility), last=last),
        "effect": scale.shown(effect),
        "repeated_low": low,
        "repeated_high": high,
        "repeated_p": repeated_p(held, look),
        "conditional_rejection": math.nan
        if last
        else float(conditional_power(design, look, z, without, futility_obeyed=design.binding).sum()),
    }


def _decision(design: Design, z: float, bounds: tuple[float, float], *, last: bool) -> str:
    critical, futility = bounds
    if z >= critical:
        return "reject"
    if design.sides == 2 and z <= -critical:
        return "reject in favour of control"
    if last:
        return "do not reject"
    return "stop for futility" if z < futility else "continue"


def _to_come(held: LooksHeld, under: str, effect: float, scale: EffectScale) -> list[dict[str, Any]]:
    if held.held >= held.design.looks:
        return []
    information = held.all_information
    means = effect * np.sqrt(information[held.held :] - information[held.held - 1])
    powers = np.cumsum(conditional_power(held.design, held.held, held.z[-1], means, information))
    return [
        {
            "look": held.held + place,
            "under": under,
            "effect": scale.shown(effect),
            "information": float(information[held.held + place - 1]),
            "conditional_power": float(power),
        }
        for place, power in enumerate(powers, start=1)
    ]


def _predicted(held: LooksHeld, prior: tuple[float, float] | None, scale: EffectScale) -> tuple[float, str]:
    design, look, z = held.design, held.held, held.z[-1]
    information = held.all_information
    if prior is None:
        return predictive_power(design, look, z, information=information), "flat prior"
    given = finite_numbers("the prior", prior)
    if len(given) != 2:
        raise AnalysisError(f"the prior is {given}: give its mean and its standard deviation")
    mean, sd = scale.hidden(given[0]), require_positive("the standard deviation of the prior", given[1])
    last = float(information[-1])
    found = predictive_power(design, look, z, mean * math.sqrt(last), 1 / (sd * sd * last), information)
    return found, f"normal prior of mean {given[0]:g} and standard deviation {sd:g}"
