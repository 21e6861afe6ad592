"""Named scenarios of how a treatment may work over time, each after a published source, for a given control median.

The shapes are those of the sources. So are the numbers of `delayed_effect`; the other defaults are round numbers chosen
to show the shape, and a trial's own belong in their place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from trialml.design.patient_groups import Group
from trialml.design.refusals import require_between, require_positive
from trialml.design.scenario import Scenario
from trialml.errors import AnalysisError

__all__ = [
    "GALLERY",
    "GalleryEntry",
    "belly",
    "crossing_hazards",
    "cure",
    "delayed_effect",
    "diminishing_effect",
    "gallery",
    "no_effect",
    "proportional",
    "responders",
]

_LIN = (
    "Lin RS, Lin J, Roychoudhury S, et al. Alternative analysis methods for time to event endpoints under nonproportional "
    "hazards: a comparative analysis. Stat Biopharm Res 2020;12:187-198."
)
_ROYCHOUDHURY = (
    "Roychoudhury S, Anderson KM, Ye J, Mukhopadhyay P. Robust design and analysis of clinical trials with nonproportional "
    "hazards: a straw man guidance from a cross-pharma working group. Stat Biopharm Res 2023;15:280-294."
)
_MAGIRR = "Magirr D, Burman CF. Modestly weighted logrank tests. Stat Med 2019;38:3782-3790."
_CHEN = "Chen TT. Statistical issues and challenges in immuno-oncology. J Immunother Cancer 2013;1:18."
_RISTL = (
    "Ristl R, Ballarini NM, Gotte H, Schuler A, Posch M, Konig F. Delayed treatment effects, treatment switching and "
    "heterogeneous patient populations: how to design and analyze RCTs in oncology. Pharm Stat 2021;20:129-145."
)


def _hazard(control_median_months: float) -> float:
    return math.log(2) / require_positive("control_median_months", control_median_months)


def _by_time(
    name: str, control_median_months: float, breaks: tuple[float, ...], ratios: tuple[float, ...], rest: dict[str, Any]
) -> Scenario:
    return Scenario(
        name,
        control_hazard_per_month=_hazard(control_median_months),
        hazard_ratio_breaks_months=breaks,
        hazard_ratios=ratios,
        **rest,
    )


def no_effect(control_median_months: float, **rest: Any) -> Scenario:
    """Return the scenario in which treatment does nothing."""
    return Scenario("No effect", control_hazard_per_month=_hazard(control_median_months), hazard_ratio=1.0, **rest)


def proportional(control_median_months: float, *, hazard_ratio: float = 0.7, **rest: Any) -> Scenario:
    """Return proportional hazards: one hazard ratio at all times."""
    hazard = _hazard(control_median_months)
    return Scenario("Proportional hazards", control_hazard_per_month=hazard, hazard_ratio=hazard_ratio, **rest)


def delayed_effect(
    control_median_months: float, *, delay_months: float = 6.0, hazard_ratio: float = 0.5, **rest: Any
) -> Scenario:
    """Return no effect for a while and one hazard ratio after it; by default that of Magirr and Burman (2019)."""
    return _by_time("Delayed effect", control_median_months, (0.0, delay_months), (1.0, hazard_ratio), rest)


def crossing_hazards(
    control_median_months: float,
    *,
    crossing_months: float = 3.0,
    early_hazard_ratio: float = 1.3,
    late_hazard_ratio: float = 0.6,
    **rest: Any,
) -> Scenario:
    """Return harm at first and benefit afterwards."""
    ratios = (early_hazard_ratio, late_hazard_ratio)
    return _by_time("Crossing hazards", control_median_months, (0.0, crossing_months), ratios, rest)


def diminishing_effect(
    control_median_months: float,
    *,
    waning_months: float = 9.0,
    early_hazard_ratio: float = 0.5,
    late_hazard_ratio: float = 0.9,
    **rest: Any,
) -> Scenario:
    """Return an effect that wanes."""
    ratios = (early_hazard_ratio, late_hazard_ratio)
    return _by_time("Diminishing effect", control_median_months, (0.0, waning_months), ratios, rest)


def belly(
    control_median_months: float,
    *,
    delay_months: float = 3.0,
    end_months: float = 12.0,
    hazard_ratio: float = 0.5,
    **rest: Any,
) -> Scenario:
    """Return a delayed effect that converges again: curves that part in the middle."""
    breaks = (0.0, delay_months, end_months)
    return _by_time("Delayed effect that converges", control_median_months, breaks, (1.0, hazard_ratio, 1.0), rest)


def cure(
    control_median_months: float,
    *,
    cured_from_months: float | None = None,
    hazard_ratio: float = 0.7,
    **rest: Any,
) -> Scenario:
    """Return one hazard ratio, and no event in either arm from `cured_from_months` on: a cured fraction in each.

    The control median is kept, so `cured_from_months` (three medians by default) must be later than it.
    """
    hazard = _hazard(control_median_months)
    start = 3 * control_median_months if cured_from_months is None else cured_from_months
    if start <= control_median_months:
        raise AnalysisError(
            f"cured_from_months is {start:g}, not after the control median of {control_median_months:g} months: give "
            "a later time, or more than half of the control arm would never have had its event by the median"
        )
    return Scenario(
        "Cured fraction",
        hazard_breaks_months=(0.0, start),
        control_hazards_per_month=(hazard, 0.0),
        hazard_ratio=hazard_ratio,
        **rest,
    )


def responders(
    control_median_months: float, *, prevalence: float = 0.4, hazard_ratio: float = 0.5, **rest: Any
) -> Scenario:
    """Return a group in whom treatment works and one in whom it does nothing; the hazard ratio of all wanes."""
    share = require_between("prevalence", prevalence, 0.0, 1.0)
    groups = (
        Group("benefit", share, hazard_ratio=hazard_ratio),
        Group("no benefit", float(np.round(1 - share, 15)), hazard_ratio=1.0),
    )
    hazard = _hazard(control_median_months)
    return Scenario("Some benefit", control_hazard_per_month=hazard, groups=groups, **rest)


@dataclass(frozen=True)
class GalleryEntry:
    """A named scenario.

    Attributes
    ----------
    words
        What happens over time.
    source
        Who published the shape.
    make
        The function that makes the scenario.
    """

    words: str
    source: str
    make: Callable[..., Scenario]


GALLERY: Mapping[str, GalleryEntry] = MappingProxyType(
    {
        "no effect": GalleryEntry("the same hazard in both arms", _LIN, no_effect),
        "proportional": GalleryEntry("one hazard ratio at all times", _LIN, proportional),
        "delayed effect": GalleryEntry("no effect at first, then one hazard ratio", _MAGIRR, delayed_effect),
        "crossing hazards": GalleryEntry("harm at first, benefit afterwards", _ROYCHOUDHURY, crossing_hazards),
        "diminishing effect": GalleryEntry("an effect that wanes", _LIN, diminishing_effect),
        "delayed and converging": GalleryEntry("an effect in the middle only", _ROYCHOUDHURY, belly),
        "cure": GalleryEntry("no event from some time on", _CHEN, cure),
        "responders": GalleryEntry("treatment works in a group of the patients only", _RISTL, responders),
    }
)
"""The named scenarios with their sources."""


def gallery(control_median_months: float, **rest: Any) -> dict[str, Scenario]:
    """Return every named scenario with its default numbers.

    Parameters
    ----------
    control_median_months
        Median time to the event under control.
    rest
        What else a `Scenario` takes: accrual, dropout, allocation ratio, patients.

    Returns
    -------
    dict of str to Scenario

    Raises
    ------
    AnalysisError
        If a number is outside its range.

    References
    ----------
    Those of `GALLERY`.
    """
    return {name: entry.make(control_median_months, **rest) for name, entry in GALLERY.items()}
