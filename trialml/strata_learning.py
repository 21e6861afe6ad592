"""Strata of the kind that the study file asks for: learned, judged on patients not seen, shrunk, and learned again in bootstrap samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trialml.data.folds import fold_labels, splits
from trialml.effects.not_done import NotDone
from trialml.errors import AnalysisError
from trialml.strata.conditions import RISK
from trialml.strata.crossfit import HeldOutStrata, crossvalidate_strata, estimand_words, in_final_order
from trialml.strata.effects import stratum_members
from trialml.strata.learned import StrataPlan, TrainingPatients, learn_strata, refitted_rule, with_scores
from trialml.strata.profile import strata_profile
from trialml.strata.rule_stability import Relearned, RuleStability, rule_stability
from trialml.strata.shrunken import ShrunkenEffects, shrunken_effects
from trialml.strata.stability import strata_stability
from trialml.strata.strata import Strata
from trialml.strata.tree_growth import LeafLimits
from trialml.strata.wording import strata_wording
from trialml.validation.benefit import HeldOutBenefit

if TYPE_CHECKING:
    import pandas as pd

    from trialml.learning import Learning

__all__ = ["FoldFit", "FormedStrata", "ResponseFits", "StrataLearning"]

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]
_OF_RISK = ("risk", "risk by benefit")
_COPIES, _BOOTSTRAP = 41, 42
"""The steps of the folds within bootstrap samples and of the samples."""


@dataclass(frozen=True)
class FoldFit:
    """What was learned on some patients: their scores, the response model, and how to score others."""

    scores: Floats
    model: Any
    scores_of: Callable[[Rows], Floats]


@dataclass(frozen=True)
class ResponseFits:
    """How the response part learns from rows of patients.

    Attributes
    ----------
    fold
        Everything, in a fold.
    nuisance
        What scores other rows.
    model
        The response model of rows and their scores.
    """

    fold: Callable[[Rows], FoldFit]
    nuisance: Callable[[Rows], Callable[[Rows], Floats]]
    model: Callable[[Rows, Floats], Any]


@dataclass(frozen=True)
class FormedStrata:
    """The final strata, the effects in them, and the memberships that these rest on."""

    strata: Strata
    effects: Any
    """`StratumEffects` of a time to event, else `OutcomeStratumEffects`."""
    held: HeldOutBenefit | HeldOutStrata
    member: Rows
    """The place of each patient's stratum."""


class StrataLearning:
    """The strata of one analysis."""

    def __init__(self, learning: Learning, fits: ResponseFits) -> None:
        self.learning, self.fits, self.analysis = learning, fits, learning.analysis
        self.plan = _plan(learning)
        self.asked = self.analysis.study.strata

    def form(self, final: FoldFit, held: HeldOutBenefit, heterogeneity_p: float) -> FormedStrata:
        """Learn the strata in all patients, estimate their effects out of fold, and add what is known of them.

        Parameters
        ----------
        final
            The scores of all patients, averaged over repeats, and the final response model.
        held
            Out-of-fold scores and ranks of the benefit score.
        heterogeneity_p
            The global test's p-value.
        """
        learning = self.learning
        every = np.arange(len(learning.X))
        risk_of = self._risk_of(every)
        strata = learn_strata(self.plan, self._patients(every, final.scores, final.model, risk_of), learning.contract)
        self.analysis.add(strata_wording(strata, self.plan.risk_name), "response")
        member = strata.place(self._frame(every, final.model, risk_of), unseen="other")
        seen = held if self.plan.kind == "benefit" else self._crossvalidate(strata)
        effects = learning.effects_in_strata(
            seen, strata, naive_scores=final.scores, naive_members=member, heterogeneity_p=heterogeneity_p
        )
        effects = replace(effects, estimand=self._estimand())
        self.analysis.add(effects, "response")
        self._add_shrunken(strata, effects)
        self.analysis.add(strata_profile(learning.X, learning.trial.covariates, member, strata), "response")
        members = stratum_members(seen, len(strata.strata))
        self.analysis.add(strata_stability(members, member, strata), "response")
        self._add_rule_stability(strata, member)
        return FormedStrata(strata, effects, seen, member)

    def _estimand(self) -> str:
        """Return what a stratum stands for, and what of its making the folds did not repeat."""
        said = estimand_words(self.plan.kind, self.plan.risk_name)
        if self.plan.kind in _OF_RISK and self.analysis.study.models.risk.candidates:
            said += (
                " Which of the candidates is the model of prognosis was decided once, on all patients; that model was learned again without "
                "each patient."
            )
        return said

    def _crossvalidate(self, strata: Strata) -> HeldOutStrata:
        """Learn the rule again in the folds of the response model's cross-validation."""
        learning, asked = self.learning, self.analysis.study.models.response
        repeats = self.analysis.repeats("response")

        def learned(
            rows: Rows,
        ) -> tuple[TrainingPatients, Callable[[Rows], pd.DataFrame], Callable[[Rows], Floats]]:
            fit, risk_of = self.fits.fold(rows), self._risk_of(rows)
            known = self._patients(rows, fit.scores, fit.model, risk_of)
            return known, lambda others: self._frame(others, fit.model, risk_of), fit.scores_of

        with self.analysis.watcher.step("Strata, cross-validated", asked.folds * repeats) as advance:
            return crossvalidate_strata(
                refitted_rule(learned, self.plan, learning.contract, strata),
                len(learning.X),
                cells=learning.cells,
                folds=asked.folds,
                repeats=repeats,
                seed=self.analysis.seed(6),
                advance=advance,
            )

    def _add_shrunken(self, strata: Strata, effects: Any) -> None:
        if len(strata.strata) == 1:
            return
        try:
            self.analysis.add(shrunken_effects(strata.names, self.learning.scales_of(effects)), "response")
        except AnalysisError as error:
            self.analysis.add(NotDone(ShrunkenEffects.title, str(error).rstrip(".")), "response")

    def _add_rule_stability(self, strata: Strata, member: Rows) -> None:
        """Learn the strata again in bootstrap samples, as often as is asked for; a quick run takes the fewest."""
        bootstraps = min(self.asked.bootstrap, 20) if self.analysis.quick else self.asked.bootstrap
        if not bootstraps:
            return
        learning = self.learning
        every = np.arange(len(learning.X))

        def learn(rows: Rows) -> Relearned:
            scores = self._scores_of_copies(rows)
            model = self.fits.model(rows, scores) if self._needs_benefit else None
            risk_of = self._risk_of(rows)
            own = learn_strata(self.plan, self._patients(rows, scores, model, risk_of), learning.contract)
            return Relearned(
                own, in_final_order(own.place(self._frame(every, model, risk_of), unseen="other"), own, strata)
            )

        try:
            with self.analysis.watcher.step("Strata in bootstrap samples", bootstraps) as advance:
                found = rule_stability(
                    learn,
                    strata,
                    member,
                    learning.X,
                    learning.treated,
                    learning.events,
                    bootstraps=bootstraps,
                    seed=self.analysis.seed(_BOOTSTRAP),
                    advance=advance,
                )
            self.analysis.add(found, "response")
        except AnalysisError as error:
            self.analysis.add(NotDone(RuleStability.title, str(error).rstrip(".")), "response")

    def _scores_of_copies(self, rows: Rows) -> Floats:
        """Return cross-fitted scores of a bootstrap sample, the copies of a patient in one fold."""
        learning, scores = self.learning, np.empty(len(rows))
        cells = learning.arm_and_event[rows]
        folds = self.analysis.study.models.response.folds
        for train, test in splits(fold_labels(cells, folds, self.analysis.seed(_COPIES), groups=rows)):
            scores[test] = self.fits.nuisance(rows[train])(rows[test])
        return scores

    @property
    def _needs_benefit(self) -> bool:
        return self.plan.kind in ("benefit", "risk by benefit")

    def _risk_of(self, rows: Rows) -> Callable[[Rows], Floats] | None:
        """Return the risk under control by a model learned from some patients, the arm a covariate; None where no risk is asked for."""
        if self.plan.kind not in _OF_RISK:
            return None
        from sklearn.base import clone

        learning, fitted = self.learning, self.analysis.risk
        if fitted is None or fitted.risk is None:
            raise AnalysisError(f"Strata by {self.plan.kind} need a risk model: add [models.risk].")
        horizon, model = fitted.risk.horizon, clone(fitted.risk.estimator)
        arm = model.treatment
        X = learning.X if arm is None else learning.X.assign(**{arm: learning.treated.astype(np.float64)})
        control = learning.X if arm is None else learning.X.assign(**{arm: 0.0})
        # A model of the control arm alone is learned again from its patients alone.
        learned = rows[~learning.treated[rows]] if fitted.risk.arm == "control arm" else rows
        model.fit(X.iloc[learned], learning.prognosis_outcome(learned))
        if horizon is None:
            return lambda others: np.asarray(model.predict(control.iloc[others]), dtype=np.float64)
        return lambda others: np.asarray(model.risk(control.iloc[others], horizon), dtype=np.float64)

    def _patients(
        self, rows: Rows, scores: Floats, model: Any, risk_of: Callable[[Rows], Floats] | None
    ) -> TrainingPatients:
        learning, X = self.learning, self.learning.X.iloc[rows]
        benefit = model.benefit_score(X) if self._needs_benefit else None
        risk = None if risk_of is None else risk_of(rows)
        events = None if learning.events is None else learning.events[rows]
        return TrainingPatients(X, scores, learning.treated[rows], events, risk, benefit)

    def _frame(self, rows: Rows, model: Any, risk_of: Callable[[Rows], Floats] | None) -> pd.DataFrame:
        """Return what strata are read from."""
        X = self.learning.X.iloc[rows]
        benefit = model.benefit_score(X) if self._needs_benefit else None
        return with_scores(X, risk=None if risk_of is None else risk_of(rows), benefit_score=benefit)


def _plan(learning: Learning) -> StrataPlan:
    """Return what the study file asks for, with the words that rules use."""
    asked = learning.analysis.study.strata
    taken = {RISK, "benefit_score"} & set(learning.X.columns)
    if taken:
        raise AnalysisError(
            f"A covariate is called '{min(taken)}', which is what strata call a model's score: rename the column."
        )
    return StrataPlan(
        kind=asked.kind,
        groups=asked.groups,
        risk_groups=asked.risk_groups,
        depth=asked.depth,
        margin=asked.margin,
        limits=LeafLimits(asked.leaf_patients, asked.leaf_events),
        model=f"{learning.trial.name}-response",
        risk_model=f"{learning.trial.name}-risk",
        **learning.words_of_rules(),
    )
