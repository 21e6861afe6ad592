"""Two arms, stratified or not, and what is compared between their curves: differences and ratios with limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy import special

from trialml.errors import AnalysisError, DataError, nearest
from trialml.result import Estimate, format_p
from trialml.survival.intervals import normal_quantile
from trialml.survival.product_limit import Curve, product_limit
from trialml.survival.rows import coded_labels
from trialml.survival.ties import checked_times, not_after

__all__ = ["ArmValue", "TwoArms", "difference_of", "p_cell", "p_words", "ratio_of", "two_arms"]


class ArmValue(NamedTuple):
    """A number of one arm and its standard error."""

    value: float
    se: float


class TwoArms(NamedTuple):
    """Curves of two arms, control first, in each stratum.

    Attributes
    ----------
    arms
        The two labels.
    patients
        Of each arm.
    strata
        The labels of the strata; one empty label where unstratified.
    weights
        Each stratum's share of the patients of both arms.
    curves
        A tuple of curves for each arm, one a stratum.
    """

    arms: tuple[str, str]
    patients: tuple[int, ...]
    strata: tuple[str, ...]
    weights: tuple[float, ...]
    curves: tuple[tuple[Curve, ...], ...]

    @property
    def strata_count(self) -> int:
        """How many strata there are, 1 where unstratified."""
        return len(self.strata)

    def named_curves(self) -> dict[str, Curve]:
        """Return every curve by the words that name it in a message."""
        named = {}
        for arm, own in zip(self.arms, self.curves, strict=True):
            for stratum, curve in zip(self.strata, own, strict=True):
                named[f"arm '{arm}'" + (f" in stratum '{stratum}'" if stratum else "")] = curve
        return named

    def events_by(self, t: float) -> tuple[int, ...]:
        """Return each arm's events up to `t`: what comes later tells nothing about the curve until then."""
        return tuple(sum(int(curve.n_event[not_after(curve.time, t)].sum()) for curve in own) for own in self.curves)

    def averages(self, read: Callable[[Curve], ArmValue]) -> tuple[ArmValue, ArmValue]:
        """Return each arm's average of what `read` finds on its curves, weighted by the strata's shares."""
        found = []
        for own in self.curves:
            values = [read(curve) for curve in own]
            value = float(np.dot(self.weights, [one.value for one in values]))
            variance = float(np.dot(np.square(self.weights), [one.se**2 for one in values]))
            found.append(ArmValue(value, float(np.sqrt(variance))))
        return found[0], found[1]


def two_arms(time: Any, event: Any, group: Any, control: str, experimental: str, strata: Any = None) -> TwoArms:
    """Return the curves of two arms by stratum; patients of other arms are left out.

    Parameters
    ----------
    time, event, group
        Follow-up times, flags and arm labels, shape ``(n,)``.
    control, experimental
        The labels to compare.
    strata
        One label a patient; None for one stratum.

    Raises
    ------
    DataError
        If an arm has no patient or the two labels are one.
    AnalysisError
        If a stratum holds patients of one of the two arms only.
    """
    times, flags = checked_times(time, event)
    labels, codes = coded_labels(group, times.size, "group")
    names = [str(label) for label in labels]
    arms = (str(control), str(experimental))
    for arm in arms:
        if arm not in names:
            raise DataError(f"no patient is in arm '{arm}': {nearest(arm, names)}")
    if arms[0] == arms[1]:
        raise DataError(f"control and experimental are both '{control}': name two arms")
    members = [codes == names.index(arm) for arm in arms]
    blocks, stratum = coded_labels(strata, times.size, "strata")
    either = members[0] | members[1]
    used = [s for s in range(blocks.size) if (either & (stratum == s)).any()]
    curves = []
    for arm, mine in zip(arms, members, strict=True):
        own = []
        for s in used:
            here = mine & (stratum == s)
            if not here.any():
                raise AnalysisError(
                    f"stratum '{blocks[s]}' has no patient of arm '{arm}': pool it with another stratum"
                )
            own.append(product_limit(times[here], flags[here]))
        curves.append(tuple(own))
    sizes = [float((either & (stratum == s)).sum()) for s in used]
    return TwoArms(
        arms,
        tuple(int(mine.sum()) for mine in members),
        ("",) if strata is None else tuple(str(blocks[s]) for s in used),
        tuple(size / sum(sizes) for size in sizes),
        tuple(curves),
    )


NO_VARIANCE = "no variance: nobody, or everybody at once, had had the event by then"


def difference_of(
    control: ArmValue, experimental: ArmValue, scale: str, unit: str, shared: dict[str, Any]
) -> tuple[Estimate, float]:
    """Return experimental less control with normal limits, and its two-sided p; `shared` holds level, n and events.

    Where no arm has a variance, limits and p are NaN and the method says why.
    """
    z = normal_quantile(shared["level"])
    gap, se = experimental.value - control.value, float(np.hypot(control.se, experimental.se))
    if se == 0:
        return Estimate(gap, scale=scale, unit=unit, method=NO_VARIANCE, **shared), np.nan
    p = 2 * float(special.ndtr(-abs(gap / se)))
    method = "Greenwood, normal" + _one_sided_variance(control, experimental)
    return Estimate(gap, gap - z * se, gap + z * se, scale, unit, se=se, method=method, **shared), p


def ratio_of(control: ArmValue, experimental: ArmValue, scale: str, shared: dict[str, Any]) -> tuple[Estimate, float]:
    """Return experimental to control with limits on the log scale, and its two-sided p; NaN where one is 0."""
    if min(control.value, experimental.value) <= 0:
        return Estimate(np.nan, scale=scale, method="not defined: an arm's value is 0", **shared), np.nan
    z = normal_quantile(shared["level"])
    ratio = experimental.value / control.value
    se = float(np.hypot(control.se / control.value, experimental.se / experimental.value))
    if se == 0:
        return Estimate(ratio, scale=scale, method=NO_VARIANCE, **shared), np.nan
    low, high = ratio * float(np.exp(-z * se)), ratio * float(np.exp(z * se))
    p = 2 * float(special.ndtr(-abs(np.log(ratio) / se)))
    method = "Greenwood, log scale" + _one_sided_variance(control, experimental)
    return Estimate(ratio, low, high, scale, se=se, method=method, **shared), p


def _one_sided_variance(control: ArmValue, experimental: ArmValue) -> str:
    name = "control" if control.se == 0 else "experimental" if experimental.se == 0 else ""
    return f"; the {name} arm has no variance and adds none" if name else ""


def p_words(p: float, estimate: Estimate) -> str:
    """Return a two-sided p-value in words, or why there is none."""
    if np.isnan(p):
        return f"without limits and p-value, since {estimate.method.partition(': ')[2]}"
    words = format_p(p)
    return f"two-sided p {words if words[0] in '<>' else '= ' + words}"


def p_cell(p: float, estimate: Estimate) -> str:
    """Return a p-value for a table's cell, or why there is none."""
    return f"none: {estimate.method.partition(': ')[2]}" if np.isnan(p) else format_p(p)
