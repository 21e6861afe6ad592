"""How balanced a sequence of allocations is, and how well the next one could be guessed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from trialml.design.randomisation import checked_arms
from trialml.errors import AnalysisError
from trialml.result import Result, format_count, format_number

__all__ = ["AllocationBalance", "allocation_balance", "expected_guess_rate"]


@dataclass(frozen=True, eq=False)
class AllocationBalance(Result):
    """Balance and predictability of allocations.

    Attributes
    ----------
    groups
        One row for all patients, for each level of each factor and for each stratum: factor (``"all"``, its name, or
        ``"stratum"``), level, patients, imbalance (at the end) and largest_imbalance (on the way). The imbalance is the
        range over the arms of count divided by the arm's part of the ratio.
    guess_rate, chance_rate
        Share of allocations that are guessed by naming the arm that is furthest behind in the stratum, and by naming the
        arm of the largest part.
    strata
        How many have a patient.
    patients
        How many.
    ratio
        Arms with their parts, in words.
    """

    title: ClassVar[str] = "Balance and predictability of the randomisation"
    methods: ClassVar[str] = (
        "Imbalance is the range over the arms of the number of patients divided by the arm's part of the allocation ratio. "
        "Predictability is the expected share of right guesses by whoever knows the stratum's earlier allocations and "
        "names the arm that is furthest behind (convergence strategy; ties are guessed at random)."
    )
    references: ClassVar[tuple[str, ...]] = (
        "Blackwell D, Hodges JL. Design for the control of selection bias. Ann Math Stat 1957;28:449-460.",
    )

    groups: pd.DataFrame
    guess_rate: float
    chance_rate: float
    strata: int
    patients: int
    ratio: str

    def frame(self) -> pd.DataFrame:
        """Return one row a group of patients."""
        return self.groups

    def text(self) -> str:
        """Return imbalance and predictability in words."""
        overall = self.groups.iloc[0]
        levels = self.groups[~self.groups["factor"].isin(["all", "stratum"])]
        worst = f", at most {format_number(levels['imbalance'].max())} in a factor level" if len(levels) else ""
        return (
            f"{format_count(self.patients)} patients in {format_count(self.strata)} strata were allocated {self.ratio}: the "
            f"imbalance at the end is {format_number(overall['imbalance'])} over all{worst}; the convergence strategy guesses "
            f"{100 * self.guess_rate:.1f} % of the allocations, chance {100 * self.chance_rate:.1f} %."
        )

    def scalars(self) -> Mapping[str, float]:
        """Return imbalances over all patients, levels and strata, and the guess rate."""
        kinds = {"all": self.groups["factor"] == "all", "stratum": self.groups["factor"] == "stratum"}
        kinds["level"] = ~(kinds["all"] | kinds["stratum"])
        found = {
            f"imbalance_{name}": float(self.groups.loc[rows, "imbalance"].max())
            for name, rows in kinds.items()
            if rows.any()
        }
        found["largest_imbalance"] = float(self.groups["largest_imbalance"].iloc[0])
        return found | {"guess_rate": self.guess_rate, "chance_rate": self.chance_rate}


def allocation_balance(
    allocations: pd.DataFrame, arms: Mapping[str, int] | Sequence[str], factors: Sequence[str] = (), *, arm: str = "arm"
) -> AllocationBalance:
    """Measure balance and predictability of allocations in the order in which they were made.

    Parameters
    ----------
    allocations
        One row an allocation: the factors and the arm.
    arms
        Arms with their parts of the allocation ratio, or a sequence of equal arms.
    factors
        Columns of the stratification factors.
    arm
        Column of the arm.

    Returns
    -------
    AllocationBalance
        For all, by level and by stratum.

    Raises
    ------
    AnalysisError
        If a column is missing, there is no allocation, or an arm is not one of `arms`.
    """
    parts = checked_arms(arms)
    for name in (*factors, arm):
        if name not in allocations.columns:
            raise AnalysisError(
                f"the allocations have no column '{name}': name one of {', '.join(map(str, allocations))}"
            )
    unknown = sorted(set(allocations[arm].astype(str)) - set(parts))
    if unknown or len(allocations) == 0:
        seen = f"the arm '{unknown[0]}', which is not one of {', '.join(parts)}" if unknown else "no row"
        raise AnalysisError(f"the allocations have {seen}: check the arms")
    taken = np.array([[name == one for one in parts] for name in allocations[arm].astype(str)], dtype=float)
    labels = [allocations[name].astype(str).to_numpy() for name in factors]
    strata = pd.Series(["all"] * len(taken) if not labels else [", ".join(row) for row in zip(*labels, strict=True)])
    ratio = np.array(list(parts.values()), dtype=float)
    rows, rights = [_group("all", "all", taken, ratio)], 0.0
    for name, column in zip(factors, labels, strict=True):
        rows += [_group(name, level, taken[column == level], ratio) for level in sorted(set(column))]
    for stratum in sorted(set(strata)):
        inside = taken[(strata == stratum).to_numpy()]
        rights += _right_guesses(inside, ratio)
        if labels:
            rows.append(_group("stratum", stratum, inside, ratio))
    return AllocationBalance(
        groups=pd.DataFrame(rows),
        guess_rate=rights / len(taken),
        chance_rate=float(ratio.max() / ratio.sum()),
        strata=strata.nunique(),
        patients=len(taken),
        ratio=" to ".join(parts) + " " + ":".join(str(part) for part in parts.values()),
    )


def _group(factor: str, level: str, taken: np.ndarray, ratio: np.ndarray) -> dict[str, object]:
    spread = np.ptp(np.cumsum(taken, axis=0) / ratio, axis=1)
    return {
        "factor": factor,
        "level": level,
        "patients": len(taken),
        "imbalance": float(spread[-1]),
        "largest_imbalance": float(spread.max()),
    }


def _right_guesses(taken: np.ndarray, ratio: np.ndarray) -> float:
    """Return the expected number of right guesses: the arm furthest behind, at random among several."""
    before = (np.cumsum(taken, axis=0) - taken) / ratio
    behind = before <= before.min(axis=1, keepdims=True) + 1e-9
    return float((taken * behind / behind.sum(axis=1, keepdims=True)).sum())


def expected_guess_rate(block_size: int) -> float:
    """Return the expected share of right guesses in permuted blocks of two equal arms, in closed form.

    With 2 b places, ``b + (4**b / C(2 b, b) - 1) / 2`` of them are guessed right (Blackwell and Hodges 1957).

    Parameters
    ----------
    block_size
        Even, 2 or more.

    Raises
    ------
    AnalysisError
        If the block size is odd or below 2.
    """
    if block_size < 2 or block_size % 2:
        raise AnalysisError(f"the block size is {block_size}: two equal arms need an even one, 2 or more")
    half = block_size // 2
    ways = 1.0
    for place in range(1, half + 1):
        ways *= 4 * place / (half + place)
    return (half + (ways - 1) / 2) / block_size
