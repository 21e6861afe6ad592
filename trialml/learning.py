"""What both models share, and the response model: learned, judged on patients not seen, explained, made into strata."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.analysis import Analysis
from trialml.benefit_model import describe_benefit_model, explain_benefit_model, fit_benefit_model, refuse_few_patients
from trialml.data.quality import DataQuality
from trialml.effects.adjusted import adjusted_contrast
from trialml.effects.arm_scores import repeated_scores
from trialml.effects.censored_outcome import ArmCurve, SurvivalModel
from trialml.effects.contrast import RMST_DIFFERENCE
from trialml.effects.heterogeneity import Heterogeneity, heterogeneity_test
from trialml.effects.scores import crossfit_scores, fit_nuisance
from trialml.errors import AnalysisError
from trialml.explaining import MOST_MODELS, PartModel
from trialml.models.cox_ridge import CoxRidge
from trialml.models.encode import CovariateEncoder
from trialml.models.input_contract import InputContract
from trialml.models.outcome import competing_outcome, survival_outcome
from trialml.models.training_summary import TrainingSummary
from trialml.result import Estimate
from trialml.searching import search_subgroups
from trialml.strata.conditions import RISK
from trialml.strata.crossfit import HeldOutStrata
from trialml.strata.effects import StratumEffects, StratumOutcomes, stratum_effects
from trialml.strata.shrunken import StratumScale, survival_scales
from trialml.strata.strata import Strata
from trialml.strata_learning import FoldFit, FormedStrata, ResponseFits, StrataLearning
from trialml.stratifier import ResponsePart, Stratifier, StratumEffect
from trialml.survival.rmst import RestrictedMean
from trialml.survival.ties import not_after
from trialml.validation.benefit import HeldOutBenefit, benefit_calibration, crossvalidate_response
from trialml.validation.policy_value import policy_value
from trialml.validation.targeting_curve import targeting_curve

__all__ = ["Learning"]

NUISANCE_PENALTY = 8.0
"""Ridge penalty of the arm-wise outcome models: a normal prior with standard deviation 0.35 on each log hazard ratio
for one standard deviation. It is not tuned, because the scores are unbiased whatever it is."""

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]


class Learning:
    """The two models on the primary contrast's patients, learned and judged inside resampling folds."""

    def __init__(self, analysis: Analysis, quality: DataQuality) -> None:
        treatment = analysis.trial.treatment
        self.analysis = analysis
        self.trial = analysis.trial.only(treatment.control, treatment.experimental).without(*quality.not_used)
        if not self.trial.covariates:
            raise AnalysisError("Every covariate in [covariates] is constant: list at least one that varies.")
        self.X = self.trial.baseline
        self.treated, self.endpoint = self.trial.treated, self.trial.endpoint
        self.labels = {covariate.name: covariate.label for covariate in self.trial.covariates}
        self.contract = InputContract.learn(self.trial.covariates, self.X)
        self.training = TrainingSummary.learn(self.trial.covariates, self.X)
        self._fold_fits: dict[bytes, FoldFit] = {}
        self.parts: list[PartModel] = []
        self._take_outcome()
        refuse_few_patients(self)

    def _take_outcome(self) -> None:
        """Take what happened to the patients, and what folds are balanced by."""
        self.time, self.event = self.trial.time, self.trial.event
        self.outcomes = StratumOutcomes(self.time, self.event, self.treated, self.trial.factor)
        self.events: NDArray[np.bool_] | None = self.event
        self.arm_and_event = np.char.add(self.treated.astype(np.str_), self.event.astype(np.str_))
        self.cells = np.char.add(np.char.add(self.arm_and_event, "/"), self.trial.factor)

    def ask_heterogeneity(self) -> Heterogeneity:
        """Ask whether there is any heterogeneity, before a subgroup is looked for."""
        analysis = self.analysis
        encoder = CovariateEncoder().fit(self.X)
        blind = CoxRidge(seed=analysis.seed(1)).fit(self.X, survival_outcome(self.time, self.event))
        columns = [self.labels[name] + (f" ({what})" if what != "value" else "") for name, what, _ in encoder.columns_]
        with analysis.watcher.step("Test of heterogeneity", 1) as advance:
            tested = heterogeneity_test(
                self.time,
                self.event,
                self.treated,
                encoder.transform(self.X),
                columns,
                cells=self.trial.factor,
                offset=blind.log_hazard(self.X),
                permutations=199 if analysis.quick else analysis.study.models.response.permutations,
                seed=analysis.seed(2),
            )
            advance()
        analysis.add(tested, "response")
        return tested

    def learn_response(self, heterogeneity: Heterogeneity) -> tuple[HeldOutBenefit | HeldOutStrata, StratumEffects]:
        """Fit the response model on doubly robust scores, form strata, judge both on patients not seen."""
        analysis, endpoint, asked = self.analysis, self.endpoint, self.analysis.study.models.response
        repeats = analysis.repeats("response")
        with analysis.watcher.step("Response model, cross-validated", asked.folds * repeats + repeats) as advance:
            scores = repeated_scores(
                lambda seed: self._scores(np.arange(len(self.X)), seed),
                repeats=repeats,
                seed=analysis.seed(5),
                advance=advance,
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
        self._add_adjusted(scores)
        model = fit_benefit_model(self, np.arange(len(self.X)), average)
        self._describe_response(model)
        self._judge_response(held, model)
        explainer = explain_benefit_model(self, model, f"{endpoint.unit} of RMST")
        formed = self._form_strata(average, model, held, heterogeneity)
        explainer.by_stratum(model, f"{endpoint.unit} of RMST", formed.member, formed.strata.names)
        search_subgroups(self, average)
        by_stratum: StratumEffects = formed.effects
        effects = tuple(
            StratumEffect(row.rmst_difference, row.rmst_difference_low, row.rmst_difference_high)
            for row in by_stratum.rows.itertuples()
        )
        part = ResponsePart(asked.model, model, formed.strata, effects, endpoint.tau)
        self._keep(part, endpoint.unit)
        return formed.held, by_stratum

    def _form_strata(
        self, average: Floats, model: Any, held: HeldOutBenefit, heterogeneity: Heterogeneity
    ) -> FormedStrata:
        """Form the strata that the study file asks for, and judge them on patients not seen."""
        fits = ResponseFits(self._fold_fit, self._nuisance, self._refitted)
        final = FoldFit(average, model, self._nuisance(np.arange(len(self.X))))
        return StrataLearning(self, fits).form(final, held, heterogeneity.p)

    def _keep(self, part: ResponsePart, unit: str) -> None:
        """Keep model and strata for new patients, with the risk model where strata are read from it."""
        risk = self.analysis.risk.risk if self.analysis.risk is not None and RISK in part.strata.columns else None
        self.analysis.response = Stratifier(self.trial.name, unit, self.contract, risk, part, self.training)

    def effects_in_strata(self, held: HeldOutBenefit | HeldOutStrata, strata: Strata, **known: Any) -> Any:
        """Return the cross-fitted effects in strata; `known` is the naive effects and the global test's p-value."""
        asked = self.endpoint
        read: dict[str, Any] = {"horizon": asked.horizon, "tau": asked.tau, "unit": asked.unit}
        return stratum_effects(self.outcomes, held, strata, months_per_unit=asked.months_per_unit, **read, **known)

    def scales_of(self, effects: Any) -> tuple[StratumScale, StratumScale]:
        """Return the effects in strata on the scales on which they are shrunk."""
        return survival_scales(effects, self.outcomes)

    def words_of_rules(self) -> dict[str, Any]:
        """Return the unit of the benefit score and what the rules call a risk, as `StrataPlan` names them."""
        asked = self.endpoint
        risk = f"of {asked.name.lower()} by {asked.horizon:g} {asked.unit} under control"
        return {"unit": asked.unit, "risk_of": risk}

    def prognosis_outcome(self, rows: Rows) -> NDArray[Any]:
        """Return the outcome of some patients as the risk model takes it."""
        if self.analysis.study.risk_kind == "competing risks":
            return competing_outcome(self.time[rows], self.trial.cause[rows])
        return self.modelled_outcome(rows)

    def _add_adjusted(self, scores: Floats) -> None:
        tau, events = self.endpoint.tau, self._events_by_tau
        found = adjusted_contrast(scores, unadjusted=self._unadjusted(), events=events, tau=tau)
        self.analysis.add(found, "response")

    def _judge_response(self, held: HeldOutBenefit, model: Any) -> None:
        """Add how well the benefit score and the expected benefit tell unseen patients apart."""
        on: dict[str, Any] = {"unit": self.endpoint.unit, "tau": self.endpoint.tau}
        shrunk: dict[str, Any] = {"shrinkage": model.shrinkage, "shrinkage_mc_error": model.slope_mc_error_}
        self.analysis.add(benefit_calibration(held, **shrunk, **on), "response")
        self.analysis.add(targeting_curve(held, **on), "response")
        self.analysis.add(policy_value(held, **on), "response")

    @property
    def _events_by_tau(self) -> int:
        """Events up to tau: the information on restricted means, to which later ones add nothing."""
        return int((self.event & not_after(self.time, self.endpoint.tau)).sum())

    def modelled_outcome(self, rows: Rows) -> NDArray[Any]:
        """Return the outcome of some patients as the models of its kind take it."""
        return survival_outcome(self.time[rows], self.event[rows])

    def _scores(self, rows: Rows, seed: int) -> Floats:
        """Return cross-fitted doubly robust scores of some patients, learned on these patients alone."""
        folds = self.analysis.study.models.response.folds
        return crossfit_scores(*self._patients(rows), **self._scale(), folds=folds, seed=seed)

    def _patients(self, rows: Rows) -> tuple[pd.DataFrame, Floats, NDArray[np.bool_], NDArray[np.bool_]]:
        """Return covariates, times, events and arms of some patients."""
        return self.X.iloc[rows], self.time[rows], self.event[rows], self.treated[rows]

    def _scale(self) -> dict[str, Any]:
        """Return what every doubly robust score of this trial shares."""
        allocation = self.trial.treatment.allocation
        return {"tau": self.endpoint.tau, "allocation": allocation, "learner": _outcome_model}

    def _fit_response(self, rows: Rows) -> tuple[Any, Callable[[Rows], Floats]]:
        """Learn scores, line, penalty and shrinkage on some patients; offer the scores of others."""
        fit = self._fold_fit(rows)
        if len(self.parts) < MOST_MODELS:
            self.parts.append(PartModel(fit.model, len(rows) / len(self.X)))
        return fit.model, fit.scores_of

    def _fold_fit(self, rows: Rows) -> FoldFit:
        """Learn what a fold needs, once: strata of other kinds than benefit are refitted in the same folds."""
        key = rows.tobytes()
        if key not in self._fold_fits:
            scores = self._scores(rows, self.analysis.seed(8))
            fit = FoldFit(scores, self._refitted(rows, scores), self._nuisance(rows))
            if self.analysis.study.strata.kind == "benefit":
                return fit
            self._fold_fits[key] = fit
        return self._fold_fits[key]

    def _refitted(self, rows: Rows, scores: Floats) -> Any:
        """Return the response model of some patients and their scores."""
        return fit_benefit_model(self, rows, scores, fold=True)

    def _nuisance(self, rows: Rows) -> Callable[[Rows], Floats]:
        """Learn outcome models and censoring curves on some patients; offer the scores of others."""
        nuisance = fit_nuisance(*self._patients(rows), **self._scale())
        return lambda others: nuisance.scores(*self._patients(others))

    def _unadjusted(self) -> Estimate:
        found = self.analysis.only(RestrictedMean).difference
        return replace(found, scale=RMST_DIFFERENCE, unit=self.endpoint.unit)

    def _describe_response(self, model: Any) -> None:
        unit, tau = self.endpoint.unit, self.endpoint.tau
        effect = f"Changes of the benefit score, in {unit} of restricted mean event-free time over {tau:g} {unit}."
        describe_benefit_model(self, model, effect=effect, events=self._events_by_tau, by=f"by {tau:g} {unit}")


def _outcome_model(X: pd.DataFrame, time: Floats, event: NDArray[np.bool_]) -> SurvivalModel:
    """Fit the outcome model of one arm; too few events for one leave the arm's curve, with which scores stay unbiased."""
    try:
        return CoxRidge(penalties=(NUISANCE_PENALTY,)).fit(X, survival_outcome(time, event))
    except AnalysisError:
        return ArmCurve(time, event)
