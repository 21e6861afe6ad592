"""Confidence limits of a proportion and of a survival probability, and times read off a survival curve."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from scipy import special

from trialml.errors import DataError
from trialml.survival.ties import Array

__all__ = ["Interval", "crossing_time", "normal_quantile", "survival_limits", "wilson_limits"]

Interval = Literal["plain", "log", "log-log", "logit", "arcsin"]
INTERVALS: tuple[str, ...] = ("plain", "log", "log-log", "logit", "arcsin")


def normal_quantile(level: float) -> float:
    """Return z of a two-sided interval: 1.96 for ``level=0.95``; a level outside (0, 1) is refused."""
    if not 0 < level < 1:
        raise DataError(f"level is {level}, but a confidence level is between 0 and 1, such as 0.95")
    return float(special.ndtri(0.5 + level / 2))


def wilson_limits(share: float, n: int, z: float) -> tuple[float, float]:
    """Return Wilson's limits of a proportion.

    Parameters
    ----------
    share, n
        The proportion, and of how many.
    z
        Normal quantile of the level.

    Returns
    -------
    low, high : float
        ``(p + z^2 / (2 n) -+ z sqrt(p (1 - p) / n + z^2 / (4 n^2))) / (1 + z^2 / n)``; exactly 0 and 1 where the proportion is.

    References
    ----------
    Wilson EB. Probable inference, the law of succession, and statistical inference. J Am Stat Assoc 1927;22:209-212.
    """
    middle, scale = share + z**2 / (2 * n), 1 + z**2 / n
    half = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return (0.0 if share == 0 else (middle - half) / scale), (1.0 if share == 1 else (middle + half) / scale)


def survival_limits(survival: Array, se_log: Array, interval: Interval, level: float) -> tuple[Array, Array]:
    """Return the pointwise confidence limits of a survival curve.

    Parameters
    ----------
    survival, se_log
        The curve and the standard error of its logarithm, shape ``(k,)``.
    interval
        ``"plain"``: ``S -+ z S se``; ``"log"``: ``S exp(-+ z se)``; ``"log-log"``: ``S^exp(-+ z se / log S)``;
        ``"logit"``: ``logit S -+ z se / (1 - S)``; ``"arcsin"``: ``sin^2(asin(sqrt S) -+ z se sqrt(S / (1 - S)) / 2)``.
    level
        Such as 0.95.

    Returns
    -------
    low, high
        Within 0 and 1. NaN where the curve is 0, and for log-log, logit and arcsin where it is 1: there is no
        variance there.
    """
    z = normal_quantile(level)
    inside = survival > 0
    s = np.where(inside, survival, np.nan)
    se = np.where(inside, se_log, np.nan)
    if interval == "plain":
        low, high = s - z * s * se, s + z * s * se
    elif interval == "log":
        low, high = s * np.exp(-z * se), s * np.exp(z * se)
    elif interval == "log-log":
        s = np.where(s < 1, s, np.nan)
        width = z * se / np.log(s)
        low, high = s ** np.exp(-width), s ** np.exp(width)
    elif interval == "logit":
        s = np.where(s < 1, s, np.nan)
        middle, width = special.logit(s), z * se / (1 - s)
        low, high = special.expit(middle - width), special.expit(middle + width)
    elif interval == "arcsin":
        s = np.where(s < 1, s, np.nan)
        middle, width = np.arcsin(np.sqrt(s)), 0.5 * z * se * np.sqrt(s / (1 - s))
        low = np.sin(np.maximum(middle - width, 0.0)) ** 2
        high = np.sin(np.minimum(middle + width, np.pi / 2)) ** 2
    else:
        raise DataError(f"interval is '{interval}', but it must be one of {', '.join(INTERVALS)}")
    return np.clip(low, 0.0, 1.0), np.clip(high, 0.0, 1.0)


def crossing_time(time: Array, curve: Array, p: float) -> float:
    """Return when a falling step curve reaches `p`, infinity where it never does.

    Where the curve is exactly `p` over an interval, its midpoint is returned, as is usual for the median of an
    even number of times; if the curve stays at `p` to the end, the interval ends with follow-up.

    Parameters
    ----------
    time, curve
        Jump times, ascending, and the value from each on, NaN where there is none; shape ``(k,)``.
    p
        The level to reach.
    """
    tolerance = 1e-9
    known = np.isfinite(curve)
    time, curve = time[known], curve[known]
    reached = np.flatnonzero(curve <= p + tolerance)
    if reached.size == 0:
        return float("inf")
    first = reached[0]
    if curve[first] < p - tolerance:
        return float(time[first])
    below = np.flatnonzero(curve < p - tolerance)
    end = time[below[0]] if below.size else time[-1]
    return float((time[first] + end) / 2)
