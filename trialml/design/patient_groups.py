"""Groups of patients with hazards and effects of their own, and the pieces of hazard that each group has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from trialml.design.event_curves import on_common_breaks
from trialml.design.refusals import require_between, require_positive
from trialml.design.step_rates import as_numbers, checked_steps, steps
from trialml.errors import AnalysisError

__all__ = ["Group", "HazardPieces", "check_groups", "check_hazard", "check_ratio", "hazard_pieces_of", "ratios_of"]

Vector = NDArray[np.float64]


class HazardPieces(NamedTuple):
    """One group's share of the patients, the months at which its pieces begin, and each arm's hazard in them."""

    prevalence: float
    breaks: Vector
    control: Vector
    experimental: Vector

    def hazards(self, arm: int) -> Vector:
        """Return the hazards of an arm, 0 control and 1 experimental."""
        return self.experimental if arm else self.control


class _Assumed(Protocol):
    """What a scenario and a group both say of hazard and effect."""

    @property
    def control_hazard_per_month(self) -> float | None: ...
    @property
    def hazard_breaks_months(self) -> tuple[float, ...]: ...
    @property
    def control_hazards_per_month(self) -> tuple[float, ...]: ...
    @property
    def hazard_ratio(self) -> float | None: ...
    @property
    def hazard_ratio_breaks_months(self) -> tuple[float, ...]: ...
    @property
    def hazard_ratios(self) -> tuple[float, ...]: ...


class _Truth(_Assumed, Protocol):
    @property
    def groups(self) -> tuple[Group, ...]: ...


@dataclass(frozen=True)
class Group:
    """One of a scenario's mutually exclusive groups of patients; a population is a union of groups.

    Attributes
    ----------
    name
        What the group is called.
    prevalence
        Its share of the patients, above 0 and below 1.
    control_hazard_per_month
        Constant event hazard under control; or pieces of it by
    hazard_breaks_months, control_hazards_per_month
        as in a `Scenario`. Without either the group has the scenario's.
    hazard_ratio
        Constant hazard ratio, experimental to control; or pieces of it by
    hazard_ratio_breaks_months, hazard_ratios
        as in a `Scenario`. Without either the group has the scenario's.

    Raises
    ------
    AnalysisError
        If a number is outside its range, or two numbers contradict each other.
    """

    name: str
    prevalence: float
    _: KW_ONLY
    control_hazard_per_month: float | None = None
    hazard_ratio: float | None = None
    hazard_breaks_months: tuple[float, ...] = ()
    control_hazards_per_month: tuple[float, ...] = ()
    hazard_ratio_breaks_months: tuple[float, ...] = ()
    hazard_ratios: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        owner = f"group '{self.name}'"
        share = require_between(f"the prevalence of {owner}", self.prevalence, 0.0, 1.0)
        object.__setattr__(self, "prevalence", share)
        for field in ("control_hazard_per_month", "hazard_ratio"):
            value = getattr(self, field)
            if value is not None:
                object.__setattr__(self, field, require_positive(f"{field} of {owner}", value))
        for field in (
            "hazard_breaks_months",
            "control_hazards_per_month",
            "hazard_ratio_breaks_months",
            "hazard_ratios",
        ):
            object.__setattr__(self, field, as_numbers(getattr(self, field)))
        check_hazard(owner, self, needed=False)
        check_ratio(owner, self, needed=False)

    @property
    def control(self) -> tuple[Vector, Vector] | None:
        """The pieces of the group's own control hazard; None where it has the scenario's."""
        return control_of(self)

    @property
    def ratio(self) -> tuple[Vector, Vector] | None:
        """The pieces of the group's own hazard ratio; None where it has the scenario's."""
        return ratio_of(self)


def control_of(assumed: _Assumed) -> tuple[Vector, Vector] | None:
    """Return the pieces of a control hazard, None where there is none."""
    constant, breaks = assumed.control_hazard_per_month, assumed.hazard_breaks_months
    return steps(constant, breaks, assumed.control_hazards_per_month) if constant is not None or breaks else None


def ratio_of(assumed: _Assumed) -> tuple[Vector, Vector] | None:
    """Return the pieces of a hazard ratio, None where there is none."""
    constant, breaks = assumed.hazard_ratio, assumed.hazard_ratio_breaks_months
    return steps(constant, breaks, assumed.hazard_ratios) if constant is not None or breaks else None


def check_hazard(owner: str, assumed: _Assumed, *, needed: bool) -> None:
    """Refuse a control hazard that is given twice, not at all where it is needed, or in pieces that make no sense."""
    constant, breaks = assumed.control_hazard_per_month, assumed.hazard_breaks_months
    values = assumed.control_hazards_per_month
    pieces = bool(breaks or values)
    if (constant is not None and pieces) or (needed and constant is None and not pieces):
        raise AnalysisError(
            f"{owner} needs the control hazard once: give control_hazard_per_month, or "
            "hazard_breaks_months with control_hazards_per_month"
        )
    checked_steps(owner, "hazard", breaks, values, zero=True)


def check_ratio(owner: str, assumed: _Assumed, *, needed: bool) -> None:
    """Refuse a hazard ratio that is given twice, not at all where it is needed, or in pieces that make no sense."""
    constant, breaks, values = assumed.hazard_ratio, assumed.hazard_ratio_breaks_months, assumed.hazard_ratios
    pieces = bool(breaks or values)
    if (constant is not None and pieces) or (needed and constant is None and not pieces):
        raise AnalysisError(
            f"{owner} needs the hazard ratio once: give hazard_ratio, or hazard_ratio_breaks_months with hazard_ratios"
        )
    checked_steps(owner, "hazard ratio", breaks, values)


def check_groups(owner: str, groups: Sequence[Group]) -> None:
    """Refuse groups whose names repeat or whose prevalences do not sum to 1."""
    names = [group.name for group in groups]
    for name in names:
        if names.count(name) > 1:
            raise AnalysisError(f"two groups of {owner} are called '{name}': give each its own name")
    total = sum(group.prevalence for group in groups)
    if groups and abs(total - 1) > 1e-9:
        raise AnalysisError(
            f"the prevalences of the groups of {owner} sum to {total:g}: give groups that exclude each other and "
            "together hold every patient, so that they sum to 1"
        )


def ratios_of(truth: _Truth) -> set[float]:
    """Return the hazard ratios that stand anywhere in a scenario, over groups and pieces."""
    members: Sequence[_Assumed] = truth.groups or (truth,)
    return {float(value) for member in members for value in (ratio_of(member) or ratio_of(truth) or ((), ()))[1]}


def hazard_pieces_of(truth: _Truth) -> list[HazardPieces]:
    """Return the pieces of each group; one of prevalence 1 where there are no groups."""
    members: Sequence[tuple[float, _Assumed]] = [(group.prevalence, group) for group in truth.groups] or [(1.0, truth)]
    found = []
    for prevalence, member in members:
        control, ratio = control_of(member) or control_of(truth), ratio_of(member) or ratio_of(truth)
        if control is None or ratio is None:
            raise AnalysisError("a group has neither a control hazard nor a hazard ratio: give both")
        breaks, hazards, ratios = on_common_breaks(control, ratio)
        found.append(HazardPieces(prevalence, breaks, hazards, ratios * hazards))
    return found
