"""What a run explains of its two models: against whom, by which way, over time, and whether it repeats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.analysis import Analysis, Subject
from trialml.data.disclosure import SMALLEST_CELL
from trialml.effects.not_done import NotDone
from trialml.errors import AnalysisError
from trialml.explain.benefit_scores import benefit_score
from trialml.explain.by_stratum import explanation_by_stratum
from trialml.explain.dependence import partial_dependence
from trialml.explain.explained import Explained, background_of, explain_score, explanation
from trialml.explain.explained_score import ExplainedScore, Perturbation
from trialml.explain.interactions import interactions
from trialml.explain.linear import Explanation, explain_linear
from trialml.explain.over_time import explanation_over_time
from trialml.explain.risk_scores import additive_score, count_patients, risk_score
from trialml.explain.side_by_side import prognostic_and_predictive
from trialml.explain.stability import explanation_stability
from trialml.explain.surrogate import surrogate

__all__ = ["MOST_MODELS", "Explainer", "PartModel", "additive_or_risk"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

MOST_MODELS = 20
"""Of the folds' models whose explanations are compared: four repeats of five folds."""
FEWER_MODELS = 5
"""Where each takes long to explain: of one repeat."""
MOST_PATIENTS = 500
"""Explained where SHAP values are exact and cheap."""
AVERAGED = 100
"""Patients that partial dependence averages over: all would cost a hundred times what it tells."""
_BACKGROUND, _PATIENTS, _ORDERS, _SURROGATE = 51, 52, 53, 54
"""The steps of the draws."""


class PartModel(NamedTuple):
    """A model of a fold, and the share of the patients that it learned from."""

    model: Any
    share: float


@dataclass
class Explainer:
    """Explains one model to the analysis that it belongs to.

    Attributes
    ----------
    analysis, about
        Where results go, and whose they are.
    X, covariates
        What the model reads, and the covariates alone, n rows each.
    treated
        Shape (n,).
    labels
        Words by covariate.
    fitted_to
        Who the patients are, in words: `` of both arms that the model was fitted to``.
    parts
        Models of the folds.
    """

    analysis: Analysis
    about: Subject
    X: pd.DataFrame
    covariates: pd.DataFrame
    treated: Flags
    labels: dict[str, str]
    fitted_to: str = "that the model was fitted to"
    parts: Sequence[PartModel] = field(default_factory=list)

    def line(self, model: Any, subject: str, unit: str) -> Explanation:
        """Add the explanation of a linear score, and whether it repeats."""
        encoder, who = model.encoder_, self._of_background()
        design = encoder.transform(self.covariates)
        found = explain_linear(
            model.coefficients_,
            design,
            encoder.covariate_of_column(),
            self.covariates,
            labels=self.labels,
            subject=subject,
            unit=unit,
            background=self._words_of_all(),
            background_design=design[who],
        )
        self.analysis.add(found, self.about)
        names = list(dict.fromkeys(encoder.covariate_of_column()))
        drawn = [_line_importance(one.model, self.covariates, names) for one in self.parts[:MOST_MODELS]]
        self._add_stability(_line_importance(model, self.covariates, names), drawn, names, subject, unit)
        return found

    def score(self, score: ExplainedScore, subject: str, *, model: Any, of_part: Any) -> tuple[Explanation, Explained]:
        """Add the explanation of any other score, its interactions where they are exact, and whether it repeats.

        Parameters
        ----------
        score
            With one output.
        subject
            In words.
        model
            Whose trees are counted.
        of_part
            Returns the same score of a fold's model, None where it has none.
        """
        count_patients(model, self.X, SMALLEST_CELL)
        how, rows = self._perturbation(score), self._explained(score)
        found = self._explain(score, rows, how)
        words, covariates = self._background_words(how), self.covariates.iloc[rows]
        summary = explanation(found, covariates, labels=self.labels, subject=subject, background=words)
        self.analysis.add(summary, self.about)
        if score.boxes is not None:
            pairs: dict[str, Any] = {"labels": self.labels, "subject": subject, "words": words, "perturbation": how}
            few = covariates.head(AVERAGED)
            self.analysis.add(interactions(score, few, self._background(), **pairs), self.about)
        most = MOST_MODELS if score.boxes is not None else FEWER_MODELS
        few = self.covariates.iloc[rows[: AVERAGED if score.boxes is not None else 55]]
        scores = [of_part(one.model) for one in self.parts[:most]]
        drawn = [self._part_importance(one, few) for one in scores if one is not None]
        self._add_stability(found.importance(), drawn, score.covariates, subject, score.unit)
        return summary, found

    def over_time(self, estimator: Any, times: Sequence[float], time_unit: str) -> None:
        """Add what moves the risk by several times."""
        score = risk_score(estimator, times)
        how, rows = self._perturbation(score), self._explained(score)
        words: dict[str, Any] = {"labels": self.labels, "subject": "the risk", "time_unit": time_unit}
        found = self._explain(score, rows, how)
        added = explanation_over_time(found, times, background=self._background_words(how), **words)
        self.analysis.add(added, self.about)

    def dependence(self, of_parts: Sequence[ExplainedScore], score: ExplainedScore, subject: str) -> None:
        """Add the partial dependence of a score, with limits from those of the folds' models."""
        try:
            found = partial_dependence(
                score.value,
                [one.value for one in of_parts[:MOST_MODELS]],
                self.covariates,
                score.covariates,
                over=background_of(
                    self.X, np.ones(len(self.X), dtype=np.bool_), AVERAGED, self.analysis.seed(_PATIENTS)
                ),
                share=self._share,
                subject=subject,
                unit=score.unit,
                labels=self.labels,
            )
        except AnalysisError as error:
            self.analysis.add(NotDone(f"Partial dependence of {subject}", str(error).rstrip(".")), self.about)
            return
        self.analysis.add(found, self.about)

    def on_paper(self, score: ExplainedScore, subject: str) -> None:
        """Add a surrogate of a score, where the study file asks for one."""
        kind = self.analysis.study.explain.surrogate
        if kind == "none":
            return
        words: dict[str, Any] = {"labels": self.labels, "subject": subject, "unit": score.unit}
        said, seed = score.value(self.covariates)[:, -1], self.analysis.seed(_SURROGATE)
        try:
            self.analysis.add(surrogate(said, self.covariates, kind=kind, seed=seed, **words), self.about)
        except AnalysisError as error:
            self.analysis.add(NotDone(f"A surrogate of {subject}", str(error).rstrip(".")), self.about)

    def benefit(self, model: Any, unit: str) -> Explanation:
        """Add what moves the benefit score, whatever the response model, and set it beside what moves the risk."""
        subject = "the benefit score"
        if hasattr(model, "coefficients_"):
            found = self.line(model, subject, unit)
        else:
            of_part = _benefit_of(unit)
            found, _ = self.score(of_part(model), subject, model=model, of_part=of_part)
        risk = [one for one in self.analysis.results_about("risk") if isinstance(one, Explanation)]
        if risk:
            self.analysis.add(prognostic_and_predictive(risk[0], found), self.about)
        return found

    def by_stratum(self, model: Any, unit: str, member: NDArray[np.intp], strata: Sequence[str]) -> None:
        """Add what moves the benefit score within strata."""
        if len(strata) < 2:
            return
        score = benefit_score(model, unit)
        how, rows = self._perturbation(score), self._explained(score)
        words: dict[str, Any] = {"labels": self.labels, "subject": "the benefit score"}
        try:
            if hasattr(model, "coefficients_"):
                rows, found = np.arange(len(self.covariates)), self._line(model, unit)
                against = self._words_of_all()
            else:
                found, against = self._explain(score, rows, how), self._background_words(how)
            added = explanation_by_stratum(found, member[rows], strata, background=against, **words)
        except AnalysisError as error:
            self.analysis.add(NotDone("What moves the benefit score within strata", str(error).rstrip(".")), self.about)
            return
        self.analysis.add(added, self.about)

    def _line(self, model: Any, unit: str) -> Explained:
        """Return the exact values of a linear score, in the form of any other's."""
        columns = np.asarray(model.encoder_.covariate_of_column())
        names = tuple(dict.fromkeys(columns.tolist()))
        design = model.encoder_.transform(self.covariates)
        parts = model.coefficients_ * (design - design[self._of_background()].mean(axis=0))
        values = np.column_stack([parts[:, columns == name].sum(axis=1) for name in names])[:, :, None]
        base = design[self._of_background()].mean(axis=0) @ model.coefficients_
        error = float(np.abs(values[:, :, 0].sum(axis=1) + base - design @ model.coefficients_).max())
        return Explained(names, values, np.array([base]), error, np.zeros_like(values), "line", "interventional", unit)

    @property
    def _share(self) -> float:
        return float(np.mean([one.share for one in self.parts])) if self.parts else 0.5

    def _of_background(self) -> Flags:
        """Return who may stand in for what is left out, shape (n,)."""
        asked = self.analysis.study.explain.background
        who = {"both arms": np.ones(len(self.treated), dtype=np.bool_), "control arm": ~self.treated}.get(
            asked, self.treated
        )
        if not who.any():
            raise AnalysisError(
                f"[explain] background = '{asked}', but the model was fitted to no patient of it: take the arm that it was fitted to."
            )
        return np.asarray(who)

    def _background(self) -> pd.DataFrame:
        most = self.analysis.study.explain.background_patients
        return background_of(self.covariates, self._of_background(), most, self.analysis.seed(_BACKGROUND))

    def _background_words(self, how: Perturbation) -> str:
        asked, n = self.analysis.study.explain, int(self._of_background().sum())
        if how == "path-dependent":
            return f"the {len(self.covariates):,} patients {self.fitted_to}"
        drawn = min(asked.background_patients, n)
        return f"{drawn:,} drawn from {self._words_of_all()}" if drawn < n else self._words_of_all()

    def _words_of_all(self) -> str:
        asked = self.analysis.study.explain.background
        whose = asked if asked == "both arms" else f"the {asked}"
        whose = whose if self.treated.any() else "the control arm"
        return f"the {int(self._of_background().sum()):,} patients of {whose} {self.fitted_to}"

    def _perturbation(self, score: ExplainedScore) -> Perturbation:
        # Only a sum of trees has paths; of any other score the text says interventional.
        return self.analysis.study.explain.perturbation if score.boxes is not None else "interventional"

    def _explained(self, score: ExplainedScore) -> NDArray[np.intp]:
        asked, n = self.analysis.study.explain.patients, len(self.covariates)
        most = max(asked, MOST_PATIENTS) if score.boxes is not None else asked
        if n <= most:
            return np.arange(n)
        return np.sort(np.random.default_rng(self.analysis.seed(_PATIENTS)).choice(n, most, replace=False))

    def _explain(self, score: ExplainedScore, rows: NDArray[np.intp], how: Perturbation) -> Explained:
        seed = self.analysis.seed(_ORDERS)
        return explain_score(score, self.covariates.iloc[rows], self._background(), seed=seed, perturbation=how)

    def _part_importance(self, score: ExplainedScore, few: pd.DataFrame) -> Floats:
        # Against a background, whatever the final model's: a fold's trees are counted on nobody.
        background = self._background() if score.boxes is not None else self._background().head(20)
        return explain_score(score, few, background, seed=self.analysis.seed(_ORDERS)).importance()

    def _add_stability(
        self, own: Floats, drawn: Sequence[Floats], names: Sequence[str], subject: str, unit: str
    ) -> None:
        if len(drawn) < 3 or not own.any():
            return
        known: dict[str, Any] = {"share": self._share, "subject": subject, "unit": unit, "labels": self.labels}
        self.analysis.add(explanation_stability(own, np.array(drawn), names, **known), self.about)


def _line_importance(model: Any, covariates: pd.DataFrame, names: Sequence[str]) -> Floats:
    """Return the mean absolute SHAP value of each covariate in a linear score against all patients, 0 where it is not used."""
    columns = np.asarray(model.encoder_.covariate_of_column())
    design = model.encoder_.transform(covariates)
    parts = model.coefficients_ * (design - design.mean(axis=0))
    return np.array([np.abs(parts[:, columns == name].sum(axis=1)).mean() for name in names])


def _benefit_of(unit: str) -> Any:
    return lambda model: benefit_score(model, unit)


def additive_or_risk(estimator: Any, times: Sequence[float] | None) -> ExplainedScore:
    """Return the score that a risk model without coefficients is explained on: what its trees add up to, else its risk."""
    found = additive_score(estimator)
    return found if found is not None else risk_score(estimator, times)
