"""Estimate, interval and p-value of a group-sequential trial that has ended."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from trialml.design.effect_scales import effect_scale
from trialml.design.group_sequential import Design
from trialml.design.interim_analysis import looks_held
from trialml.design.monitoring import LooksHeld, stagewise_drift, stagewise_p
from trialml.errors import AnalysisError
from trialml.result import Estimate, Result, format_number, format_p, with_limits

__all__ = ["SequentialEstimate", "sequential_estimate"]


@dataclass(frozen=True, eq=False)
class SequentialEstimate(Result):
    """What a trial that has ended says, its looks allowed for by the stage-wise order.

    Attributes
    ----------
    design
        The rules in use.
    scale
        What the effect is: ``"hazard ratio"`` and so on.
    look
        The look at which the trial ended.
    z, information
        The statistic and the information there.
    events
        Events there, NaN where information was given.
    p
        Stage-wise p-value, one-sided.
    median_unbiased, low, high
        Median-unbiased estimate, and limits each of which errs with probability alpha.
    plain
        The estimate that does not allow for the looks.
    rejected
        Whether the null hypothesis is rejected in favour of the experimental arm.
    """

    title: ClassVar[str] = "Effect at the end of a group-sequential trial"
    methods: ClassVar[str] = (
        "The p-value, the median-unbiased estimate and its confidence interval follow the stage-wise order of outcomes, in "
        "which an earlier rejection is stronger evidence than a later one; futility bounds count where they bind."
    )
    references: ClassVar[tuple[str, ...]] = (
        "Tsiatis AA, Rosner GL, Mehta CR. Exact confidence intervals following a group sequential test. Biometrics "
        "1984;40:797-803.",
        "Jennison C, Turnbull BW. Group sequential methods with applications to clinical trials. Chapman & Hall/CRC, "
        "Boca Raton 2000.",
    )

    design: Design
    scale: str
    look: int
    z: float
    information: float
    events: float
    p: float
    median_unbiased: float
    low: float
    high: float
    plain: float
    rejected: bool

    @property
    def two_sided_p(self) -> float:
        """Twice the smaller of the one-sided p-values in either direction."""
        return 2 * min(self.p, 1 - self.p)

    @property
    def estimate(self) -> Estimate:
        """The median-unbiased estimate with its stage-wise confidence interval."""
        return Estimate(
            self.median_unbiased,
            self.low,
            self.high,
            scale=self.scale,
            kind="direct",
            level=1 - 2 * self.design.alpha,
            events=None if math.isnan(self.events) else round(self.events),
            method="median-unbiased, stage-wise order",
        )

    def frame(self) -> pd.DataFrame:
        """Return one row with every number."""
        return pd.DataFrame(
            {
                "look": [self.look],
                "z": [self.z],
                "information": [self.information],
                "events": [self.events],
                "scale": [self.scale],
                "median_unbiased": [self.median_unbiased],
                "low": [self.low],
                "high": [self.high],
                "plain": [self.plain],
                "p_one_sided": [self.p],
                "p_two_sided": [self.two_sided_p],
                "alpha_one_sided": [self.design.alpha],
                "rejected": [self.rejected],
            }
        )

    def text(self) -> str:
        """Return estimate, interval and p-value in words; alpha and p are one-sided and said so."""
        events = f" with {self.events:.0f} events" if not math.isnan(self.events) else ""
        verdict = "rejected" if self.rejected else "not rejected"
        return (
            f"The trial ended at look {self.look} of {self.design.looks}{events}; the null hypothesis is {verdict} (stage-wise "
            f"one-sided p {format_p(self.p)}, alpha {self.design.alpha:g} one-sided). The median-unbiased {self.scale} is "
            f"{self.estimate.text()}, by the stage-wise order; without allowing for the looks it is {format_number(self.plain)}."
        )

    def scalars(self) -> Mapping[str, float]:
        """Return the headline numbers by name."""
        return with_limits({"effect": self.estimate}) | {"p_one_sided": self.p, "effect_unadjusted": self.plain}


def sequential_estimate(
    design: Design,
    z: Sequence[float],
    *,
    information: Sequence[float] | None = None,
    events: Sequence[float] | None = None,
    maximum_information: float | None = None,
    maximum_events: float | None = None,
    scale: str | None = None,
    final: bool = False,
) -> SequentialEstimate:
    """Return estimate, interval and p-value of a trial that has ended with the last look given.

    Parameters
    ----------
    design, z, information, events, maximum_information, maximum_events, scale
        As in `trialml.design.interim_analysis.interim_analysis`.
    final
        Say so where the trial ended without crossing a bound and before the last look of the design.

    Returns
    -------
    SequentialEstimate
        The p-value is ``P(reject before) + P(go on, then z at or above the one seen)`` without effect; estimate and limits
        are the effects under which that probability is 1/2, alpha and one minus alpha.

    Raises
    ------
    AnalysisError
        If the looks cannot be those of the design, the trial goes on, or it went on past a bound that should have
        ended it.

    References
    ----------
    Tsiatis AA, Rosner GL, Mehta CR. Biometrics 1984;40:797-803.
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
    _require_end(held)
    written = effect_scale(scale or ("effect" if events is None else "hazard ratio"))
    look, alpha = held.held, held.design.alpha
    low, middle, high = (held.effect_of(stagewise_drift(held, one), look) for one in (alpha, 0.5, 1 - alpha))
    limits = written.limits(low, high)
    return SequentialEstimate(
        design=held.design,
        scale=written.name,
        look=look,
        z=held.z[-1],
        information=held.information[-1],
        events=math.nan if events is None else float(events[-1]),
        p=stagewise_p(held),
        median_unbiased=written.shown(middle),
        low=limits[0],
        high=limits[1],
        plain=written.shown(held.z[-1] / math.sqrt(held.information[-1])),
        rejected=held.z[-1] >= held.design.critical_values[look - 1],
    )


def _require_end(held: LooksHeld) -> None:
    design, look = held.design, held.held
    z, upper = np.array(held.z), np.array(design.critical_values)[:look]
    lower = -upper if design.sides == 2 else np.array(design.futility_values)[:look]
    crossed = (z >= upper) | (z < lower if design.sides == 1 else z <= lower)
    binds = (z >= upper) | ((z <= lower) if design.sides == 2 else (z < lower) & design.binding)
    if binds[:-1].any():
        past = int(np.argmax(binds[:-1])) + 1
        raise AnalysisError(
            f"look {past} of the {look} held crossed a bound that ends the trial (z {z[past - 1]:.3f}), so the stage-wise order "
            f"has no place for what followed: give the looks up to look {past}"
        )
    if not (crossed[-1] or held.final or look == design.looks):
        raise AnalysisError(
            f"at look {look} of {design.looks} z is {z[-1]:.3f}, short of the critical value {upper[-1]:.3f}, so the trial goes "
            "on: use interim_analysis, or say final=True if it ended here"
        )
