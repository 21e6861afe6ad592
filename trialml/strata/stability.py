"""Would the same patients be in the same stratum again?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.result import Result, format_number
from trialml.strata.strata import Strata

__all__ = ["StrataStability", "strata_stability"]


@dataclass(frozen=True, eq=False)
class StrataStability(Result):
    """How often a rule learned on other patients puts a patient into the stratum of the final rule."""

    title = "Stability of the strata"
    methods = (
        "Stability is the share of patients whom rules learned without them put into the same stratum as the final rule, and the "
        "agreement between repeats beyond chance (kappa, averaged over pairs of repeats)."
    )

    moves: pd.DataFrame
    """Row: stratum by the final rule; columns: share put into each stratum by rules that had not seen the patient."""
    agreement: float
    kappa: float

    def frame(self) -> pd.DataFrame:
        """Return the shares, one row a stratum of the final rule."""
        return self.moves

    def text(self) -> str:
        """Return the overall agreement."""
        return (
            f"Rules learned without the patient agree with the final rule for {100 * self.agreement:.0f} % of patients; between "
            f"repeats the agreement beyond chance (kappa) is {format_number(self.kappa, 2)}."
        )

    def scalars(self) -> dict[str, float]:
        """Return agreement and kappa."""
        return {"strata_agreement": self.agreement, "strata_kappa": self.kappa}

    def table(self) -> pd.DataFrame:
        """Return the shares as percentages."""
        shown = self.moves.copy()
        for name in shown.columns[1:]:
            shown[name] = [f"{100 * share:.0f} %" for share in shown[name]]
        return shown.set_axis(["By the final rule", *shown.columns[1:]], axis=1)


def strata_stability(members: NDArray[np.intp], final: NDArray[np.intp], strata: Strata) -> StrataStability:
    """Compare out-of-fold memberships with those of the final rule.

    Parameters
    ----------
    members
        Stratum by rules that had not seen the patient, shape (repeats, n).
    final
        Stratum by the final rule, shape (n,).
    strata
        The final strata.

    Returns
    -------
    StrataStability
        Kappa is 0 where there is a single stratum.
    """
    groups = len(strata.strata)
    moves: dict[str, list[object]] = {"stratum": list(strata.names)}
    for place, name in enumerate(strata.names):
        moves[name] = [
            float((members[:, final == own] == place).mean()) if (final == own).any() else float("nan")
            for own in range(groups)
        ]
    agreement = float((members == final).mean())
    return StrataStability(pd.DataFrame(moves), agreement, _average_kappa(members, groups))


def _average_kappa(members: NDArray[np.intp], groups: int) -> float:
    if groups == 1:
        return 0.0
    shares = np.stack([(members == group).mean(axis=1) for group in range(groups)])
    values = []
    for first in range(len(members)):
        for second in range(first + 1, len(members)):
            chance = float(shares[:, first] @ shares[:, second])
            agreed = float((members[first] == members[second]).mean())
            values.append((agreed - chance) / (1 - chance) if chance < 1 else 0.0)
    return float(np.mean(values))
