"""The closed test of a subgroup and the full population, stage by stage, after an adaptive interim analysis."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr

from trialml.design.combination import bounds_at_every_level, combined_z, repeated_p, stage_weights
from trialml.design.group_sequential import Design
from trialml.design.refusals import require_between
from trialml.errors import AnalysisError, nearest
from trialml.result import Result, format_number, format_p

__all__ = ["ClosedTest", "IntersectionTest", "checked_test", "closed_test"]

IntersectionTest = Literal["simes", "bonferroni", "sidak", "spiessens-debois", "subgroup-first", "full-first"]

_WORDS = {
    "simes": "Simes",
    "bonferroni": "Bonferroni",
    "sidak": "\N{LATIN CAPITAL LETTER S WITH CARON}id\N{LATIN SMALL LETTER A WITH ACUTE}k",
    "spiessens-debois": "Spiessens and Debois",
    "subgroup-first": "the subgroup first",
    "full-first": "the full population first",
}


@dataclass(frozen=True, eq=False)
class ClosedTest(Result):
    """What a closed test of two nested populations has rejected, and at which stage.

    Attributes
    ----------
    stages
        One row an intersection hypothesis and stage: intersection, stage, p (stage-wise, one-sided), z (combined over
        the stages), critical_value, rejected (by this stage).
    populations
        One row a population: population, dropped_at (the stage from which it has no statistic; 0 for none), rejected,
        rejected_at (0 for never), p_adjusted (one-sided; the largest repeated p of the intersections that hold it;
        NaN for a dropped population, and where the bounds are known for one alpha only).
    test
        Of the intersection.
    alpha
        One-sided, familywise.
    weights
        Of the stages, fixed in advance.
    """

    title: ClassVar[str] = "Closed test of subgroup and full population"
    methods: ClassVar[str] = (
        "No effect in the subgroup and in the full population was tested by the closure principle: a population's "
        "hypothesis is rejected where it and the intersection are rejected, each by the inverse normal combination of "
        "independent stages with weights fixed in advance and the group-sequential bounds. A population that was "
        "dropped at the interim analysis leaves the other one's p-value to the intersection. The familywise error is "
        "controlled at the one-sided alpha whatever the rule of dropping."
    )
    references: ClassVar[tuple[str, ...]] = (
        "Marcus R, Peritz E, Gabriel KR. On closed testing procedures with special reference to ordered analysis of "
        "variance. Biometrika 1976;63:655-660.",
        "Brannath W, Zuber E, Branson M, Bretz F, Gallo P, Posch M, Racine-Poon A. Confirmatory adaptive designs with "
        "Bayesian decision tools for a targeted therapy in oncology. Stat Med 2009;28:1445-1463.",
        "Spiessens B, Debois M. Adjusted significance levels for subgroup analyses in clinical trials. Contemp Clin "
        "Trials 2010;31:647-656.",
        "Lehmacher W, Wassmer G. Adaptive sample size calculations in group sequential trials. Biometrics "
        "1999;55:1286-1290.",
    )

    stages: pd.DataFrame
    populations: pd.DataFrame
    test: str
    alpha: float
    weights: tuple[float, ...]

    def frame(self) -> pd.DataFrame:
        """Return one row an intersection hypothesis and stage."""
        return self.stages.assign(test=self.test, alpha_one_sided=self.alpha)

    def table(self) -> pd.DataFrame:
        """Return the populations with their adjusted p-values."""
        rows = self.populations
        return pd.DataFrame(
            {
                "Population": rows["population"],
                "Dropped at stage": ["no" if at == 0 else str(at) for at in rows["dropped_at"]],
                "Rejected at stage": ["no" if at == 0 else str(at) for at in rows["rejected_at"]],
                "Adjusted p (one-sided)": [format_p(p) for p in rows["p_adjusted"]],
            }
        )

    def text(self) -> str:
        """Return what was rejected, with adjusted p-values and the method."""
        said = []
        for row in self.populations.itertuples():
            if row.rejected:
                words = f"is rejected at stage {row.rejected_at}"
            elif row.dropped_at:
                words = f"was dropped at stage {row.dropped_at} and cannot be rejected"
            else:
                words = "is not rejected"
            p = "" if math.isnan(float(str(row.p_adjusted))) else f" (adjusted one-sided p {format_p(row.p_adjusted)})"
            said.append(f"no effect in {row.population} {words}{p}")
        shown = ", ".join(format_number(weight) for weight in self.weights)
        return (
            f"{said[0][:1].upper()}{said[0][1:]}; {said[1]}. Closed test, intersection by {_WORDS[self.test]}, inverse normal "
            f"combination with weights {shown}, alpha {self.alpha:g} one-sided, familywise."
        )

    def scalars(self) -> Mapping[str, float]:
        """Return for each population whether it is rejected, and its adjusted p."""
        numbers: dict[str, float] = {}
        for name, row in zip(("subgroup", "full"), self.populations.to_dict("records"), strict=True):
            numbers |= {f"{name}_rejected": float(row["rejected"]), f"{name}_p_adjusted": float(row["p_adjusted"])}
        return numbers


def closed_test(
    design: Design,
    z_subgroup: Sequence[float],
    z_full: Sequence[float],
    *,
    test: IntersectionTest = "simes",
    subgroup_share: Sequence[float] | float | None = None,
    names: tuple[str, str] = ("the subgroup", "the full population"),
) -> ClosedTest:
    """Test no effect in a subgroup and in the full population, with stages combined by the inverse normal method.

    Parameters
    ----------
    design
        Alpha (one-sided, familywise), information fractions (which give the weights) and bounds of each look.
    z_subgroup, z_full
        Shape (stages made,): stage-wise z of independent increments (`stage_statistics` makes them; `z_of_p` turns
        p-values into z), positive in favour of the experimental arm; NaN from the stage on at which the population
        was dropped.
    test
        Of the intersection: ``"simes"``, ``"bonferroni"``, ``"sidak"``, ``"spiessens-debois"``, or the fixed sequences
        ``"subgroup-first"`` and ``"full-first"``.
    subgroup_share
        For Spiessens-Debois: the subgroup's share of the information (its prevalence, where information is patients),
        one number or one a stage; the correlation of the two z is its square root.
    names
        What subgroup and full population are called.

    Returns
    -------
    ClosedTest
        Rejections by stage and adjusted p-values.

    Raises
    ------
    AnalysisError
        If stages are missing, both populations are dropped, a dropped one comes back, the share is not between 0 and
        1, or the test has another name.
    """
    kind = checked_test(test)
    z = _checked_stages(design, z_subgroup, z_full)
    shares = _checked_shares(kind, subgroup_share, z)
    from trialml.design.intersection_tests import TESTS, intersection_z

    both = [intersection_z(TESTS[kind], a, b, math.sqrt(share)) for a, b, share in zip(*z, shares, strict=True)]
    weights = stage_weights(design)
    hypotheses = (" and ".join(names), *names)
    tests = [_tested(name, np.asarray(one), weights, design) for name, one in zip(hypotheses, (both, *z), strict=True)]
    return ClosedTest(
        stages=pd.concat([one.rows for one in tests], ignore_index=True),
        populations=pd.DataFrame([_population(name, z[i], tests[0], tests[i + 1]) for i, name in enumerate(names)]),
        test=kind,
        alpha=design.alpha,
        weights=tuple(float(weight) for weight in weights),
    )


class _Tested(NamedTuple):
    rows: pd.DataFrame
    rejected: NDArray[np.bool_]
    repeated_p: float


def _tested(name: str, z: NDArray[np.float64], weights: NDArray[np.float64], design: Design) -> _Tested:
    """Return one intersection hypothesis' stages: its combined z against the bounds, a rejection kept once made."""
    combined, bounds = combined_z(z, weights), np.asarray(design.critical_values)[: z.size]
    with np.errstate(invalid="ignore"):
        rejected = np.maximum.accumulate(combined >= bounds)
    rows = pd.DataFrame(
        {
            "intersection": name,
            "stage": np.arange(1, z.size + 1),
            "p": ndtr(-z),
            "z": combined,
            "critical_value": bounds,
            "rejected": rejected,
        }
    )
    return _Tested(rows, rejected, repeated_p(design, combined) if bounds_at_every_level(design) else math.nan)


def _population(name: str, z: NDArray[np.float64], both: _Tested, alone: _Tested) -> dict[str, object]:
    dropped = np.isnan(z)
    # A population that the trial has left is not rejected later on, though the closure principle would allow it.
    rejected = both.rejected & alone.rejected
    at = int(np.argmax(rejected)) + 1 if rejected.any() else 0
    if at and dropped[at - 1]:
        at = 0
    gone = bool(dropped.any()) and at == 0
    return {
        "population": name,
        "dropped_at": int(np.argmax(dropped)) + 1 if dropped.any() else 0,
        "rejected": at > 0,
        "rejected_at": at,
        "p_adjusted": math.nan if gone else max(both.repeated_p, alone.repeated_p),
    }


def checked_test(test: str) -> IntersectionTest:
    """Return the name of an intersection test.

    Raises
    ------
    AnalysisError
        If there is none of that name.
    """
    for known in get_args(IntersectionTest):
        if test == known:
            return known  # type: ignore[no-any-return]
    raise AnalysisError(
        f"the intersection test is {test!r}, which is not known: {nearest(str(test), get_args(IntersectionTest))}"
    )


def _checked_stages(design: Design, z_subgroup: Sequence[float], z_full: Sequence[float]) -> NDArray[np.float64]:
    if design.sides != 1:
        raise AnalysisError("the design has two sides, but the closed test is one-sided: give a design with sides=1")
    if len(z_subgroup) != len(z_full) or not 1 <= len(z_subgroup) <= design.looks:
        raise AnalysisError(
            f"there are {len(z_subgroup)} stages of the subgroup and {len(z_full)} of the full population for a design "
            f"of {design.looks} looks: give one z a stage for each, NaN where a population was dropped"
        )
    z = np.asarray([z_subgroup, z_full], dtype=float)
    gone = np.isnan(z)
    if np.isinf(z).any():
        raise AnalysisError("a stage-wise z is infinite: give finite z, or NaN where a population was dropped")
    if gone.all(axis=0).any():
        stage = int(np.argmax(gone.all(axis=0))) + 1
        raise AnalysisError(f"stage {stage} has no z of either population: give those of the one that went on")
    if (gone[:, :-1] & ~gone[:, 1:]).any():
        raise AnalysisError("a population has a z after a stage without one: one that was dropped does not come back")
    return z


def _checked_shares(test: str, share: Sequence[float] | float | None, z: NDArray[np.float64]) -> list[float]:
    stages = z.shape[1]
    if test != "spiessens-debois":
        return [0.5] * stages
    if share is None:
        raise AnalysisError("the test of Spiessens and Debois needs the correlation of the z: give subgroup_share")
    shares = [share] * stages if isinstance(share, int | float) else list(share)
    if len(shares) != stages:
        raise AnalysisError(f"subgroup_share has {len(shares)} numbers for {stages} stages: give one, or one a stage")
    kept = np.isfinite(z[0]) & np.isfinite(z[1])
    name = "the subgroup's share of the information"
    return [require_between(name, one, 0.0, 1.0) if both else 0.5 for one, both in zip(shares, kept, strict=True)]
