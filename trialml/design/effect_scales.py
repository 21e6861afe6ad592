"""The scales on which an effect is reported while a trial is monitored."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

from trialml.errors import AnalysisError, nearest

__all__ = ["EFFECT_SCALES", "EffectScale", "effect_scale"]

ScaleName = Literal["effect", "hazard ratio", "log hazard ratio", "ratio"]


class EffectScale(NamedTuple):
    """How an effect whose high values favour the experimental arm is written.

    Attributes
    ----------
    name
        Words.
    shown, hidden
        From the effect to the scale, and back.
    falls
        Whether the scale falls as the effect rises.
    """

    name: str
    shown: Callable[[float], float]
    hidden: Callable[[float], float]
    falls: bool

    def limits(self, low: float, high: float) -> tuple[float, float]:
        """Return limits of the effect on the scale, the lower first."""
        ends = self.shown(low), self.shown(high)
        return (ends[1], ends[0]) if self.falls else ends


def _log(value: float) -> float:
    if not (value > 0 and math.isfinite(value)):
        raise AnalysisError(f"the assumed ratio is {value:g}: give a finite number above 0")
    return math.log(value)


def _exp(value: float) -> float:
    return math.exp(min(value, 700.0))


EFFECT_SCALES: Mapping[str, EffectScale] = MappingProxyType(
    {
        "effect": EffectScale("effect", lambda value: value, lambda value: value, False),
        "hazard ratio": EffectScale("hazard ratio", lambda value: _exp(-value), lambda ratio: -_log(ratio), True),
        "log hazard ratio": EffectScale("log hazard ratio", lambda value: -value, lambda value: -value, True),
        "ratio": EffectScale("ratio", _exp, _log, False),
    }
)
"""``"effect"``: as it is; ``"hazard ratio"`` and its log: low favours; ``"ratio"``: of odds, rates or means, high favours."""


def effect_scale(name: str) -> EffectScale:
    """Return a scale by its name.

    Raises
    ------
    AnalysisError
        If it has another name.
    """
    if name not in EFFECT_SCALES:
        raise AnalysisError(f"the scale {name!r} of the effect is not known: {nearest(str(name), EFFECT_SCALES)}")
    return EFFECT_SCALES[name]
