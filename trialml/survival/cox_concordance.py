"""Concordance of a Cox model's own linear predictor, within strata and at risk, as ``coxph`` prints it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from trialml.errors import AnalysisError
from trialml.survival.cox_fit import CoxProblem
from trialml.survival.ties import checked_labels

__all__ = ["CoxConcordance", "cox_concordance"]


class CoxConcordance(NamedTuple):
    """A concordance with its infinitesimal-jackknife standard error, and the weight of its comparable pairs."""

    value: float
    se: float
    comparable: float


def cox_concordance(problem: CoxProblem, coefficients: Any, id: Any = None) -> CoxConcordance:  # noqa: A002
    """Return the share of comparable pairs of a stratum in which the row with the higher hazard has the event first.

    Parameters
    ----------
    problem
        The data; strata, case weights and delayed entry count.
    coefficients
        Shape ``(p,)``.
    id
        The subject of each row, in the order given: the error then sums a subject's influences first.

    Returns
    -------
    CoxConcordance
        Apparent: on the data that the coefficients may have been fitted to. An event is compared with every row
        under observation at its time, tied events apart; equal linear predictors count half. Value and error are
        those of R's ``coxph(...)$concordance``.

    Raises
    ------
    AnalysisError
        If no pair is comparable.
    """
    from trialml.survival.cox_concordance_pass import pair_sums

    layout = problem.layout
    # Centring within strata leaves the order within each; rounding must not part equal predictors.
    eta = problem.linear_predictor(coefficients)
    scale = 1e-12 * max(float(np.abs(eta).max()), 1e-300)
    order = np.argsort(eta, kind="stable")
    rank = np.empty(eta.size, dtype=np.int64)
    rank[order] = 1 + np.cumsum(np.concatenate(([False], np.diff(eta[order]) > scale)))
    sums = np.zeros((4, eta.size))
    pair_sums(layout.stratum_slot, layout.slot_row, layout.slot_dead, layout.exit_row, layout.exit_slot, rank,
              problem.weights, problem.weights, *np.zeros((2, int(rank.max()) + 1)), sums)  # fmt: skip
    won, compared = sums[0] + sums[2], sums[1] + sums[3]
    total = float(problem.weights @ sums[1])
    if not total > 0:
        raise AnalysisError("no two rows are comparable, so there is no concordance: use more data")
    value = float(problem.weights @ sums[0]) / total
    influence = problem.weights * (won - value * compared) / total
    if id is not None:
        labels, codes = checked_labels(id, eta.size, "id")
        influence = np.bincount(codes[problem.order], influence, labels.size)
    return CoxConcordance(value, float(np.sqrt(influence @ influence)), total)
