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
from trialml.effects.outcome_heterogeneity import outcome_heterogeneity_test
from trialml.effects.primary_outcome import benefit_scale, prediction_name
from trialml.errors import AnalysisError
from trialml.learning import NUISANCE_PENALTY, Learning
from trialml.models.encode import CovariateEncoder
from trialml.models.linear_ridge import LinearRidge
from trialml.models.logistic_ridge import LogisticRidge
from trialml.models.outcome import binary_outcome
from trialml.searching import search_subgroups
from trialml.strata.crossfit import HeldOutStrata
from trialml.strata.outcome_effects import (
    ObservedOutcomes,
    OutcomeStratumEffects,
    outcome_scales,
    outcome_stratum_effects,
)
from trialml.strata.shrunken import StratumScale
from trialml.strata.strata import Strata
from trialml.stratifier import ResponsePart, StratumEffect
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
        self.events = self.outcome > 0 if self.binary else None
        self.arm_and_event = np.char.add(self.treated.astype(np.str_), kind.astype(np.str_))
        self.cells = np.char.add(np.char.add(self.arm_and_event, "/"), self.trial.factor)

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

    def learn_benefit(
        self, heterogeneity: Heterogeneity
    ) -> tuple[HeldOutBenefit | HeldOutStrata, OutcomeStratumEffects]:
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
        explainer = explain_benefit_model(self, model, self.unit or "difference in risk")
        formed = self._form_strata(average, model, held, heterogeneity)
        explainer.by_stratum(model, self.unit or "difference in risk", formed.member, formed.strata.names)
        search_subgroups(self, average, self.scale, self._scored_anew)
        found: OutcomeStratumEffects = formed.effects
        effects = tuple(
            StratumEffect(row.benefit, row.benefit_low, row.benefit_high) for row in found.rows.itertuples()
        )
        self._keep(ResponsePart(asked.model, model, formed.strata, effects), self.unit)
        return formed.held, found

    def _judge_benefit(self, held: HeldOutBenefit, model: Any) -> None:
        """Add how well the benefit score and the expected benefit tell unseen patients apart."""
        on: dict[str, Any] = {"unit": self.unit, "scale": self.scale}
        shrunk: dict[str, Any] = {"shrinkage": model.shrinkage, "shrinkage_mc_error": model.slope_mc_error_}
        self.analysis.add(benefit_calibration(held, **shrunk, **on), "response")
        self.analysis.add(targeting_curve(held, **on), "response")
        self.analysis.add(policy_value(held, **on), "response")

    def effects_in_strata(self, held: HeldOutBenefit | HeldOutStrata, strata: Strata, **known: Any) -> Any:
        """Return the cross-fitted effects in strata; `known` is the naive effects and the global test's p-value."""
        on: dict[str, Any] = {"scale": self.scale, "unit": self.unit, "binary": self.binary}
        return outcome_stratum_effects(ObservedOutcomes(self.outcome, self.treated), held, strata, **on, **known)

    def scales_of(self, effects: Any) -> tuple[StratumScale, StratumScale]:
        """Return the effects in strata on the scales on which they are shrunk."""
        return outcome_scales(effects)

    def words_of_rules(self) -> dict[str, Any]:
        """Return the unit of the benefit score and what the rules call a risk: only of harm is there one."""
        called = prediction_name(self.endpoint.kind, higher_is_better=self.endpoint.higher_is_better)
        of = f"of {self.endpoint.name.lower()} under control" + (f" ({self.unit})" if self.unit else "")
        return {"unit": "in risk" if self.binary else self.unit, "risk_name": called, "risk_of": of}

    def prognosis_outcome(self, rows: Rows) -> NDArray[Any]:
        """Return the outcome of some patients as the risk model takes it."""
        return self.modelled_outcome(rows)

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

    def _scored_anew(self, rows: Rows) -> tuple[Floats, Callable[[Rows], Floats]]:
        """Return cross-fitted scores of some patients, and what scores others, learned on the former alone."""
        return self._scores(rows, self.analysis.seed(8)), self._nuisance(rows)

    def _those(self, rows: Rows) -> tuple[pd.DataFrame, Floats, NDArray[np.bool_]]:
        return self.X.iloc[rows], self.outcome[rows], self.treated[rows]

    def _nuisance(self, rows: Rows) -> Callable[[Rows], Floats]:
        """Learn outcome models on some patients; offer the scores of others."""
        nuisance = fit_outcome_nuisance(*self._those(rows), **self._asked())
        return lambda others: nuisance.scores(*self._those(others))


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
