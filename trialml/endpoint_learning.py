"""The response model of a binary or continuous endpoint: learned on doubly robust scores, judged on patients not seen, made into strata."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.benefit_model import describe_benefit_model, explain_benefit_model, fit_benefit_model
from trialml.effects.arm_scores import repeated_scores
from trialml.effects.endpoint_scores import crossfit_outcome_scores, fit_outcome_nuisance
from trialml.effects.heterogeneity import Heterogeneity
from trialml.effects.not_done import NotDone
from trialml.effects.outcome_heterogeneity import outcome_heterogeneity_test
from trialml.effects.primary_outcome import benefit_scale
from trialml.errors import AnalysisError
from trialml.learning import NUISANCE_PENALTY, Learning
from trialml.models.encode import CovariateEncoder
from trialml.models.linear_ridge import LinearRidge
from trialml.models.logistic_ridge import LogisticRidge
from trialml.models.outcome import binary_outcome
from trialml.searching import search_subgroups
from trialml.strata.effects import stratum_members
from trialml.strata.outcome_effects import (
    ObservedOutcomes,
    OutcomeStratumEffects,
    outcome_scales,
    outcome_stratum_effects,
)
from trialml.strata.profile import strata_profile
from trialml.strata.shrunken import ShrunkenEffects, shrunken_effects
from trialml.strata.stability import strata_stability
from trialml.strata.strata import quantile_strata
from trialml.stratifier import ResponsePart, Stratifier, StratumEffect
from trialml.validation.benefit import HeldOutBenefit, benefit_calibration, crossvalidate_response
from trialml.validation.policy_value import policy_value
from trialml.validation.targeting_curve import targeting_curve

__all__ = ["OutcomeLearning"]

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]


class OutcomeLearning(Learning):
    """What both models of a binary or continuous endpoint share, and the response model."""

    outcome: Floats
    """The values of a continuous endpoint; 1 and 0 for with and without the event."""
    y: NDArray[Any]
    """The outcome as the models of its kind take it."""
    scale: str
    """What a benefit is, in words."""

    def _take_outcome(self) -> None:
        self.outcome, self.binary = self.trial.outcome, self.endpoint.kind == "binary"
        self.y = self.outcome > 0 if self.binary else self.outcome
        self.scale = benefit_scale(self.endpoint.kind, higher_is_better=self.endpoint.higher_is_better)
        self.unit = "" if self.binary else self.endpoint.unit
        kind = np.where(self.outcome > 0, "with", "without") if self.binary else np.full(len(self.outcome), "")
        cells = np.char.add(self.treated.astype(np.str_), kind.astype(np.str_))
        self.cells = np.char.add(np.char.add(cells, "/"), self.trial.factor)

    def ask_heterogeneity(self) -> Heterogeneity:
        """Ask whether there is any heterogeneity, before a subgroup is looked for."""
        analysis = self.analysis
        encoder = CovariateEncoder().fit(self.X)
        blind = _blind(self.binary, analysis.seed(1)).fit(self.X, self.y)
        columns = [self.labels[name] + (f" ({what})" if what != "value" else "") for name, what, _ in encoder.columns_]
        with analysis.watcher.step("Test of heterogeneity", 1) as advance:
            tested = outcome_heterogeneity_test(
                self.outcome,
                self.treated,
                encoder.transform(self.X),
                columns,
                cells=self.trial.factor,
                binary=self.binary,
                unit=self.unit,
                higher_is_better=self.endpoint.higher_is_better,
                expected=blind.predict(self.X),
                permutations=199 if analysis.quick else analysis.study.models.response.permutations,
                seed=analysis.seed(2),
            )
            advance()
        analysis.add(tested, "response")
        return tested

    def learn_benefit(self, heterogeneity: Heterogeneity) -> tuple[HeldOutBenefit, OutcomeStratumEffects]:
        """Fit the response model on doubly robust scores, form strata, judge both on patients not seen."""
        analysis, asked = self.analysis, self.analysis.study.models.response
        repeats, every = analysis.repeats("response"), np.arange(len(self.X))
        with analysis.watcher.step("Response model, cross-validated", asked.folds * repeats + repeats) as advance:
            scores = repeated_scores(
                lambda seed: self._scores(every, seed), repeats=repeats, seed=analysis.seed(5), advance=advance
            )
            held = crossvalidate_response(
                self._fit_response,
                self.X,
                cells=self.cells,
                folds=asked.folds,
                repeats=repeats,
                seed=analysis.seed(6),
                advance=advance,
            )
        average = scores.mean(axis=0)
        model = fit_benefit_model(self, every, average)
        self._describe_benefit(model)
        self._judge_benefit(held, model)
        explain_benefit_model(self, model, self.unit or "difference in risk")
        by_stratum = self._stratify(heterogeneity, held, model, average)
        search_subgroups(self, average, self.scale)
        return held, by_stratum

    def _judge_benefit(self, held: HeldOutBenefit, model: Any) -> None:
        """Add how well the benefit score and the expected benefit tell unseen patients apart."""
        on: dict[str, Any] = {"unit": self.unit, "scale": self.scale}
        shrunk: dict[str, Any] = {"shrinkage": model.shrinkage, "shrinkage_mc_error": model.slope_mc_error_}
        self.analysis.add(benefit_calibration(held, **shrunk, **on), "response")
        self.analysis.add(targeting_curve(held, **on), "response")
        self.analysis.add(policy_value(held, **on), "response")

    def _stratify(
        self, heterogeneity: Heterogeneity, held: HeldOutBenefit, model: Any, average: Floats
    ) -> OutcomeStratumEffects:
        """Form strata of the benefit score, describe them, and keep model and strata for new patients."""
        analysis, own = self.analysis, model.benefit_score(self.X)
        name = f"{self.trial.name}-response"
        strata = quantile_strata(own, analysis.study.strata.groups, model=name, unit=self.unit or "in risk")
        final = strata.assign(own)
        found = outcome_stratum_effects(
            ObservedOutcomes(self.outcome, self.treated),
            held,
            strata,
            naive_scores=average,
            naive_members=final,
            heterogeneity_p=heterogeneity.p,
            scale=self.scale,
            unit=self.unit,
            binary=self.binary,
        )
        analysis.add(found, "response")
        if len(strata.strata) > 1:
            try:
                analysis.add(shrunken_effects(strata.names, outcome_scales(found)), "response")
            except AnalysisError as error:
                analysis.add(NotDone(ShrunkenEffects.title, str(error).rstrip(".")), "response")
        analysis.add(strata_profile(self.X, self.trial.covariates, final, strata), "response")
        analysis.add(strata_stability(stratum_members(held, len(strata.strata)), final, strata), "response")
        effects = tuple(
            StratumEffect(row.benefit, row.benefit_low, row.benefit_high) for row in found.rows.itertuples()
        )
        part = ResponsePart(analysis.study.models.response.model, model, strata, effects)
        analysis.response = Stratifier(self.trial.name, self.unit, self.contract, response=part)
        return found

    def _describe_benefit(self, model: Any) -> None:
        events = int(self.outcome.sum()) if self.binary else len(self.X)
        effect = f"Changes of the benefit score ({self.scale}{f'; {self.unit}' if self.unit else ''})."
        counted = "events" if self.binary else "patients"
        describe_benefit_model(self, model, effect=effect, events=events, counted=counted)

    def modelled_outcome(self, rows: Rows) -> NDArray[Any]:
        """Return the outcome of some patients as the models of its kind take it."""
        return np.asarray(self.y[rows])

    def _asked(self) -> dict[str, Any]:
        """Return what every doubly robust score of this trial shares."""
        return {
            "allocation": self.trial.treatment.allocation,
            "learner": _binary_mean if self.binary else _mean,
            "binary": self.binary,
            "higher_is_better": self.endpoint.higher_is_better,
        }

    def _scores(self, rows: Rows, seed: int) -> Floats:
        """Return cross-fitted doubly robust scores of some patients, learned on these patients alone."""
        folds = self.analysis.study.models.response.folds
        return crossfit_outcome_scores(*self._those(rows), **self._asked(), folds=folds, seed=seed)

    def _those(self, rows: Rows) -> tuple[pd.DataFrame, Floats, NDArray[np.bool_]]:
        return self.X.iloc[rows], self.outcome[rows], self.treated[rows]

    def _fit_response(self, rows: Rows) -> tuple[Any, Callable[[Rows], Floats]]:
        """Learn scores, line, penalty and shrinkage on some patients; offer the scores of others."""
        model = fit_benefit_model(self, rows, self._scores(rows, self.analysis.seed(8)), fold=True)
        nuisance = fit_outcome_nuisance(*self._those(rows), **self._asked())
        return model, lambda others: nuisance.scores(*self._those(others))


def _blind(binary: bool, seed: int) -> Any:
    """Return the unfitted model of the outcome that does not see the arm."""
    return LogisticRidge(seed=seed) if binary else LinearRidge(seed=seed)


def _binary_mean(X: pd.DataFrame, outcome: Floats, weights: Floats) -> Callable[[pd.DataFrame], Floats]:
    """Fit the outcome model of one arm; too few events for one leave the arm's share, with which scores stay unbiased."""
    try:
        fitted = LogisticRidge(penalties=(NUISANCE_PENALTY,)).fit(X, binary_outcome(outcome > 0, weights))
    except AnalysisError:
        return _one_mean(outcome, weights)
    return fitted.risk


def _mean(X: pd.DataFrame, outcome: Floats, weights: Floats) -> Callable[[pd.DataFrame], Floats]:
    """Fit the outcome model of one arm of a continuous endpoint; too few patients for one leave the arm's mean."""
    try:
        fitted = LinearRidge().fit(X, outcome)
    except AnalysisError:
        return _one_mean(outcome, weights)
    return fitted.predict


def _one_mean(outcome: Floats, weights: Floats) -> Callable[[pd.DataFrame], Floats]:
    mean = float(weights @ outcome / weights.sum())
    return lambda others: np.full(len(others), mean)
