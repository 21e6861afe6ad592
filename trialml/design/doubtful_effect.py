"""Assurance where it is also possible that the treatment does nothing at all."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from trialml.design.assurance import assurance_of, power_of
from trialml.design.group_sequential import Design
from trialml.design.refusals import require_finite, require_positive
from trialml.errors import AnalysisError
from trialml.result import Result, format_count, format_number

__all__ = ["Assurance", "assurance_with_doubt"]


@dataclass(frozen=True, eq=False)
class Assurance(Result):
    """The probability of success under a prior that mixes no effect with a normal log hazard ratio.

    Attributes
    ----------
    design
        The rules.
    events
        Events at the final analysis.
    log_hazard_ratio, se
        Mean and standard deviation of the log hazard ratio where there is an effect.
    no_effect_probability
        The probability that the hazard ratio is 1.
    power
        Probability of rejection at ``exp(log_hazard_ratio)``.
    if_effect, if_none
        Probability of rejection averaged over the normal distribution, and without effect.
    """

    title: ClassVar[str] = "Assurance"
    methods: ClassVar[str] = (
        "Assurance is the power averaged over what is believed of the effect: no effect with the stated probability, and "
        "otherwise a normal log hazard ratio, integrated by Gauss-Legendre quadrature."
    )
    references: ClassVar[tuple[str, ...]] = (
        "O'Hagan A, Stevens JW, Campbell MJ. Assurance in clinical trial design. Pharm Stat 2005;4:187-201.",
    )

    design: Design
    events: float
    log_hazard_ratio: float
    se: float
    no_effect_probability: float
    power: float
    if_effect: float
    if_none: float

    @property
    def value(self) -> float:
        """The assurance."""
        return (1 - self.no_effect_probability) * self.if_effect + self.no_effect_probability * self.if_none

    @property
    def false_share(self) -> float:
        """The probability that there is no effect, given that the trial rejects."""
        return self.no_effect_probability * self.if_none / self.value

    def frame(self) -> pd.DataFrame:
        """Return one row: what is believed, and the probabilities of rejection."""
        return pd.DataFrame(
            {
                "events": [self.events],
                "log_hazard_ratio": self.log_hazard_ratio,
                "log_hazard_ratio_se": self.se,
                "no_effect_probability": self.no_effect_probability,
                "alpha_one_sided": self.design.alpha,
                "power": self.power,
                "rejection_if_effect": self.if_effect,
                "rejection_if_none": self.if_none,
                "assurance": self.value,
                "no_effect_given_rejection": self.false_share,
            }
        )

    def table(self) -> pd.DataFrame:
        """Return what the effect may be, how likely that is held to be, and how likely the trial then rejects."""
        share = 100 * self.no_effect_probability
        return pd.DataFrame(
            {
                "If": [
                    "the effect is as assumed",
                    "there is an effect, of unknown size",
                    "treatment does nothing",
                    "all told",
                ],
                "Believed with": ["not applicable", f"{100 - share:g} %", f"{share:g} %", "100 %"],
                "The trial rejects with": [
                    f"{100 * value:.1f} %" for value in (self.power, self.if_effect, self.if_none, self.value)
                ],
            }
        )

    def text(self) -> str:
        """Return the assurance in words; alpha is one-sided and said so."""
        ratio = math.exp(self.log_hazard_ratio)
        low, high = (math.exp(self.log_hazard_ratio + sign * 1.959963984540054 * self.se) for sign in (-1, 1))
        return (
            f"With {format_count(self.events)} events at alpha {self.design.alpha:g} one-sided, the power is "
            f"{100 * self.power:.1f} % if the hazard ratio is {format_number(ratio)}. If treatment does nothing with "
            f"probability {100 * self.no_effect_probability:g} %, and the hazard ratio otherwise lies between "
            f"{format_number(low)} and {format_number(high)} with 95 % probability, the trial rejects with probability "
            f"{100 * self.value:.1f} %; of such rejections {100 * self.false_share:.1f} % would be of a treatment that "
            "does nothing."
        )

    def scalars(self) -> Mapping[str, float]:
        """Return the probabilities by name."""
        return {"assurance": self.value, "power": self.power, "no_effect_given_rejection": self.false_share}


def assurance_with_doubt(
    design: Design, events: float, log_hazard_ratio: float, se: float, *, no_effect_probability: float
) -> Assurance:
    """Return the assurance under a prior with a probability of no effect.

    Parameters
    ----------
    design
        The rules.
    events
        Events at the final analysis, both arms together.
    log_hazard_ratio, se
        Mean and standard deviation of the log hazard ratio, experimental to control, where there is an effect.
    no_effect_probability
        From 0 to 1: the probability that the hazard ratio is 1.

    Returns
    -------
    Assurance

    Raises
    ------
    AnalysisError
        If a number is outside its range.

    References
    ----------
    O'Hagan, A., Stevens, J. W. and Campbell, M. J. (2005). Assurance in clinical trial design.
    Pharmaceutical Statistics 4, 187-201.
    """
    doubt = require_finite("no_effect_probability", no_effect_probability)
    if not 0 <= doubt <= 1:
        raise AnalysisError(f"no_effect_probability is {doubt:g}: give a probability from 0 to 1")
    return Assurance(
        design=design,
        events=require_positive("events", events),
        log_hazard_ratio=require_finite("the log hazard ratio", log_hazard_ratio),
        se=require_positive("the standard error of the log hazard ratio", se, zero=True),
        no_effect_probability=doubt,
        power=power_of(design, events, log_hazard_ratio),
        if_effect=assurance_of(design, events, log_hazard_ratio, se),
        if_none=power_of(design, events, 0.0),
    )
