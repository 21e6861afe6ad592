"""The rules of a design in words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trialml.design.group_sequential import Design

__all__ = ["described_bounds", "described_rules"]

_FAMILIES = {
    "obrien-fleming": "O'Brien-Fleming bounds",
    "pocock": "Pocock bounds",
    "wang-tsiatis": "Wang-Tsiatis bounds (exponent {:g})",
    "haybittle-peto": "Haybittle-Peto bounds (z of {:g} at the interim looks)",
    "lan-demets-obrien-fleming": "O'Brien-Fleming-type Lan-DeMets spending",
    "lan-demets-pocock": "Pocock-type Lan-DeMets spending",
    "hwang-shih-decani": "Hwang-Shih-DeCani spending (gamma {:g})",
    "kim-demets": "Kim-DeMets spending (rho {:g})",
    "user": "alpha spent as the user gave it",
}


def _family(name: str, parameter: float | None) -> str:
    return _FAMILIES[name].format(parameter)


def _futility(design: Design) -> str:
    if not design.has_futility:
        return "no futility bound"
    if design.futility_spending is None:
        shown = ", ".join("none" if z == -math.inf else f"{z:.4g}" for z in design.futility_z or ())
        rule = f"futility below z of {shown}"
    else:
        family = _family(design.futility_spending, design.futility_parameter)
        spent = (
            f"{1 - design.power:.3g} of type II error"
            if design.futility_alpha is None
            else f"a probability of {design.futility_alpha:g} without effect"
        )
        rule = f"futility by {family} of {spent}"
    if design.binding:
        return f"{rule}, binding (efficacy bounds count on it: overruling it raises the type I error above alpha)"
    return f"{rule}, non-binding (efficacy bounds keep alpha whether or not it is obeyed)"


def described_rules(design: Design, unit: str) -> str:
    """Return number and place of looks, families of bounds, alpha, power and allocation in one sentence without a stop."""
    sided = "one-sided" if design.sides == 1 else "one-sided on each side of a two-sided test"
    rules = f"alpha {design.alpha:g} {sided}, power {100 * design.power:g} %, allocation {design.allocation_ratio:g}:1"
    if design.looks == 1:
        return f"fixed design, {rules}"
    shown = ", ".join(f"{100 * t:.3g}" for t in design.information_fractions)
    family = _family(design.spending, design.spending_parameter)
    return f"{design.looks} looks at {shown} % of the {unit}, {family}, {_futility(design)}, {rules}"


def described_bounds(design: Design, unit: str) -> str:
    """Return a sentence for each look: where it rejects and where it stops for futility, as z and one-sided p."""
    sentences = []
    looks = zip(
        design.information_fractions,
        design.critical_values,
        design.one_sided_p,
        design.futility_values,
        design.cumulative_alpha,
        strict=True,
    )
    either = "z of at least {:.4f} for either arm" if design.sides == 2 else "z of at least {:.4f}"
    for place, (t, high, p, low, spent) in enumerate(looks, start=1):
        sentence = (
            f"Look {place} at {100 * t:.3g} % of the {unit} rejects at {either.format(high)} (nominal one-sided p of at "
            f"most {p:.3g}; {spent:.3g} of alpha spent so far, one-sided)"
        )
        if -math.inf < low < high:
            sentence += f" and stops for futility below z of {low:.4f}"
        sentences.append(f"{sentence}.")
    return " ".join(sentences)
