"""The search for subgroups in a run, for those who must search: with family-wise error control, after the global test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trialml.data.impute import BaselineImputer
from trialml.effects.not_done import NotDone
from trialml.errors import AnalysisError
from trialml.models.cox_ridge import CoxRidge
from trialml.models.outcome import survival_outcome
from trialml.strata.found_subgroups import SubgroupSearch
from trialml.strata.search_candidates import SearchPlan
from trialml.strata.search_scales import RefittedScores
from trialml.strata.subgroup_search import search_hazard_ratios, search_scores

if TYPE_CHECKING:
    from trialml.learning import Learning

__all__ = ["search_subgroups"]

_SEED = 44
"""The step of the permutations and of the folds."""


def search_subgroups(
    learning: Learning, scores: NDArray[np.float64], scale: str = "", refitted: RefittedScores | None = None
) -> None:
    """Add a search over single cut-points and pairs where the study file asks for one.

    Parameters
    ----------
    learning
        The patients of the primary contrast.
    scores
        Their doubly robust scores, shape (n,): searched where the endpoint is no time to event.
    scale
        What these estimate, in words.
    refitted
        What learns them again from the training patients of a fold.
    """
    analysis = learning.analysis
    if not analysis.study.strata.search:
        return
    X = BaselineImputer().fit(learning.X).transform(learning.X)[list(learning.X.columns)]
    plan = SearchPlan(permutations=199 if analysis.quick else 999, seed=analysis.seed(_SEED))
    known: dict[str, Any] = {"cells": learning.trial.factor, "plan": plan, "labels": learning.labels}
    with analysis.watcher.step("Search for subgroups", 1) as advance:
        try:
            if learning.endpoint.kind == "time to event":
                outcome = survival_outcome(learning.time, learning.event)
                blind = CoxRidge(seed=analysis.seed(1)).fit(learning.X, outcome)
                found: SubgroupSearch | NotDone = search_hazard_ratios(
                    learning.time, learning.event, learning.treated, X, offset=blind.log_hazard(learning.X), **known
                )
            else:
                share = learning.trial.treatment.allocation
                unit = learning.endpoint.unit if learning.endpoint.kind == "continuous" else ""
                on: dict[str, Any] = {"allocation": share, "scale": scale, "unit": unit, "refitted": refitted}
                found = search_scores(scores, learning.treated, X, **on, **known)
        except AnalysisError as error:
            found = NotDone(SubgroupSearch.title, str(error).rstrip("."))
        advance()
    analysis.add(found, "response")
