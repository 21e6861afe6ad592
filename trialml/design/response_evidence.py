"""What a trial and its response model say of the next trial's patients: numbers alone, with their uncertainty.

The joint distribution of the two effects is what O'Hagan and Stevens call the design prior: what is believed of the truth when
the next trial is chosen. It comes from shrunken, cross-fitted effects; naive ones have no place here.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, logit, ndtr

from trialml.design.refusals import require_between, require_finite, require_positive, require_positive_definite
from trialml.errors import AnalysisError
from trialml.result import Z95, Estimate, Result, format_count, format_number, format_p

__all__ = [
    "GroupEvidence",
    "Misclassification",
    "PlannedEndpoint",
    "ResponseEvidence",
    "Validation",
]

Vector = NDArray[np.float64]
EndpointKind = Literal["time to event", "binary", "continuous"]
LOG_HAZARD_RATIO = "log hazard ratio"


@dataclass(frozen=True)
class PlannedEndpoint:
    """The endpoint on which the effects stand, and on which the next trial is planned.

    Attributes
    ----------
    kind, name
        ``"time to event"``, ``"binary"`` or ``"continuous"``, and what it is called.
    scale
        What an effect is, in words: ``"log hazard ratio"`` of a time to event, a benefit (higher is better) of any other.
    unit
        Of the effect; empty for a ratio.
    horizon_months
        Where the risk under control is read; NaN where there is no follow-up.
    higher_is_better
        Which way the outcome is better for the patient; not used for a time to event.
    """

    kind: EndpointKind
    name: str
    _: KW_ONLY
    scale: str = LOG_HAZARD_RATIO
    unit: str = ""
    horizon_months: float = math.nan
    higher_is_better: bool = False

    @property
    def timed(self) -> bool:
        """Whether effects are log hazard ratios."""
        return self.kind == "time to event"

    def shown(self, benefit: float) -> str:
        """Return a benefit as it is read: a hazard ratio, or a difference with its unit."""
        if self.timed:
            return f"hazard ratio {format_number(math.exp(-benefit))}"
        return f"{format_number(benefit)}{f' {self.unit}' if self.unit else ''}"


@dataclass(frozen=True)
class Misclassification:
    """How a rule errs on new patients.

    Attributes
    ----------
    lost
        The probability that a patient of the stratum is put outside it.
    taken
        The probability that a patient outside the stratum is put inside it.
    """

    lost: float = 0.0
    taken: float = 0.0

    def __post_init__(self) -> None:
        for name in ("lost", "taken"):
            value = require_positive(f"{name}, of the misclassification,", getattr(self, name), zero=True)
            if value >= 1:
                raise AnalysisError(f"{name}, of the misclassification, is {value:g}: give a probability below 1")


@dataclass(frozen=True)
class GroupEvidence:
    """What is known under control of the patients on one side of the rule; NaN where the endpoint has no such number.

    Attributes
    ----------
    control_hazard_per_month
        Event hazard under control, of a time to event.
    control_events
        Events that the hazard rests on; NaN where fewer than 11, which no report shows.
    control_mean
        Mean, or share with the event, under control.
    sd
        Standard deviation within an arm, of a continuous endpoint.
    """

    control_hazard_per_month: float = math.nan
    control_events: float = math.nan
    control_mean: float = math.nan
    sd: float = math.nan

    def mixed(self, other: GroupEvidence, weight: float) -> GroupEvidence:
        """Return the group in which `weight` of the patients are of this one and the rest of the other."""
        hazard, mean, variance = (
            weight * one + (1 - weight) * two
            for one, two in (
                (self.control_hazard_per_month, other.control_hazard_per_month),
                (self.control_mean, other.control_mean),
                (self.sd**2, other.sd**2),
            )
        )
        return GroupEvidence(hazard, self.control_events + other.control_events, mean, math.sqrt(variance))


@dataclass(frozen=True)
class Validation:
    """Whether the model passed its validation, and what it fell short of."""

    passed: bool
    failed: tuple[str, ...] = ()
    words: str = ""


class Overall(NamedTuple):
    """The benefit of all comers: mean and standard deviation of what is believed."""

    mean: float
    sd: float


@dataclass(frozen=True, eq=False)
class ResponseEvidence(Result):
    """What a validated response model carries into a trial design.

    Attributes
    ----------
    endpoint
        The endpoint and the planning scale.
    rule, complement
        Who is selected and who is not, in words.
    inside, outside
        The two groups under control.
    mean, covariance
        Joint normal distribution of the effects inside and outside, in this order, after shrinkage, on the planning scale.
    data_covariance
        Sampling covariance of the effects before shrinkage: what the patients of this trial tell.
    count, n
        Patients whom the rule selects, of how many.
    heterogeneity_p
        Of the global test, two-sided.
    misclassification
        How the rule errs on new patients.
    effects_of
        ``"selected groups"``: the effects are those of patients selected by rules that had not seen them, so that the rule's errors
        are in the numbers (as cross-fitted effects are); ``"true groups"``: they are those of the groups as they truly are, which the
        errors dilute.
    validation
        Whether the model passed.
    model_name, model_version, trial, data_sha256
        What the numbers rest on.
    other_rules
        The same of the rules that cut the strata elsewhere, for `trialml.design.rule_choice.choose_rule`.

    Raises
    ------
    AnalysisError
        If the rule selects nobody or everybody, the covariance is not positive definite, or a number is outside its range.
    """

    title = "What the response model carries into the next trial"
    methods = (
        "The next trial is chosen under the joint normal distribution of the effects inside and outside the stratum, from "
        "cross-fitted effects after hierarchical shrinkage; naive effects are not used. The prevalence has a binomial error on the logit "
        "scale."
    )
    references = (
        "O'Hagan A, Stevens JW. Bayesian assessment of sample size for clinical trials of cost-effectiveness. Med Decis Making "
        "2001;21:219-230.",
    )

    endpoint: PlannedEndpoint
    rule: str
    complement: str
    inside: GroupEvidence
    outside: GroupEvidence
    mean: tuple[float, float]
    covariance: tuple[tuple[float, float], tuple[float, float]]
    data_covariance: tuple[tuple[float, float], tuple[float, float]]
    count: float
    n: float
    heterogeneity_p: float
    misclassification: Misclassification = Misclassification()
    effects_of: Literal["selected groups", "true groups"] = "selected groups"
    validation: Validation = Validation(passed=True)
    model_name: str = ""
    model_version: str = ""
    trial: str = ""
    data_sha256: str = ""
    other_rules: tuple[ResponseEvidence, ...] = ()

    def __post_init__(self) -> None:
        require_positive("n, of the patients that the rule was read in,", self.n)
        if not 0 < self.count < self.n:
            whom = "nobody" if self.count <= 0 else "everybody"
            raise AnalysisError(
                f"the rule '{self.rule}' selects {whom} ({format_count(self.count)} of {format_count(self.n)} patients): there is no "
                "stratum to enrich for, so plan the trial in all comers or form other strata"
            )
        for name, pair in zip(("inside", "outside"), self.mean, strict=True):
            require_finite(f"the effect {name} the stratum", pair)
        require_positive_definite("the posterior covariance of the two effects", self.covariance)
        require_positive_definite("the sampling covariance of the two effects", self.data_covariance)
        if not 0 <= require_finite("the p-value of the global test of heterogeneity", self.heterogeneity_p) <= 1:
            raise AnalysisError(
                f"the p-value of the global test of heterogeneity is {self.heterogeneity_p:g}: give one from 0 to 1"
            )
        for name, group in (("inside", self.inside), ("outside", self.outside)):
            self._check_group(name, group)

    def _check_group(self, name: str, group: GroupEvidence) -> None:
        where = f"{name} the stratum"
        if self.endpoint.kind == "time to event":
            require_positive(f"control_hazard_per_month {where}", group.control_hazard_per_month)
        elif self.endpoint.kind == "binary":
            require_between(f"the share with the event under control {where}", group.control_mean, 0.0, 1.0)
        else:
            require_finite(f"the mean under control {where}", group.control_mean)
            require_positive(f"the standard deviation within an arm {where}", group.sd)

    @property
    def share(self) -> float:
        """The share of new patients whom the rule selects."""
        share = self.count / self.n
        if self.effects_of == "selected groups":
            return share
        return share * (1 - self.misclassification.lost) + (1 - share) * self.misclassification.taken

    @property
    def prevalence(self) -> Estimate:
        """The share of new patients whom the rule selects, with its 95 % interval on the logit scale."""
        share = self.share
        half = Z95 / math.sqrt(self.n * share * (1 - share))
        low, high = (float(expit(logit(share) + side * half)) for side in (-1, 1))
        return Estimate(share, low, high, scale="prevalence", kind="crossfit", n=round(self.n),
                        se=math.sqrt(share * (1 - share) / self.n), method="binomial, logit interval")  # fmt: skip

    @property
    def sign(self) -> float:
        """What turns an effect on the planning scale into a benefit."""
        return -1.0 if self.endpoint.timed else 1.0

    def _mixing(self) -> Vector:
        """Return how much of the selected and of the others is truly inside and outside, shape (2, 2)."""
        if self.effects_of == "selected groups":
            return np.eye(2)
        share, errs, kept = self.count / self.n, self.misclassification, self.share
        inside = share * (1 - errs.lost) / kept
        left_out = share * errs.lost / (1 - kept)
        return np.array([[inside, 1 - inside], [left_out, 1 - left_out]])

    @property
    def benefit_mean(self) -> Vector:
        """Expected benefits of the selected and of the others, shape (2,); higher is better."""
        return np.asarray(self._mixing() @ (self.sign * np.asarray(self.mean, dtype=np.float64)))

    @property
    def benefit_covariance(self) -> Vector:
        """Their covariance, shape (2, 2)."""
        mixing = self._mixing()
        return np.asarray(mixing @ np.asarray(self.covariance, dtype=np.float64) @ mixing.T)

    @property
    def groups(self) -> tuple[GroupEvidence, GroupEvidence]:
        """The selected and the others under control."""
        if self.effects_of == "selected groups":
            return self.inside, self.outside
        weights = self._mixing()[:, 0]
        return self.inside.mixed(self.outside, weights[0]), self.inside.mixed(self.outside, weights[1])

    @property
    def overall(self) -> Overall:
        """What is believed of the benefit of all comers, the prevalence-weighted mean of both."""
        weights = np.array([self.share, 1 - self.share])
        return Overall(
            float(weights @ self.benefit_mean), math.sqrt(float(weights @ self.benefit_covariance @ weights))
        )

    @property
    def difference_probability(self) -> float:
        """The probability that the selected benefit more than the others."""
        mean, spread = self.benefit_mean, self.benefit_covariance
        variance = spread[0, 0] + spread[1, 1] - 2 * spread[0, 1]
        return float(ndtr((mean[0] - mean[1]) / math.sqrt(variance)))

    def replaced(self, **changes: object) -> ResponseEvidence:
        """Return this evidence with some fields changed, checked anew."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]

    def effect(self, place: int) -> Estimate:
        """Return the effect inside (0) or outside (1) with its 95 % interval, a hazard ratio or a benefit."""
        value, se = self.mean[place], math.sqrt(self.covariance[place][place])
        timed = self.endpoint.timed
        numbers = (value, value - Z95 * se, value + Z95 * se)
        shown, low, high = (math.exp(one) if timed else one for one in numbers)
        return Estimate(
            shown,
            low,
            high,
            scale="hazard ratio, shrunken" if timed else f"{self.endpoint.scale}, shrunken",
            unit="" if timed else self.endpoint.unit,
            kind="crossfit",
            se=se,
            method="hierarchical shrinkage, 95 % credible limits",
        )

    def frame(self) -> pd.DataFrame:
        """Return one row a group: rule, share, effect with limits, correlation of the two, and what is known under control."""
        rows = []
        correlation = self.covariance[0][1] / math.sqrt(self.covariance[0][0] * self.covariance[1][1])
        shares = (self.count / self.n, 1 - self.count / self.n)
        for place, (name, words, group) in enumerate(
            (("inside", self.rule, self.inside), ("outside", self.complement, self.outside))
        ):
            effect = self.effect(place)
            rows.append(
                {
                    "group": name,
                    "rule": words,
                    "share": shares[place],
                    "effect": effect.value,
                    "low": effect.low,
                    "high": effect.high,
                    "scale": effect.scale,
                    "correlation": correlation,
                    "lost": self.misclassification.lost,
                    "taken": self.misclassification.taken,
                    **dataclasses.asdict(group),
                }
            )
        return pd.DataFrame(rows)

    def table(self) -> pd.DataFrame:
        """Return the two groups as they are read."""
        effects = [self.effect(place) for place in (0, 1)]
        shown = [f"{format_number(e.value)} ({format_number(e.low)} to {format_number(e.high)})" for e in effects]
        shares = [f"{100 * share:.0f} %" for share in (self.share, 1 - self.share)]
        heads = ["Rule", "Share", f"{effects[0].scale.capitalize()} (95% credible interval)"]
        return pd.DataFrame(list(zip((self.rule, self.complement), shares, shown, strict=True)), columns=heads)

    def text(self) -> str:
        """Return who is selected, the effects of both groups, and what the model rests on."""
        at = self.prevalence
        name = f"{self.model_name}{f' version {self.model_version}' if self.model_version else ''}"
        verdict = "passed" if self.validation.passed else f"did not pass ({', '.join(self.validation.failed)})"
        on = " (hazard ratios)" if self.endpoint.timed else f" ({self.endpoint.scale})"
        inside, outside = (self.effect(place).text().replace("95% CI", "95% credible interval") for place in (0, 1))
        return (
            f"The rule '{self.rule}' selects {100 * at.value:.0f} % of patients (95% CI {100 * at.low:.0f} to {100 * at.high:.0f} %). After "
            f"shrinkage the effect{on} is {inside} inside and {outside} outside; the selected benefit more with probability "
            f"{100 * self.difference_probability:.0f} %, and the global test of heterogeneity has p {_equals(self.heterogeneity_p)}. The "
            f"model{f' {name}' if name else ''} {verdict} its validation."
        )

    def scalars(self) -> Mapping[str, float]:
        """Return prevalence, effects with limits and the probability that the selected benefit more."""
        numbers = {"prevalence": self.prevalence.value, "difference_probability": self.difference_probability}
        for place, name in enumerate(("effect_inside", "effect_outside")):
            effect = self.effect(place)
            numbers |= {name: effect.value, f"{name}_low": effect.low, f"{name}_high": effect.high}
        return numbers


def _equals(p: float) -> str:
    shown = format_p(p)
    return shown if shown[0] in "<>" else f"= {shown}"
